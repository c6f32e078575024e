"""Token endpoints: one call in, one typed reply out.

``oauth2`` and ``json_api`` build a request; ``transport`` sends it, and ``receiving`` reads the answer within bounds;
``content`` finds the JSON in it, and ``reply`` types it into Issued, Denied or Unavailable. ``content``, ``reply``,
``judged``, ``refusals``, ``jwt``, ``lifetimes`` and ``pointer`` are pure.
"""
