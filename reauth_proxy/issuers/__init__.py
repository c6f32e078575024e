"""Token endpoints: one call in, one typed reply out.

``oauth2`` and ``json_api`` build a request; ``transport`` sends it and reads the answer within bounds; ``reply`` types
it into Issued, Denied or Unavailable. ``reply``, ``jwt``, ``lifetimes`` and ``pointer`` are pure.
"""
