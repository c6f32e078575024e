"""The section `store`: which keys go together, and what its secrets look like."""

from __future__ import annotations

import pytest

from reauth_proxy.daemon import sessions
from reauth_proxy.errors import ConfigError
from reauth_proxy.session.tokens import Secret
from tests.config.reading import LEAST, problems, read

KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
OTHER = "32" * 32


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://127.0.0.1",
        "redis://user:CANARY@[::1]:6380/2",
        "rediss://redis.example.com:6379/0",
        "rediss://:CANARY@redis.example.com",
        "unix:///run/redis.sock",
        "unix://:CANARY@/run/redis.sock?db=1",
    ],
)
def test_a_redis_may_be_near_or_over_tls(url: str) -> None:
    config = read(LEAST + f"store: {{type: redis, url: '{url}'}}\n")
    assert config.store.url is not None
    assert config.store.url.reveal() == url
    assert "CANARY" not in repr(config)


def test_its_url_may_be_a_secret_of_the_environment() -> None:
    config = read(LEAST + "store: {type: redis, url: {env: REDIS_URL}}\n", {"REDIS_URL": "rediss://:CANARY@r.example"})
    assert config.store.url is not None
    assert config.store.url.reveal() == "rediss://:CANARY@r.example"


def test_one_key_or_a_list_of_keys() -> None:
    one = read(LEAST + f"store: {{encryption_key: {KEY}}}\n")
    assert one.store.encryption_key == (Secret(KEY),)
    listed = read(LEAST + f"store:\n  encryption_key:\n    - {{env: NEW}}\n    - {KEY}\n", {"NEW": OTHER})
    assert listed.store.encryption_key == (Secret(OTHER), Secret(KEY))
    assert KEY not in repr(listed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{type: redis}", "store.url: `type: redis` needs it, such as `url: rediss://redis.example.com:6379/0`"),
        ("{type: redis, url: 'http://localhost'}", "store.url: expected redis://host:6379/0, rediss://"),
        ("{type: redis, url: 'redis://[::1'}", "store.url: expected redis://host:6379/0, rediss://"),
        ("{type: redis, url: 'unix://'}", "store.url: expected redis://host:6379/0, rediss://"),
        ("{type: redis, url: 'redis://r.example.com'}", "store.url: plain redis:// would show tokens to the network"),
        ("{url: 'redis://localhost'}", "store.url: only `type: redis` has one; remove it, or write `type: redis`"),
        ("{type: redis, path: x, url: 'redis://localhost'}", "store.path: `type: redis` has no path; remove it, or"),
        ("{type: keyring, path: x}", "store.path: `type: keyring` has no path; remove it, or write `type: file`"),
        ("{key: x}", "store.key: only `type: redis` and `type: keyring` have one; remove it"),
        ("{encryption_key: CANARY}", "store.encryption_key: expected 32 random bytes in base64 or hex, such as `opens"),
        ("{encryption_key: []}", "store.encryption_key: expected a key, or a list of 1 to 16"),
        (f"{{encryption_key: [{KEY}, CANARY]}}", "store.encryption_key: expected 32 random bytes in base64 or hex"),
        (
            f"{{type: keyring, encryption_key: {KEY}}}",
            "store.encryption_key: only `type: file` and `type: redis` encry",
        ),
        (f"{{type: memory, encryption_key: {KEY}}}", "store.encryption_key: only `type: file` and `type: redis`"),
        ("{encryption_key: {env: NOT_SET}}", "store.encryption_key: the environment variable NOT_SET is not set"),
    ],
)
def test_what_does_not_fit_is_told(text: str, told: str) -> None:
    (problem,) = problems(LEAST + f"store: {text}\n")
    assert problem.removeprefix("3: ").startswith(told)
    assert "CANARY" not in problem


def test_plain_redis_elsewhere_needs_the_same_switch_as_plain_http() -> None:
    config = read(LEAST + "store: {type: redis, url: 'redis://redis:6379/0'}\ntls: {allow_insecure: true}\n")
    assert config.store.url is not None


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(sessions.importlib, "import_module", missing)
    for kind, more in (("redis", ", url: 'redis://localhost'"), ("keyring", "")):
        config = read(LEAST + f"store: {{type: {kind}{more}}}\n")
        with pytest.raises(ConfigError, match=rf"pip install 'reauth-proxy\[{kind}\]'"):
            sessions.store(config, "default")


async def test_every_kind_of_store_is_made() -> None:
    made = {}
    for text in ("{type: file}", "{type: memory}", "{type: keyring}", "{type: redis, url: 'redis://localhost'}"):
        store = sessions.store(read(LEAST + f"store: {text}\n"), "default")
        made[text] = type(store).__name__
        await store.close()
    assert list(made.values()) == ["FileStore", "MemoryStore", "KeyringStore", "RedisStore"]
