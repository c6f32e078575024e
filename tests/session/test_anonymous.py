"""Nobody's session."""

from __future__ import annotations

from reauth_proxy.session.anonymous import Anonymous
from reauth_proxy.session.state import Attempt, Relay


async def test_it_never_has_a_token_and_never_waits() -> None:
    nobody = Anonymous()
    assert nobody.usable() is None
    assert await nobody.token(fresh=True) is None
    assert nobody.rejected(Attempt(0, 0)) == Relay()
    assert (nobody.waits, nobody.generation, nobody.life) == (False, 0, 0)
