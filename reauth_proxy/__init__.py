"""reauth-proxy: a local reverse proxy that keeps access tokens fresh.

Start reading at :meth:`reauth_proxy.forward.forwarder.Forwarder.forward`: the whole product on one screen.
Then, floor by floor (a room imports only from the rooms below it):

============= ===========================================================================
``cli``       the commands; the only place that prints
``commands``  what the commands do: sign in and out, check, write a configuration
``demo``      the authorization server and API behind ``reauth-proxy demo``
``daemon``    everything built from a configuration: start, reload, drain
``system``    what is asked of the operating system and of the interpreter
``config``    the model of the YAML file, and how it is read
``control``   health, readiness and the session, for whoever runs the daemon
``telemetry`` logs, and what is counted
``frontend``  what frontends ask the proxy itself: session, events, log in and out
``forward``   the main path: a request, its content for a replay, its answer
``clients``   clients' connections, and the bounds on them
``upstream``  HTTP/1.1 connections to upstreams, and the pool that keeps them
``stores``    where a session survives a restart
``issuers``   token endpoints: one call in, one typed reply out
``guard``     who may call, and what: Host, Origin and CORS, client token, path rules
``http1``     HTTP/1.1 as bytes, for both ends: framing, field lines, the proxy's own answers
``session``   tokens, the state machine, and the one refresh in flight
``errors``    everything that can go wrong, as a tree
============= ===========================================================================
"""

__version__ = "0.1.0"
