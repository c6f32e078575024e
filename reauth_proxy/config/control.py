"""The section `control`: where the control plane listens."""

from __future__ import annotations

from pydantic import Field

from reauth_proxy.config.address import Listen
from reauth_proxy.config.credential import Section
from reauth_proxy.config.kinds import ListenAddress


def _default_listen() -> Listen:
    return Listen("tcp", "127.0.0.1", 8181)


class Control(Section):
    """The control plane."""

    listen: ListenAddress | None = Field(
        default_factory=_default_listen,
        description="Where the control plane listens, as in `listen`; null turns it off.",
        json_schema_extra={"default": "127.0.0.1:8181"},
    )
