"""A real headless Chromium against the proxy: what a page may do to it, and what it must never do."""
