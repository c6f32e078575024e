"""What `reauth-proxy demo` runs: an authorization server and an API of its own, on loopback, and the real daemon."""

from __future__ import annotations

__all__ = ["run"]


def run(servers_only: bool, port: int | None) -> int:
    """Run the demo until SIGINT or SIGTERM; return the exit status.

    Args:
        servers_only: leave the daemon out, to try one's own config against the servers.
        port: of the daemon, None for 8080 or the next free one; with `servers_only`, of the servers, None for 8490.
    """
    from reauth_proxy.demo import stage

    return stage.run(servers_only, port)
