"""Tokens, the state machine, and the one refresh in flight.

Start at :class:`reauth_proxy.session.refresher.Session`. Of the modules below it these are pure (no asyncio, logging,
files or clock): ``tokens``, ``state`` (the table and the decisions), ``schedule`` (when), ``challenge`` (which answers
reject a token), ``book`` (what a session knows), ``snapshot`` and ``verdicts``. These are not: ``parking`` (where
requests wait), ``flight`` (one refresh), ``calls`` (one call per refresh token), ``ledger`` (the store, minded) and
``renewal`` (the timer).
"""
