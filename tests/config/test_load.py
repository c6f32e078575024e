"""How a file is read, and what is told about one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reauth_proxy.config import document
from reauth_proxy.config.load import load, parse
from reauth_proxy.errors import ConfigError
from tests.config.reading import CREDENTIAL, LEAST, UPSTREAM, endpoint, problems, read
from tests.fakes.files import write_secret


def test_the_smallest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(LEAST)
    config = load(path, {})
    assert str(config.upstream) == "https://api.example.com"
    assert str(config.listen) == "localhost:8080"


def test_the_environment_is_the_processes_own_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CREDENTIAL + "upstream: ${UPSTREAM_FOR_TEST}\n")
    monkeypatch.setenv("UPSTREAM_FOR_TEST", "https://env.example")
    assert load(path).upstream.host == "env.example"
    assert load(path, {"UPSTREAM_FOR_TEST": "https://given.example"}).upstream.host == "given.example"


def test_every_problem_is_told_at_once_in_the_order_of_lines() -> None:
    text = """\
listen: 0.0.0.0:8080
upstream: http://api.example.com
uptsream: https://api.example.com
park_timeout: 3
credential:
  refresh_token: {env: NOPE}
  token_endpoint:
    url: https://id.example.com/token
    issuer: https://id.example.com
    client_id: 0123
    client_auth: basic
    body: {}
refresh:
  ahead: soon
  aheed: 3s
  statuses: [401, 10:30]
headers:
  request:
    set: {Host: a, "b c": d, X: "${NOPE}"}
"""
    assert problems(text) == [
        "1: listen: other machines could use your session; listen on 127.0.0.1, or set `access.client_token`, or `access.allow_remote: true`",  # noqa: E501
        (
            "2: upstream: plain http would show tokens to the network; write https, "
            "or set `tls.allow_insecure: true` if it is yours"
        ),
        "3: uptsream: unknown key; did you mean `upstream`?",
        "4: park_timeout: unknown key here; did you mean `refresh.park_timeout`?",
        "6: credential.refresh_token: the environment variable NOPE is not set",
        "9: credential.token_endpoint.issuer: `url` and `issuer` exclude each other; remove one",
        (
            "11: credential.token_endpoint.client_auth: expected client_secret_basic, client_secret_post, "
            'private_key_jwt or none, got "basic"'
        ),
        "12: credential.token_endpoint.body: unknown key with `type: oauth2`",
        '14: refresh.ahead: expected a duration such as 10s, got "soon"',
        "15: refresh.aheed: unknown key; did you mean `ahead`?",
        '16: refresh.statuses[1]: expected a whole number from 400 to 599, got "10:30"',
        "19: headers.request.set.X: the environment variable NOPE is not set; set it, or write ${NOPE:-default}",
        "19: headers.request.set.Host: Host belongs to the proxy and cannot be changed",
        '19: headers.request.set."b c": expected the name of an HTTP field such as X-Api-Version, got "b c"',
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plugins: null", "3: plugins: unknown key; expected access, capture,"),
        ("timeouts: {conect: 5s}", "3: timeouts.conect: unknown key; did you mean `connect`?"),
        ("store: {ttl: 5s}", "3: store.ttl: unknown key; expected encryption_key, key, path, timeout, type or url"),
        ("store: {pth: }", "3: store.pth: unknown key; did you mean `path`?"),
        ("Refresh: {}", "3: Refresh: unknown key; did you mean `refresh`?"),
        ("timeout: 3s", "3: timeout: unknown key here; did you mean `store.timeout` or `refresh.timeout`?"),
        ("1: x", "3: 1: unknown key; expected access, capture,"),
        ("<<: {listen: 'x:1'}", '3: "<<": unknown key; expected access, capture,'),
        ('"\\e\\n": x', '3: "\\u001b\\n": unknown key; expected access, capture,'),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_was_meant(text: str, told: str) -> None:
    (problem,) = problems(LEAST + text)
    assert problem.startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", " the file is empty; `upstream` and `credential` are required"),
        ("# nothing\n", " the file is empty; `upstream` and `credential` are required"),
        ("null", " the file is empty; `upstream` and `credential` are required"),
        ("- a\n- b\n", "1: expected keys such as `upstream: https://api.example.com`"),
        ("hello", "1: expected keys such as `upstream: https://api.example.com`"),
        ("a: 1\n---\nb: 2\n", "2: a second document begins here; a file holds one, so remove the ---"),
        ("a: b\0c\n", "1: the character U+0000 cannot stand in a YAML file"),
        ("a: 1\nb: \ud800\n", "2: the character U+D800 cannot stand in a YAML file"),
        ("a: *CANARY\n", "1: an alias (*) without its anchor (&); a value that begins with * needs quotes"),
        ("a: &x [*x]\n", "1: an alias (*) without its anchor (&); a value that begins with * needs quotes"),
        ("a: " + "[" * 40, "1: nested deeper than 32 levels"),
        ("a: " + "[" * 100_000, "1: nested deeper than 32 levels"),
        ("a: " + "{" * 100_000, "1: nested deeper than 32 levels"),
        ("a: " + "{a: [" * 50_000, "1: nested deeper than 32 levels"),
        ("a: " + "['['," * 50_000, "1: nested deeper than 32 levels"),
        ("- " * 100_000, "1: nested deeper than 32 levels"),
        ("? " * 100_000, "1: nested deeper than 32 levels"),
        ("".join(f"{' ' * level}a:\n" for level in range(1200)), "33: nested deeper than 32 levels"),
        ("a: 1\n" * 220_000, " larger than 1 MiB, and so hardly a configuration"),
        ("upstream: 'x\n", "2: not valid YAML: found unexpected end of stream"),
        ("a:\n\tb: 1\n", ("2: not valid YAML: found character that cannot start any token; "
         "indent with spaces, not with tabs")),
        ("a: b: c\n", ("1: not valid YAML: mapping values are not allowed in this context; a value that holds "
         "a colon and a space needs quotes, and keys of one mapping begin in one column")),
        ("a: {b: ${C}}\n", ("1: not valid YAML: did not find expected ',' or '}'; "
         'inside {…} and […] put quotes around "${NAME}"')),
        ("listen: [::1]:8080\n", ("1: not valid YAML: did not find expected node content; "
         'put quotes around an address such as "[::1]:8080"')),
        ("a: !CANARY!x y\n", "1: not valid YAML: found undefined tag handle"),
        ("%YAML 9.9\n---\na: 1\n", "1: not valid YAML: found incompatible YAML document"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_configuration_is_told_in_one_line(text: str, told: str) -> None:
    assert problems(text) == [told]


def test_duplicate_keys_are_refused() -> None:
    assert problems(LEAST + "log: {level: info}\nlisten: 127.0.0.1:1\nlog: {level: debug}\n") == [
        "5: log: duplicate key; it is on line 3 already"
    ]
    assert problems(LEAST + "log: {level: info, level: info}\n") == ["3: level: duplicate key; it is on line 3 already"]


def test_keys_are_text() -> None:
    assert problems(LEAST + "? [a]\n: b\n{a: b}: c\n") == [
        "3: a key must be text, not a list or a mapping",
        "5: a key must be text, not a list or a mapping",
    ]


def test_tags_are_refused() -> None:
    assert problems(LEAST + "log: {level: !!python/name:os.system x}\nlisten: !local 127.0.0.1:1\n") == [
        "3: tags (!) are not supported; a value that begins with ! needs quotes",
        '3: log.level: expected debug, info, warning or error, got "x"',
        "4: tags (!) are not supported; a value that begins with ! needs quotes",
    ]


def test_anchors_and_aliases_are_followed() -> None:
    config = read(
        UPSTREAM + endpoint("").removeprefix(UPSTREAM) + "    url: &u https://id.example.com/t\n    client_id: *u\n"
    )
    endpoint_ = config.credential.token_endpoint
    assert endpoint_.type == "oauth2"
    assert endpoint_.client_id == "https://id.example.com/t"


def test_a_bomb_of_aliases_is_bounded() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 12):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    assert problems(text) == [" larger than any configuration, once its aliases are followed"]


def test_a_hundred_problems_are_enough() -> None:
    told = problems(LEAST + "".join(f"unknown_{number}: x\n" for number in range(500)))
    assert len(told) == 101
    assert told[-1] == " and 400 more"


def test_scalars_stay_as_they_were_written() -> None:
    for written in ("0123", "1_000", "yes", "1e3", "10:30", "0x1F", "2026-01-01", "3.10", "=", "~x"):
        client = read(endpoint(f"url: https://id.example.com/token\nclient_id: {written}")).credential.token_endpoint
        assert client.type == "oauth2"
        assert client.client_id == written
        assert type(client.client_id) is str


def test_a_key_without_a_value_counts_as_absent() -> None:
    config = read(LEAST + "refresh:\n  # ahead: 60s\nstore:\nlisten: null\nlog: {level: ~}\n")
    assert config == read(LEAST)
    assert problems("upstream:\ncredential: {token_endpoint: }\n") == [
        "1: upstream: required, such as `upstream: https://api.example.com`",
        (
            "2: credential.token_endpoint: required, such as "
            "`token_endpoint: {url: https://id.example.com/oauth2/token, client_id: web}`"
        ),
    ]


def test_what_came_from_the_environment_is_never_read_as_yaml_nor_shown() -> None:
    environ = {"X": "CANARY: [1, 2]\nlisten: 0.0.0.0:1", "LEVEL": "CANARY"}
    text = LEAST + 'drain_timeout: ${X}\nlisten: \'${X}\'\nlog: {level: "${LEVEL}"}\nrefresh: {max_parked: "${X}"}\n'
    assert problems(text, environ) == [
        "3: drain_timeout: expected a duration such as 10s, got something else from the environment",
        (
            "4: listen: expected host:port such as 127.0.0.1:8080, [::1]:8080 in quotes, or unix:/path, "
            "got something else from the environment"
        ),
        "5: log.level: expected debug, info, warning or error, got something else from the environment",
        "6: refresh.max_parked: expected a whole number from 1 to 1000000, got something else from the environment",
    ]


def test_any_value_may_come_from_the_environment() -> None:
    text = (
        LEAST
        + 'refresh: {max_parked: "${N}", background: "${B}", statuses: ["${S}"]}\nreplay: {memory: "${M:-1KiB}"}\n'
    )
    config = read(text, {"N": "7", "B": "off", "S": "419"})
    assert config.refresh.max_parked == 7
    assert config.refresh.background is False
    assert config.refresh.statuses == (419,)
    assert config.replay.memory == 1024


def test_no_secret_is_in_a_repr_or_a_problem(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", "CANARY-KEY\nCANARY\n")
    config = read(
        "upstream: https://api.example.com\nheaders: {request: {set: {X-Api-Key: CANARY}}}\n"
        "credential:\n  refresh_token: CANARY\n  token_endpoint:\n    url: https://id.example.com/t\n"
        "    client_id: web\n    client_auth: private_key_jwt\n    private_key: {file: key}\n    params: {a: CANARY}\n"
        "    headers: {b: CANARY}\n",
        base=tmp_path,
    )
    assert "CANARY" not in repr(config)
    assert "CANARY" not in repr(read(endpoint("type: json\nurl: https://a.example\nbody: ['{refresh_token}', CANARY]\n"
                                              "response: {access_token: /a}")))  # fmt: skip
    told = problems(
        "upstream: https://user:CANARY@api.example.com\nheaders: {request: {set: {X: ' CANARY'}}}\n"
        'credential:\n  refresh_token: "CANARY\\n"\n  token_endpoint:\n    url: https://id.example.com/t\n'
        '    client_id: web\n    client_secret: [CANARY]\n    params: {a: "CANARY\\0"}\n'
        '    headers: {b: "CANARY\\r\\nX: y"}\n'
    )
    assert len(told) == 6
    assert "CANARY" not in str(told)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\x89PNG\r\n\x1a\n\0\0", "1: not a text file in UTF-8"), (b"a: 1\nb: \xff\n", "2: not a text file in UTF-8"),
     (b"\xff\xfea\0", "1: not a text file in UTF-8"),
     (b"a" * (5 << 20), " larger than 1 MiB, and so hardly a configuration")],
)  # fmt: skip
def test_a_file_that_is_no_text_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.problems == (f"{path}:{told}",)


def test_a_long_file_cut_within_a_character_is_told_as_long(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"a" + "é".encode() * (3 << 20))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(path, {})


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(LEAST)
    without = load(path, {})
    path.write_text(LEAST, encoding="utf-8-sig")
    assert load(path, {}) == without


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "nope.yaml", "cannot be read: no such file or directory"),
        (tmp_path, "cannot be read: is a directory"),
        (tmp_path / ("x" * 300), "cannot be read: file name too long"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert caught.value.problems == (f"{path}: {told}",)
    with pytest.raises(ConfigError, match="cannot be read: it is not a file"):
        load(Path("a\0b"), {})


def test_relative_paths_begin_beside_the_file(tmp_path: Path) -> None:
    write_secret(tmp_path / "token", "CANARY-token\n")
    path = tmp_path / "c.yaml"
    path.write_text(
        LEAST.replace("{token_endpoint", "{refresh_token: {file: token}, token_endpoint") + "store: {path: s.json}\n"
    )
    config = load(path, {})
    assert config.credential.refresh_token is not None
    assert config.credential.refresh_token.reveal() == "CANARY-token"
    assert config.store.path == tmp_path / "s.json"


def test_the_parser_in_python_gives_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    fast = read(LEAST)
    monkeypatch.setattr(document, "_FastLoader", yaml.SafeLoader)
    assert read(LEAST) == fast
    assert problems("a: *CANARY\n") == [
        "1: an alias (*) without its anchor (&); a value that begins with * needs quotes"
    ]
    assert problems("a: !CANARY!x y\n") == ["1: not valid YAML: found undefined tag handle"]


def outcome(text: str, environ: dict[str, str]) -> tuple[str, ...]:
    """Return what is told about a text; nothing if it is a configuration."""
    try:
        parse(text, "c.yaml", environ, Path("/base"))
    except ConfigError as error:
        return error.problems or ("nothing told",)
    return ()


_text = st.text(alphabet=st.sampled_from("ab:{}[]-,'\"\n #&*!|>%@`$?~<=.0"), max_size=60)


@settings(max_examples=300)
@given(st.one_of(_text, st.text(max_size=60), _text.map(lambda text: LEAST + text)))
def test_whatever_is_written_is_a_configuration_or_told(text: str) -> None:
    told = outcome(text, {"a": "CANARY"})
    assert all(problem.startswith("c.yaml:") and problem.isprintable() for problem in told)
    assert "CANARY" not in str(told)


_values = st.recursive(
    st.sampled_from(
        ["x", "10s", "5", "true", "~", "''", "{env: A}", "{file: a}", "https://a.example", "/a", "${A}", "'${A}'"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["set", "type", "url", "a", "env"]), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=5,
)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "listen",
                "upstream",
                "credential",
                "store",
                "refresh",
                "replay",
                "timeouts",
                "tls",
                "headers",
                "access",
                "log",
            ]
        ),
        _values,
    )
)
def test_whatever_shape_a_value_has_it_is_read_or_told(values: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in values.items())
    told = outcome(text, {"A": "CANARY"})
    assert all(problem.startswith("c.yaml:") and "expected something else" not in problem for problem in told)
    assert "CANARY" not in str(told)


def test_a_configuration_knows_its_file_and_tells_it_in_no_dump(tmp_path: Path) -> None:
    path = write_secret(tmp_path / "c.yaml", LEAST)
    (tmp_path / "x").mkdir()
    config = load(tmp_path / "x" / ".." / "c.yaml")
    assert config.file == path
    assert config.model_copy(update={"drain_timeout": 1.0}).file == path
    assert "c.yaml" not in repr(config)
    assert not {"file", "_file"} & type(config).model_fields.keys()
    assert parse(LEAST, "c.yaml", {}, tmp_path).file is None
