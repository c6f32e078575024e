"""A short soak with each store; ``python -m tests.soak`` plays as long as one likes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.soak.__main__ import Play, soak


@pytest.mark.slow
@pytest.mark.parametrize("store", ["file", "redis"])
async def test_chaos_costs_no_session_and_gives_nobody_anothers(store: str, tmp_path: Path) -> None:
    if store == "redis" and shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    summary = await soak(Play(store, 8.0, seed=1, rest=4.0), tmp_path)
    assert summary["violations"] == []
    assert summary["counts"]["requests"] > 100
    assert summary["counts"]["refreshes"] > 1
