"""reauth-proxy: a local reverse proxy that keeps access tokens fresh.

Start reading at :meth:`reauth_proxy.forward.forwarder.Forwarder.forward`: the whole product on one screen.
Then, floor by floor (a room imports only from the rooms below it):

================== ==========================================================================
``cli``            the commands; the only place that prints
``commands``       signing in and out from a terminal
``listening``      how the daemon begins to listen, and ends without a reset for anybody
``server``         builds everything from a Config; start, reload, drain
``ways_in``        how people can sign in, as a configuration allows it
``mounted``        refresh tokens in files that somebody else renews
``compatibility``  which releases of aiohttp the daemon runs with
``demo``           the authorization server and API behind ``reauth-proxy demo``
``config``         the model of the YAML file, and how it is read
``telemetry``      logs
``control``        health, readiness and the session, for whoever runs the daemon
``frontend``       what frontends ask the proxy itself: session, events, log in and out
``forward``        the main path: fields, framing, content for a replay, the proxy's own answers
``upstream``       HTTP/1.1 connections to upstreams, and the pool that keeps them
``stores``         where a session survives a restart
``issuers``        token endpoints: one call in, one typed reply out
``guard``          who may call, and what: Host, Origin and CORS, client token, path rules
``session``        tokens, the state machine, and the one refresh in flight
``errors``         everything that can go wrong, as a tree
================== ==========================================================================
"""

__version__ = "0.1.0"
