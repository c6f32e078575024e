"""Raw bytes: what hostile clients and hostile upstreams send, and what the proxy has to make of it."""
