"""Nobody's session."""

from __future__ import annotations

from reauth_proxy.session.anonymous import Anonymous


async def test_it_never_has_a_token_and_never_waits() -> None:
    nobody = Anonymous()
    assert nobody.usable() is None
    assert await nobody.token(fresh=True) is None
    assert await nobody.replace(0) is None
    assert not nobody.parks(0)
    assert (nobody.waits, nobody.generation, nobody.logouts) == (False, 0, 0)
