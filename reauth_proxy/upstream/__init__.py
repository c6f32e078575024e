"""HTTP/1.1 towards upstreams: one connection, the pool that keeps them, and how they are dialled.

Ours, not aiohttp's client: the forwarding path is what this program exists for, and this costs a fraction per request.
"""
