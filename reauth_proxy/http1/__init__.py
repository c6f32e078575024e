"""HTTP/1.1 as bytes (RFC 9112), for both ends: what a message is made of, and where it ends. No aiohttp."""
