"""A soak: two daemons on one store, clients at both, and chaos; see :mod:`tests.soak.__main__`."""
