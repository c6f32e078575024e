"""Real servers on loopback that stand in for the world: an authorization server, an upstream, and the daemon itself.

Every token they issue has CANARY in it, so that one search finds any that leaked.
"""
