"""Who may call, and what: Host, Origin, client token, path rules. Pure functions of a request's fields; no I/O.

:class:`~reauth_proxy.guard.guard.Guard` asks them in order. No web page can choose the Host, Origin, Sec-Fetch-Site and
Referer that its browser sends; that is what keeps other pages, and names that were made to resolve to 127.0.0.1, from
using the session. Whoever is no browser sends none of the last three, and passes.
"""
