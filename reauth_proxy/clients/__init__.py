"""Clients: their connections, what they may send, and how long they may take."""
