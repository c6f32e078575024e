"""examples/replicas: what compose would start is what `check` accepts, and what docs/stores.md describes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from reauth_proxy.config.load import load
from tests.fakes.program import program

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "replicas"
GIVEN = {"REFRESH_TOKEN": "CANARY-refresh", "STORE_KEY": "ab" * 32}


def compose() -> dict[str, Any]:
    """Return the file as it is."""
    content = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    assert isinstance(content, dict)
    return content


def environment() -> dict[str, str]:
    """Return what a replica gets, with compose's variables filled in: ${NAME:-default} and ${NAME:?what is missing}."""
    variables = compose()["services"]["reauth-proxy"]["environment"]
    return {
        name: re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda match: GIVEN.get(match[1]) or match[2], value)
        for name, value in variables.items()
    }


def test_two_replicas_share_the_redis_beside_them() -> None:
    services, config = compose()["services"], load(EXAMPLE / "config.yaml", environment())
    replica = services["reauth-proxy"]
    assert replica["deploy"]["replicas"] == 2
    assert (ROOT / "examples" / "replicas" / replica["build"]).resolve() == ROOT
    assert replica["volumes"] == ["./config.yaml:/etc/reauth-proxy/config.yaml:ro"]
    assert all(port.startswith("127.0.0.1:") and port.endswith(f":{config.listen.port}") for port in replica["ports"])
    assert config.store.type == "redis"
    assert config.store.url is not None
    assert config.store.url.reveal() == "redis://redis:6379/0"
    assert "redis" in services
    assert set(replica["depends_on"]) == {"redis"}
    assert config.store.encryption_key is not None


def test_the_redis_keeps_what_it_is_told() -> None:
    service = compose()["services"]["redis"]
    options = service["command"]
    assert options[options.index("--appendonly") + 1] == "yes"
    assert options[options.index("--appendfsync") + 1] == "always"
    assert service["volumes"] == [f"{name}:/data" for name in compose()["volumes"]]


def test_the_image_has_what_a_redis_store_needs() -> None:
    assert "requirements/runtime.txt" in (ROOT / "Dockerfile").read_text()
    assert re.search(r"^redis==", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE)


async def test_check_accepts_its_configuration() -> None:
    async with program("check", "--config", str(EXAMPLE / "config.yaml"), **environment()) as check:
        assert "is fine" in await check.says("store")
        assert "redis" in check.out
        assert "CANARY" not in check.out
