"""The main path: what is forwarded, what is refused, what is sent again, and the proxy's own answers."""
