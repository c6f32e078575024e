"""What frontends ask the proxy itself, below ``/_reauth/``: how the session is, what happens to it, log in, log out."""
