"""Where a session is kept: what its file, its entry and its key are named after, and what needs a restart.

The rest of what is assembled, tests/contract drives through real daemons.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.daemon import sessions
from reauth_proxy.stores import default
from reauth_proxy.stores.record import encode
from tests.config.reading import LEAST, read
from tests.fakes.files import write_secret
from tests.stores.test_default import T1, record

ENDPOINT = {"url": "https://id.example.com/token", "client_id": "web"}
REDIS = {"type": "redis", "url": "redis://localhost"}


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "reauth-proxy"


def written(path: Path, token: str | None = None, endpoint: dict[str, str] | None = None, **more: Any) -> Config:
    """Write a configuration of one credential, and read it."""
    credential: dict[str, Any] = {"token_endpoint": endpoint or ENDPOINT}
    if token is not None:
        credential["refresh_token"] = token
    settings = {"upstream": "https://api.example.com", "credential": credential, **more}
    return load(write_secret(path, yaml.safe_dump(settings)))


def shown(config: Config, name: str = "default") -> tuple[str, list[tuple[str, str]]]:
    """Return what a credential's store says that it is, and what is said about it."""
    said: list[tuple[str, str]] = []
    store = sessions.store(config, name, lambda event, *, credential, problem: said.append((event, problem)))
    return repr(store), said


def test_two_files_with_one_client_have_two_stores(tmp_path: Path, state: Path) -> None:
    one, two = (written(tmp_path / name) for name in ("one.yaml", "two.yaml"))
    assert shown(one) != shown(two)
    assert str(state / "default-") in shown(one)[0]
    keyring = {"type": "keyring"}
    assert shown(written(tmp_path / "one.yaml", store=keyring)) != shown(written(tmp_path / "two.yaml", store=keyring))


def test_one_file_has_one_store_however_its_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "config.yaml")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    paths = (tmp_path / "config.yaml", Path("config.yaml"), Path("sub/../config.yaml"), Path("./config.yaml"))
    configs = [load(path) for path in paths]
    assert {config.file for config in configs} == {tmp_path / "config.yaml"}
    assert len({shown(config)[0] for config in configs}) == 1


def test_a_mounted_file_that_is_updated_has_the_same_store(tmp_path: Path) -> None:
    """Kubernetes mounts a link to a directory that is another one after each update."""
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    found = set()
    for version in ("first", "second"):
        (tmp_path / version).mkdir()
        written(tmp_path / version / "config.yaml")
        (tmp_path / "..data").unlink(missing_ok=True)
        (tmp_path / "..data").symlink_to(version)
        found.add(shown(load(tmp_path / "config.yaml"))[0])
    assert len(found) == 1


def test_a_configuration_without_a_file_is_named_after_endpoint_client_and_token() -> None:
    def of(token: str, client: str = "web") -> str:
        at = f"{{url: 'https://id.example.com/token', client_id: {client}}}"
        return shown(read(f"upstream: https://a\ncredential: {{refresh_token: {token}, token_endpoint: {at}}}\n"))[0]

    assert of("CANARY-1") == of("CANARY-1")
    assert len({of("CANARY-1"), of("CANARY-2"), of("CANARY-1", "app"), shown(read(LEAST))[0]}) == 4


def test_a_token_whose_session_another_configuration_keeps_goes_on_there_and_that_is_said(tmp_path: Path) -> None:
    one = written(tmp_path / "one.yaml", "CANARY-1")
    two = written(tmp_path / "two.yaml", "CANARY-1", {"issuer": "https://id.example.com", "client_id": "web"})
    kept = put(one)
    store, said = shown(two)
    assert os.path.realpath(store.removeprefix("<FileStore ").removesuffix(">")) == str(kept)
    ((event, problem),) = said
    assert event == "store.shared"
    assert f"this refresh token's session is kept in {kept}, which belongs to another configuration" in problem
    assert shown(two)[1] == said, "each time"
    assert shown(one)[1] == []


def put(config: Config, name: str = "default") -> Path:
    """Put a session that knows the first token into a credential's own file."""
    path = sessions.store_file(config, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(record(T1)))
    path.chmod(0o600)
    return path


def test_who_only_looks_writes_nothing(tmp_path: Path) -> None:
    kept = put(written(tmp_path / "one.yaml", "CANARY-1"))
    two = written(tmp_path / "two.yaml", "CANARY-1")
    assert str(kept) in repr(sessions.store(two, "default", lambda *_, **__: None, settle=False))
    assert list(kept.parent.iterdir()) == [kept]


def test_a_file_of_version_0_1_without_a_token_is_left_and_named_with_the_command(tmp_path: Path, state: Path) -> None:
    config = written(tmp_path / "my config.yaml")
    old = default.first_name("default", "https://id.example.com/token web")
    assert shown(config)[1] == []
    state.mkdir(parents=True)
    old.write_bytes(encode(record(T1)))
    ((event, problem),) = shown(config)[1]
    new = sessions.store_file(config, "default")
    assert event == "store.left_behind"
    assert str(old) in problem
    assert f"`mv {shlex.quote(str(old))} {shlex.quote(str(new))}`" in problem
    assert old.exists()
    old.rename(new)
    assert shown(config) == (f"<FileStore {new}>", [])


def test_redis_names_are_the_same_on_all_machines_and_other_for_other_tokens(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one, copy = (written(tmp_path / name, "CANARY-1", store=REDIS) for name in ("one.yaml", "b/copy.yaml"))
    assert shown(one) == shown(copy)
    assert shown(one)[1] == []
    assert "reauth-proxy:default-" in shown(one)[0]
    assert shown(written(tmp_path / "one.yaml", "CANARY-2", store=REDIS))[0] != shown(one)[0]
    other = {**ENDPOINT, "client_id": "app"}
    assert shown(written(tmp_path / "one.yaml", "CANARY-1", other, store=REDIS))[0] != shown(one)[0]


def test_a_redis_name_without_a_token_has_the_path_in_it_and_that_is_said(tmp_path: Path) -> None:
    one, two = (written(tmp_path / name, store=REDIS) for name in ("one.yaml", "two.yaml"))
    assert shown(one)[0] != shown(two)[0]
    ((event, problem),) = shown(one)[1]
    assert event == "store.shared_name"
    assert "set `store.key`" in problem
    assert shown(written(tmp_path / "one.yaml", store={**REDIS, "key": "web"}))[1] == []


def restart(path: Path, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sessions.needs_restart(written(path, **before), written(path, **after))


def test_another_token_or_endpoint_keeps_the_place_and_needs_no_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    other = {"issuer": "https://id.example.com", "client_id": "app"}
    for store in ({"type": "file"}, {"type": "keyring"}, {"type": "memory"}, {**REDIS, "key": "web"}):
        assert restart(path, {"token": "CANARY-1", "store": store}, {"token": "CANARY-2", "store": store}) == []
        assert restart(path, {"store": store}, {"endpoint": other, "store": store}) == []


def test_a_redis_name_that_is_made_of_the_token_needs_a_restart_when_it_changes(tmp_path: Path) -> None:
    before, after = ({"token": token, "store": REDIS} for token in ("CANARY-1", "CANARY-2"))
    assert restart(tmp_path / "config.yaml", before, after) == ["credential"]
    assert restart(tmp_path / "config.yaml", before, before) == []


def test_a_token_that_goes_to_another_credential_whose_first_one_stays_needs_a_restart(tmp_path: Path) -> None:
    def several(**tokens: str) -> Config:
        credentials = {name: {"refresh_token": token, "token_endpoint": ENDPOINT} for name, token in tokens.items()}
        routes = [{"path": "/", "upstream": "https://api.example.com", "credential": next(iter(tokens))}]
        settings = {"credentials": credentials, "routes": routes}
        return load(write_secret(tmp_path / "config.yaml", yaml.safe_dump(settings)))

    old = several(a="CANARY-1")
    put(old, "a")
    assert sessions.needs_restart(old, several(a="CANARY-2", b="CANARY-1")) == ["credentials"]
    assert sessions.needs_restart(old, several(b="CANARY-1")) == []
    assert sessions.needs_restart(old, several(a="CANARY-1", b="CANARY-2")) == []


def test_another_token_needs_a_restart_where_another_configuration_goes_on_with_the_file(tmp_path: Path) -> None:
    put(written(tmp_path / "one.yaml", "CANARY-1"))
    shown(written(tmp_path / "two.yaml", "CANARY-1"))
    for name in ("one.yaml", "two.yaml"):
        assert restart(tmp_path / name, {"token": "CANARY-1"}, {"token": "CANARY-2"}) == ["credential"]
        assert restart(tmp_path / name, {"token": "CANARY-1"}, {"token": "CANARY-1"}) == []


def test_a_token_whose_session_is_elsewhere_needs_a_restart(tmp_path: Path) -> None:
    put(written(tmp_path / "one.yaml", "CANARY-1"))
    assert restart(tmp_path / "two.yaml", {"token": "CANARY-2"}, {"token": "CANARY-1"}) == ["credential"]
