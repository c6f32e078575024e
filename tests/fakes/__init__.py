"""Real servers on loopback that stand in for the world: an authorization server, an upstream, the daemon, its clients.

Every token that they issue has CANARY in it, so that one search finds any that leaked.
"""
