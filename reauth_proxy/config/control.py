"""The section `control`: where the control plane listens."""

from __future__ import annotations

from pydantic import Field, ValidationError
from pydantic_core import InitErrorDetails

from reauth_proxy.config.access import Access, checked_listen
from reauth_proxy.config.address import Listen
from reauth_proxy.config.credential import Section
from reauth_proxy.config.kinds import ListenAddress


def _default_listen() -> Listen:
    return Listen("tcp", "127.0.0.1", 8181)


class Control(Section):
    """The control plane."""

    NULL_SAYS_SOMETHING = frozenset({"listen"})

    listen: ListenAddress | None = Field(
        default_factory=_default_listen,
        description="Where the control plane listens, as in `listen`; null turns it off.",
        json_schema_extra={"default": "127.0.0.1:8181"},
    )

    def beside(self, listen: Listen | None, access: Access | None) -> Control:
        """Return this, if it goes together with the rest of the configuration.

        Raises:
            ValidationError: it is where clients connect, or open to other machines.
        """
        own = self.listen
        try:
            if own is not None:
                checked_listen(own.remote, access)
                if own == listen and (own.port or own.path):
                    raise ValueError("this is `listen`; the control plane needs an address of its own")
        except ValueError as error:
            what = InitErrorDetails(type="value_error", loc=("listen",), input=own, ctx={"error": error})
            raise ValidationError.from_exception_data("control", [what]) from None
        return self
