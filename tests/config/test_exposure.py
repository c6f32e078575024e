"""Files with secrets that others may read are refused, with the mend, unless somebody said that they may."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from reauth_proxy.config.exposure import mend, openness
from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.errors import ConfigError
from tests.config.reading import LEAST, endpoint
from tests.fakes.files import write_secret

ROOT, SOMEBODY = 0, 1000
ALLOW = "secrets: {allow_readable: true}\n"
#: Shown as the mend in every message.
KEY = "or set `secrets.allow_readable: true` where nobody else can get at it, as in a container"


@pytest.mark.parametrize(
    ("mode", "owner", "open_to_others"),
    [
        (0o600, SOMEBODY, False),
        (0o400, SOMEBODY, False),
        (0o700, SOMEBODY, False),
        (0o640, SOMEBODY, True),
        (0o440, SOMEBODY, True),
        (0o604, SOMEBODY, True),
        (0o644, SOMEBODY, True),
        (0o620, SOMEBODY, True),
        (0o602, SOMEBODY, True),
        (0o600, ROOT, False),
        (0o640, ROOT, False),
        (0o440, ROOT, False),
        (0o660, ROOT, True),
        (0o444, ROOT, True),
        (0o644, ROOT, True),
        (0o604, ROOT, True),
    ],
)
def test_only_the_owner_may_read_and_of_root_s_files_their_group(mode: int, owner: int, open_to_others: bool) -> None:
    assert openness(stat.S_IFREG | mode, owner) == (f"{mode:04o}" if open_to_others else None)


def test_what_is_no_file_is_not_judged_by_its_mode() -> None:
    for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR):
        assert openness(kind | 0o666, SOMEBODY) is None


def test_the_mend_can_be_pasted_and_shows_no_hidden_path() -> None:
    assert mend("/a b/c") == f"chmod 600 '/a b/c', {KEY}"
    assert mend(None) == f"chmod 600 on it, {KEY}"


def told(path: Path) -> list[str]:
    """Return what is told about a file, without its name."""
    with pytest.raises(ConfigError) as caught:
        load(path, {"WHERE": "token", "TOKEN": "CANARY-1"})
    assert "CANARY" not in str(caught.value)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def loaded(path: Path) -> Config:
    return load(path, {"WHERE": "token", "TOKEN": "CANARY-1"})


def test_a_file_with_a_secret_is_refused_with_file_line_key_and_mend(tmp_path: Path) -> None:
    token = write_secret(tmp_path / "token", "CANARY", 0o644)
    path = tmp_path / "c.yaml"
    path.write_text(LEAST.replace("{token_endpoint", "{refresh_token: {file: token}, token_endpoint"))
    assert told(path) == [
        f"2: credential.refresh_token: others may read the file {token} (mode 0644); chmod 600 {token}, {KEY}"
    ]
    token.chmod(0o600)
    assert loaded(path).credential.refresh_token is not None
    token.chmod(0o444)
    assert told(path)
    path.write_text(path.read_text() + ALLOW)
    assert loaded(path).credential.refresh_token is not None


def test_a_path_that_came_from_the_environment_is_not_shown(tmp_path: Path) -> None:
    write_secret(tmp_path / "token", "CANARY", 0o644)
    path = tmp_path / "c.yaml"
    path.write_text(LEAST.replace("{token_endpoint", '{refresh_token: {file: "${WHERE}"}, token_endpoint'))
    assert told(path) == [
        f"2: credential.refresh_token: others may read the file that it names (mode 0644); chmod 600 on it, {KEY}"
    ]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("credential.token_endpoint.client_secret", "client_secret: CANARY"),
        ("credential.token_endpoint.params", "params: {api_key: CANARY}"),
        ("credential.token_endpoint.headers", "headers: {X-Api-Key: CANARY}"),
        ("credential.token_endpoint.headers", "headers: {x-access-token: CANARY}"),
    ],
)
def test_an_open_file_with_a_secret_in_it_is_refused(tmp_path: Path, key: str, text: str) -> None:
    written = endpoint(f"url: https://id.example.com/token\nclient_id: web\n{text}")
    path = write_secret(tmp_path / "c.yaml", written, 0o644)
    (problem,) = told(path)
    assert problem.startswith(f"6: {key}: ")
    assert "a secret must not stand in a file that others may read (mode 0644); name it by {env: NAME} or" in problem
    assert problem.endswith(f"chmod 600 {path}, {KEY}")
    path.chmod(0o600)
    loaded(path)
    path.chmod(0o644)
    path.write_text(written + ALLOW)
    loaded(path)


def test_fields_and_bodies_with_a_secret_in_them_count_too(tmp_path: Path) -> None:
    body = "type: json\nurl: https://a.example/r\nbody: {token: '{refresh_token}', app: [{client_secret: CANARY}]}\n"
    text = endpoint(body + "response: {access_token: /a}") + "headers: {request: {set: {Cookie: CANARY}}}\n"
    path = write_secret(tmp_path / "c.yaml", text, 0o644)
    fields, template = sorted(told(path), key=lambda problem: problem.startswith("6"))
    assert fields.startswith("8: headers.request.set: Cookie: a secret must not stand")
    assert template.startswith("6: credential.token_endpoint.body: client_secret: a secret must not stand")


def test_what_anybody_may_know_may_stand_in_a_file_that_anybody_may_read(tmp_path: Path) -> None:
    text = endpoint(
        "url: https://id.example.com/token\nclient_id: web\nclient_secret: {env: TOKEN}\n"
        "params: {audience: api}\nheaders: {X-Version: '2', X-Api-Key: '${TOKEN}'}"
    )
    path = write_secret(tmp_path / "c.yaml", text + "headers: {request: {set: {X-Team: web}}}\n", 0o644)
    loaded(path)


def test_a_default_for_a_variable_is_a_stand_in_and_no_secret(tmp_path: Path) -> None:
    text = LEAST.replace("{token_endpoint", '{refresh_token: "${NOPE:-demo}", token_endpoint')
    loaded(write_secret(tmp_path / "c.yaml", text, 0o644))


def test_a_private_key_is_refused_wherever_it_is_and_a_certificate_is_not(tmp_path: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nCANARY\n"
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    write_secret(tmp_path / "key.pem", key, 0o640)
    os.chown(tmp_path / "key.pem", os.geteuid() or SOMEBODY, -1)
    both = write_secret(tmp_path / "both.pem", "-----BEGIN CERTIFICATE-----\n" + key, 0o644)
    path = write_secret(tmp_path / "c.yaml", LEAST + "tls: {client_cert: cert.pem, client_key: key.pem}\n")
    why = f"others may read {tmp_path}/key.pem (mode 0640); chmod 600 {tmp_path}/key.pem, {KEY}"
    assert told(path) == [f"3: tls.client_key: {why}"]
    (tmp_path / "key.pem").chmod(0o600)
    loaded(path)
    write_secret(path, LEAST + "tls: {client_cert: both.pem}\n")
    assert told(path) == [f"3: tls.client_cert: others may read {both} (mode 0644); chmod 600 {both}, {KEY}"]
    write_secret(path, LEAST + "tls: {client_cert: both.pem}\n" + ALLOW)
    loaded(path)


def test_a_mistake_in_the_key_itself_is_all_that_is_told(tmp_path: Path) -> None:
    write_secret(tmp_path / "token", "CANARY", 0o644)
    text = LEAST.replace("{token_endpoint", "{refresh_token: {file: token}, token_endpoint")
    path = write_secret(tmp_path / "c.yaml", text + "secrets: {allow_readable: maybe}\n")
    (problem,) = told(path)
    assert problem.startswith("3: secrets.allow_readable: expected true or false")


async def test_a_session_that_others_may_read_is_refused_or_made_private_again(tmp_path: Path) -> None:
    from reauth_proxy.daemon import sessions
    from reauth_proxy.errors import StoreError
    from reauth_proxy.session.tokens import Secret, StoredSession

    path = write_secret(tmp_path / "c.yaml", LEAST + "store: {path: s.json}\n")
    store = sessions.store(loaded(path), "default")
    await store.save(StoredSession(Secret("CANARY")))
    (tmp_path / "s.json").chmod(0o660)
    with pytest.raises(StoreError, match=r"others may read it; chmod 600 .*secrets.allow_readable"):
        await store.load()
    await store.close()
    write_secret(path, path.read_text() + ALLOW)
    store = sessions.store(loaded(path), "default")
    assert (await store.load()) == StoredSession(Secret("CANARY"))
    await store.save(StoredSession(Secret("CANARY-2")))
    assert stat.S_IMODE((tmp_path / "s.json").stat().st_mode) == 0o600
    await store.close()
