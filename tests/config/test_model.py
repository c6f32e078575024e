"""What each key takes, and what is told about anything else."""

# ruff: noqa: E501 - tables whose rows are whole messages

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reauth_proxy.config.address import Listen, parse_url
from reauth_proxy.config.credential import JsonEndpoint, OAuth2Endpoint
from reauth_proxy.config.kinds import mentions
from reauth_proxy.config.model import Config
from reauth_proxy.daemon.forwarding import affordable
from reauth_proxy.session.tokens import STAND_IN, Secret
from tests.config.reading import CREDENTIAL, LEAST, UPSTREAM, endpoint, problems, read
from tests.fakes.files import write_secret

OAUTH2 = "url: https://id.example.com/token\nclient_id: web\n"
JSON = "type: json\nurl: https://a.example/refresh\nbody: {token: '{refresh_token}'}\nresponse: {access_token: /accessToken}\n"


def oauth2(text: str, base: Path = Path("/base")) -> OAuth2Endpoint:
    found = read(endpoint(text), base=base).credential.token_endpoint
    assert isinstance(found, OAuth2Endpoint)
    return found


def hand_made(text: str) -> JsonEndpoint:
    found = read(endpoint(text)).credential.token_endpoint
    assert isinstance(found, JsonEndpoint)
    return found


def value(config: Config, key: str) -> Any:
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("access.hosts", ()),
        ("access.origins", ()),
        ("access.client_token", None),
        ("access.allow", ()),
        ("access.deny", ()),
        ("access.allow_token_endpoint", False),
        ("access.allow_remote", False),
        ("store.type", "file"),
        ("store.path", None),
        ("store.timeout", 5.0),
        ("refresh.ahead", 60.0),
        ("refresh.background", True),
        ("refresh.timeout", 10.0),
        ("refresh.retry_for", 10.0),
        ("refresh.park_timeout", 30.0),
        ("refresh.max_parked", 10_000),
        ("refresh.on_unavailable", "logout"),
        ("refresh.min_interval", 5.0),
        ("refresh.statuses", (401,)),
        ("replay.memory", 65_536),
        ("timeouts.connect", 5.0),
        ("timeouts.response", 60.0),
        ("tls.ca_file", None),
        ("tls.client_cert", None),
        ("tls.client_key", None),
        ("tls.verify", True),
        ("tls.allow_insecure", False),
        ("headers.request.set", {}),
        ("headers.request.default", {"Accept": Secret("application/json")}),
        ("headers.request.remove", ()),
        ("headers.response.set", {}),
        ("headers.response.remove", ()),
        ("log.level", "info"),
        ("log.format", "auto"),
        ("drain_timeout", 25.0),
        ("credential.refresh_token", None),
        ("credential.token_endpoint.type", "oauth2"),
    ],
)
def test_a_default(key: str, default: object) -> None:
    assert value(read(LEAST), key) == default


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("listen: 127.0.0.1:0", "listen.port", 0),
        ("listen: 0.0.0.0:80\naccess: {allow_remote: yes}", "listen.host", "0.0.0.0"),
        ("listen: unix:/run/x.sock", "listen.path", "/run/x.sock"),
        ("store: {type: memory}", "store.type", "memory"),
        ("store: {timeout: 500ms}", "store.timeout", 0.5),
        ("store: {path: a/b.json}", "store.path", Path("/base/a/b.json")),
        ("store: {path: ~/b.json}", "store.path", Path("~/b.json").expanduser()),
        ("refresh: {ahead: 0}", "refresh.ahead", 0.0),
        ("refresh: {background: off}", "refresh.background", False),
        ("refresh: {on_unavailable: unavailable}", "refresh.on_unavailable", "unavailable"),
        ("refresh: {statuses: [401, 419]}", "refresh.statuses", (401, 419)),
        ("replay: {memory: 0}", "replay.memory", 0),
        ("timeouts: {connect: 250ms}", "timeouts.connect", 0.25),
        (
            "headers: {request: {set: {X-A: 1, Via-B: a b}}}",
            "headers.request.set",
            {"X-A": Secret("1"), "Via-B": Secret("a b")},
        ),
        ("headers: {request: {default: {}}}", "headers.request.default", {}),
        (
            "headers: {request: {remove: [Cookie, Authorization]}}",
            "headers.request.remove",
            ("Cookie", "Authorization"),
        ),
        ("headers: {response: {set: {X-A: b}, remove: [Server]}}", "headers.response.remove", ("Server",)),
        ("log: {level: debug, format: json}", "log.level", "debug"),
        ("drain_timeout: 0", "drain_timeout", 0.0),
    ],
)
def test_a_value(text: str, key: str, meant: object) -> None:
    assert value(read(LEAST + text), key) == meant


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("listen: 0.0.0.0:80", ("listen: other machines could use your session; listen on 127.0.0.1, "
         "or set `access.client_token`, or `access.allow_remote: true`"), id="listen to all"),
        ("listen: myhost:80\naccess: {}", ("listen: other machines could use your session; listen on 127.0.0.1, "
         "or set `access.client_token`, or `access.allow_remote: true`")),
        ("access: {allow_remote: perhaps}", 'access.allow_remote: expected true or false, got "perhaps"'),
        ("access: true", 'access: expected a mapping of keys, got "true"'),
        ("store: memory", 'store: expected a mapping of keys, got "memory"'),
        ("store: {type: rediss}", 'store.type: expected file, memory, keyring or redis, got "rediss"'),
        ("store: {type: [file]}", "store.type: expected file, memory, keyring or redis, got a list"),
        ("store: {type: memory, path: x}", "store.path: a store in memory has no path; remove it, or write `type: file`"),
        ("store: {timeout: 0}", 'store.timeout: expected a duration longer than 0s, got "0"'),
        ("store: {path: ''}", 'store.path: expected a path, got ""'),
        ("store: {path: [a]}", "store.path: expected a path, got a list"),
        ("refresh: []", "refresh: expected a mapping of keys, got a list"),
        ("refresh: {timeout: 0}", 'refresh.timeout: expected a duration longer than 0s, got "0"'),
        ("refresh: {park_timeout: 0s}", 'refresh.park_timeout: expected a duration longer than 0s, got "0s"'),
        ("refresh: {retry_for: -1}", 'refresh.retry_for: expected a duration such as 10s, got "-1"'),
        ("refresh: {max_parked: 0}", 'refresh.max_parked: expected a whole number from 1 to 1000000, got "0"'),
        ("refresh: {on_unavailable: 503}", 'refresh.on_unavailable: expected logout or unavailable, got "503"'),
        ("refresh: {statuses: 401}", 'refresh.statuses: expected a list such as [a, b], got "401"'),
        ("refresh: {statuses: []}", "refresh.statuses: expected at least one"),
        ("refresh: {statuses: [200]}", 'refresh.statuses[0]: expected a whole number from 400 to 599, got "200"'),
        ("refresh: {statuses: [401, ~]}", "refresh.statuses[1]: expected a whole number from 400 to 599, got nothing"),
        ("replay: {memory: -1}", 'replay.memory: expected a size such as 64KiB, got "-1"'),
        ("timeouts: {response: {}}", "timeouts.response: expected a duration such as 10s, got a mapping"),
        ("tls: {verify: maybe}", 'tls.verify: expected true or false, got "maybe"'),
        ("tls: {ca_file: nope.pem}", "tls.ca_file: there is no such file"),
        (f"tls: {{ca_file: {'x' * 300}}}", "tls.ca_file: there is no such file"),
        ("tls: {ca_file: /}", "tls.ca_file: there is no such file"),
        ("headers: {request: {set: [a]}}", "headers.request.set: expected a mapping of names to values, got a list"),
        ("headers: {request: {set: {X: 'a\tb\x85'}}}", ("headers.request.set.X: expected printable ASCII, "
         "without a line end, and without a space in front or behind")),
        ('headers: {request: {set: {X: "a\\r\\nY: b"}}}', ("headers.request.set.X: expected printable ASCII, "
         "without a line end, and without a space in front or behind")),
        ("headers: {request: {set: {X: é}}}", ("headers.request.set.X: expected printable ASCII, "
         "without a line end, and without a space in front or behind")),
        ("headers: {request: {set: {X: ''}}}", "headers.request.set.X: it is empty"),
        ('headers: {request: {set: {X: "a {access_token}"}}}', ("headers.request.set.X: the access token is not filled in "
         "here; say `send` at the credential, or at the route")),
        ("headers: {request: {set: {X-A: b, x-a: c}}}", ("headers.request.set: the same field twice; "
         "upper and lower case make no difference in names")),
        ("headers: {request: {remove: Cookie}}", 'headers.request.remove: expected a list such as [a, b], got "Cookie"'),
        ("headers: {request: {remove: [Host]}}", "headers.request.remove[0]: Host belongs to the proxy and cannot be changed"),
        ("headers: {response: {default: {A: b}}}", ("headers.response.default: unknown key here; "
         "did you mean `headers.request.default`?")),
        ("log: {level: loud}", 'log.level: expected debug, info, warning or error, got "loud"'),
        ("log: {format: xml}", 'log.format: expected auto, console or json, got "xml"'),
        ("drain_timeout: forever", 'drain_timeout: expected a duration such as 10s, got "forever"'),
    ],
)  # fmt: skip
def test_a_value_that_is_told(text: str, told: str) -> None:
    assert problems(LEAST + text) == [f"3: {told}"]


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Keep-Alive", "Trailer", "Authorization",
     "Proxy-Authorization", "Reauth-Signal", "reauth-x"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["request: {set", "request: {default", "response: {set"])
def test_fields_of_the_proxy_cannot_be_set(where: str, name: str) -> None:
    (told,) = problems(f"{LEAST}headers: {{{where}: {{{name}: x}}}}}}")
    assert told.endswith(f".{name}: {name} belongs to the proxy and cannot be changed")


def test_values_of_fields_are_read_like_secrets(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", "CANARY-file\n")
    text = LEAST + "headers: {request: {set: {A: {env: KEY}, B: {file: key}}}}"
    config = read(text, {"KEY": "CANARY-env"}, tmp_path)
    assert config.headers.request.set == {"A": Secret("CANARY-env"), "B": Secret("CANARY-file")}
    assert "CANARY" not in repr(config)


def test_a_client_key_comes_with_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "a.pem").touch()
    assert (
        read(LEAST + "tls: {client_cert: a.pem, client_key: a.pem}", base=tmp_path).tls.client_key == tmp_path / "a.pem"
    )
    assert problems(LEAST + "tls: {client_key: a.pem}", base=tmp_path) == [
        "3: tls.client_key: `client_key` needs `client_cert`"
    ]


def test_plain_http_is_for_this_machine_unless_allowed() -> None:
    plain = "upstream: http://api\n" + endpoint("url: http://id/t\nclient_id: a").removeprefix(UPSTREAM)
    why = "plain http would show tokens to the network; write https, or set `tls.allow_insecure: true` if it is yours"
    assert problems(plain) == [f"1: upstream: {why}", f"4: credential.token_endpoint.url: {why}"]
    assert read(plain + "tls: {allow_insecure: true}").upstream.host == "api"
    assert problems(plain + "tls: {allow_insecure: perhaps}") == [
        '6: tls.allow_insecure: expected true or false, got "perhaps"'
    ]
    assert read(plain.replace("//api", "//127.0.0.1:1").replace("//id", "//localhost:2")).upstream.port == 1
    assert problems(endpoint("issuer: http://id\nclient_id: a")) == [f"4: credential.token_endpoint.issuer: {why}"]


def test_the_way_a_client_authenticates_follows_from_its_secret() -> None:
    assert oauth2(OAUTH2).client_auth == "none"
    assert oauth2(OAUTH2 + "client_secret: CANARY").client_auth == "client_secret_basic"
    assert oauth2(OAUTH2 + "client_secret: CANARY\nclient_auth: client_secret_post").client_auth == "client_secret_post"
    key = oauth2(
        OAUTH2 + 'client_auth: private_key_jwt\nprivate_key: "CANARY\\nkey"\nprivate_key_alg: ES256\nprivate_key_id: 7'
    )
    assert (key.client_auth, key.private_key_alg, key.private_key_id) == ("private_key_jwt", "ES256", "7")
    assert key.private_key == Secret("CANARY\nkey")


def test_all_of_an_oauth2_endpoint() -> None:
    found = oauth2(
        "issuer: https://id.example.com/realm/\nclient_id: a b\nscope: openid offline_access\n"
        "params: {audience: api, resource: 'https://api'}\nheaders: {X-Tenant: CANARY, Authorization: Basic CANARY}\n"
    )
    assert str(found.issuer) == "https://id.example.com/realm/"
    assert found.url is None
    assert found.scope == "openid offline_access"
    assert found.params == {"audience": Secret("api"), "resource": Secret("https://api")}
    assert found.headers == {"X-Tenant": Secret("CANARY"), "Authorization": Secret("Basic CANARY")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("client_id: a", "3: issuer: `url` or `issuer` is required, to know where the token endpoint is"),
        ("url: https://a.example/t", "3: client_id: required, such as `client_id: web`"),
        ("url: a.example\nclient_id: a", '4: url: expected a URL such as https://api.example.com, got "a.example"'),
        ("issuer: https://a.example/?x\nclient_id: a", ("4: issuer: a URL here must not have a query; "
         "remove the ? and what follows it")),
        (OAUTH2 + "client_auth: client_secret_basic", "6: client_auth: client_secret_basic needs `client_secret`"),
        (OAUTH2 + "client_auth: private_key_jwt", "6: client_auth: private_key_jwt needs `private_key`"),
        (OAUTH2 + "client_secret: CANARY\nclient_auth: none", ("7: client_auth: `client_secret` is not used with none; "
         "remove it, or write client_secret_basic or client_secret_post")),
        (OAUTH2 + "private_key: CANARY", ("3: client_auth: `private_key` is not used with none; "
         "remove it, or write private_key_jwt")),
        (OAUTH2 + "client_secret: {env: NOPE}", "6: client_secret: the environment variable NOPE is not set"),
        (OAUTH2 + "private_key_alg: none", ("6: private_key_alg: expected RS256, RS384, RS512, PS256, PS384, PS512, ES256, "
         'ES384, ES512 or EdDSA, got "none"')),
        (OAUTH2 + "scope: a  b", ('6: scope: expected scopes with one space between them, such as openid offline_access, '
         'got "a  b"')),
        (OAUTH2 + "scope: [a, b]", ("6: scope: expected scopes with one space between them, such as openid offline_access, "
         "got a list")),
        ("url: https://a.example/t\nclient_id: {env: X}", "5: client_id: expected text, got a mapping"),
        ('url: https://a.example/t\nclient_id: "a\\nb"', "5: client_id: expected text on one line, without control characters"),
        (OAUTH2 + "params: {grant_type: x}", "6: params.grant_type: the proxy sends this parameter itself"),
        (OAUTH2 + "params: {scope: x}", "6: params.scope: write it as `scope` beside `params`"),
        (OAUTH2 + "params: {audience: }", "6: params.audience: expected text, {env: NAME} or {file: PATH}"),
        (OAUTH2 + "params: [a]", "6: params: expected a mapping of names to values, got a list"),
        (OAUTH2 + "headers: {Content-Length: 3}", ("6: headers.Content-Length: Content-Length belongs to the proxy "
         "and cannot be changed")),
        (OAUTH2 + "headers: {Connection: close}", "6: headers.Connection: Connection belongs to the proxy and cannot be changed"),
        (OAUTH2 + "client_secret: CANARY\nheaders: {authorization: x}", ("7: headers: Authorization is what client_auth: "
         "client_secret_basic sets; remove one")),
        (OAUTH2 + "type: saml", '6: type: expected oauth2 or json, got "saml"'),
        (OAUTH2 + "type: [json]", "6: type: expected oauth2 or json, got a list"),
        (OAUTH2 + "clientid: x", "6: clientid: unknown key; did you mean `client_id`?"),
        (OAUTH2 + "jwks: https://a.example", ("6: jwks: unknown key; expected authorization_params, authorization_url, "
         "client_auth, client_id, client_secret, device_authorization_url, headers, issuer, params, private_key, "
         "private_key_alg, private_key_id, redirect_port, revocation_url, scope, type or url")),
        (OAUTH2 + "redirect_port: 70000", '6: redirect_port: expected a whole number from 0 to 65535, got "70000"'),
        (OAUTH2 + "authorization_params: {state: x}", "6: authorization_params.state: `login` sends this parameter itself"),
        (OAUTH2 + "authorization_params: {scope: x}",
         "6: authorization_params.scope: write it as `scope` beside `authorization_params`"),
        (OAUTH2 + "response: {}", "6: response: unknown key with `type: oauth2`"),
    ],
)  # fmt: skip
def test_an_oauth2_endpoint_that_is_told(text: str, told: str) -> None:
    line, _, rest = told.partition(" ")
    assert problems(endpoint(text)) == [f"{line} credential.token_endpoint.{rest}"]


def test_all_of_a_hand_made_endpoint() -> None:
    found = hand_made(
        "type: json\nurl: https://a.example/refresh?v=2\nmethod: PUT\nheaders: {X-Old: '{access_token}'}\n"
        "body: {a: ['x {refresh_token}', 5, 0.5, true, ~, 0123, '5', -1, 1e999], b: {c: '{}', d: yes}}\n"
        "response: {access_token: /a~1b/0, refresh_token: /r, expires_at: /e, refresh_expires_in: /x}\ndenied_statuses: []\n"
    )
    assert found.body == {
        "a": ["x {refresh_token}", 5, 0.5, True, None, "0123", "5", -1, "1e999"],
        "b": {"c": "{}", "d": "yes"},
    }
    assert (found.method, str(found.url), found.denied_statuses) == ("PUT", "https://a.example/refresh?v=2", ())
    assert (found.response.access_token, found.response.expires_at, found.response.expires_in) == (
        "/a~1b/0",
        "/e",
        None,
    )
    assert found.response.refresh_expires_in == "/x"
    assert hand_made(JSON).response.refresh_expires_in is None
    assert hand_made(JSON).denied_statuses == (400, 401, 403)
    assert hand_made(JSON).method == "POST"


def test_a_body_may_be_any_json_value() -> None:
    for written, meant in (("'{refresh_token}'", "{refresh_token}"), ("['{access_token}']", ["{access_token}"])):
        assert hand_made(JSON.replace("{token: '{refresh_token}'}", written)).body == meant
    without = JSON.replace(
        "body: {token: '{refresh_token}'}", "method: GET\nheaders: {Authorization: 'Bearer {refresh_token}'}"
    )
    assert hand_made(without).body is None


def test_what_a_body_takes_from_the_environment_is_text() -> None:
    text = endpoint(JSON.replace("{token:", "{n: \"${N}\", m: '5', token:"))
    found = read(text, {"N": "5"}).credential.token_endpoint
    assert isinstance(found, JsonEndpoint)
    assert found.body == {"n": "5", "m": "5", "token": "{refresh_token}"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (JSON.replace("'{refresh_token}'", "{refresh_token}"), ('6: body: put quotes around "{refresh_token}" at body.token: '
         "without them it is a mapping")),
        (JSON.replace("{refresh_token}", "{refreshToken}"), ('6: body: no token would be sent; write "{refresh_token}" '
         "where this API expects it")),
        (JSON.replace("body: {token: '{refresh_token}'}\n", ""), ('3: body: no token would be sent; write "{refresh_token}" '
         "where this API expects it")),
        (JSON + "method: DELETE", '8: method: expected GET, POST, PUT or PATCH, got "DELETE"'),
        (JSON + "denied_statuses: [ok]", '8: denied_statuses[0]: expected a whole number from 400 to 599, got "ok"'),
        (JSON + "client_id: x", "8: client_id: unknown key with `type: json`"),
        (JSON.replace("/accessToken", "accessToken"), ('7: response.access_token: expected a JSON Pointer (RFC 6901) such as '
         '/accessToken, got "accessToken"')),
        (JSON.replace("/accessToken", "/a~2"), ('7: response.access_token: expected a JSON Pointer (RFC 6901) such as '
         '/accessToken, got "/a~2"')),
        (JSON.replace("/accessToken", "''"), '7: response.access_token: expected a JSON Pointer such as /accessToken, got ""'),
        (JSON.replace("{access_token: /accessToken}", "{}"), ("7: response.access_token: required, such as "
         "`access_token: /accessToken`")),
        (JSON.replace("response: {access_token: /accessToken}\n", ""), ("3: response: required, such as "
         "`response: {access_token: /accessToken}`")),
        (JSON.replace("{access_token: /accessToken}", "{access_token: /a, expires_in: /b, expires_at: /c}"),
         "7: response.expires_at: `expires_in` and `expires_at` exclude each other; remove one"),
        (JSON.replace("{access_token: /accessToken}", "{access_token: /a, acess_token: /b}"),
         "7: response.acess_token: unknown key; did you mean `access_token`?"),
    ],
)  # fmt: skip
def test_a_hand_made_endpoint_that_is_told(text: str, told: str) -> None:
    line, _, rest = told.partition(" ")
    assert problems(endpoint(text)) == [f"{line} credential.token_endpoint.{rest}"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CREDENTIAL, "1: upstream: required, such as `upstream: https://api.example.com`"),
        (UPSTREAM, "1: credential: required, such as `credential:` with a `token_endpoint:` in it"),
        (UPSTREAM + "credential: CANARY", '2: credential: expected a mapping of keys, got "CANARY"'),
        (UPSTREAM + "credential: {token_endpoint: x}", ("2: credential.token_endpoint: expected a mapping of keys, "
         'got "x"')),
        (CREDENTIAL + "upstream: https://a.example?x=1", ("2: upstream: a URL here must not have a query; "
         "remove the ? and what follows it")),
    ],
)  # fmt: skip
def test_what_must_be_there_is_told(text: str, told: str) -> None:
    assert problems(text) == [told]


def test_code_may_give_the_values_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_FOR_TEST", "CANARY-env")
    config = Config.model_validate(
        {
            "listen": Listen("tcp", "127.0.0.1", 0),
            "upstream": parse_url("http://127.0.0.1:1/api"),
            "credential": {
                "refresh_token": {"env": "TOKEN_FOR_TEST"},
                "token_endpoint": {
                    "type": "json",
                    "url": "http://127.0.0.1:1/refresh",
                    "body": ["{refresh_token}", 5, None],
                    "response": {"access_token": "/a"},
                },
            },
            "store": {"path": Path("/a")},
            "refresh": {"ahead": 0.5, "statuses": (401,), "background": False},
            "replay": {"memory": 1024},
        }
    )
    assert config.credential.refresh_token == Secret("CANARY-env")
    assert (config.listen.port, config.store.path, config.refresh.ahead) == (0, Path("/a"), 0.5)
    for body in ({1, 2}, [float("nan")], [b"{refresh_token}"]):
        with pytest.raises(ValidationError, match="expected a JSON value at body"):
            JsonEndpoint.model_validate(
                {"type": "json", "url": "https://a.example", "body": body, "response": {"access_token": "/a"}}
            )


def test_a_configuration_does_not_change() -> None:
    config = read(LEAST)
    with pytest.raises(ValidationError):
        config.drain_timeout = 1.0
    assert config == read(LEAST)
    assert config != read(LEAST + "drain_timeout: 1s")


def test_placeholders_are_found_wherever_they_are() -> None:
    assert mentions({"a": [1, {"b": "x{refresh_token}"}]}, "refresh_token")
    assert mentions({"a": Secret("{access_token}")}, "refresh_token", "access_token")
    assert not mentions({"{refresh_token}": ["refresh_token", None, 5]}, "refresh_token")


def test_an_upstream_may_be_a_unix_socket() -> None:
    upstream = read("upstream: unix:/run/api.sock\n" + CREDENTIAL).upstream
    assert (upstream.socket, upstream.authority, upstream.path, str(upstream)) == (
        "/run/api.sock",
        "localhost",
        "",
        "unix:/run/api.sock",
    )
    (told,) = problems("upstream: unix:api.sock\n" + CREDENTIAL)
    assert told.startswith("1: upstream: expected unix: and an absolute path")


@pytest.mark.parametrize(
    ("listen", "upstream", "circle"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("127.0.0.1:8080", "http://localhost:8080/api", True),
        ("localhost:8080", "http://127.0.0.1:8080", True),
        ("unix:/run/a.sock", "unix:/run/a.sock", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("127.0.0.1:8080", "http://127.0.0.2:8080", False),
        ("127.0.0.1:8080", "https://api.example.com:8080", False),
        ("127.0.0.1:0", "http://127.0.0.1:80", False),
        ("unix:/run/a.sock", "unix:/run/b.sock", False),
    ],
)
def test_an_upstream_that_is_the_proxy_itself_is_refused(listen: str, upstream: str, circle: bool) -> None:
    text = f"listen: {listen}\nupstream: {upstream}\n" + CREDENTIAL
    if circle:
        assert "where the proxy itself listens" in problems(text)[0]
    else:
        assert str(read(text).upstream) == upstream


@pytest.mark.parametrize("size", ["1023", "2MiB", "0"])
def test_the_size_of_a_header_section_has_bounds(size: str) -> None:
    (told,) = problems(LEAST + f"limits: {{header_bytes: {size}}}\n")
    assert told.startswith("3: limits.header_bytes: expected a size from 1KiB to 1MiB")


def test_there_are_never_more_connections_than_files_that_may_be_open() -> None:
    config = read(LEAST + "replay: {files: 10}\nlimits: {connections: 500, upstream_connections: 50}\n")
    assert affordable(config, 1024) is config
    limits = affordable(config, 300).limits
    assert (limits.connections, limits.upstream_connections) == (101, 50)
    assert affordable(config, 10).limits.connections == 8


def test_a_client_that_asks_for_itself_has_a_stand_in_for_the_refresh_token_and_no_other() -> None:
    text = (
        endpoint("url: https://id.example.com/t\nclient_id: web\nclient_secret: CANARY")
        + "  grant: client_credentials\n"
    )
    assert read(text).credential.configured == STAND_IN
    assert read(text.replace("client_credentials", "refresh_token")).credential.configured is None
    assert problems(text + "  refresh_token: CANARY\n") == [
        "8: credential.refresh_token: `grant: client_credentials` has no refresh token; remove one of the two"
    ]
    public = text.replace("    client_secret: CANARY\n", "")
    (told,) = problems(public)
    assert told == (
        "3: credential.token_endpoint: `grant: client_credentials` needs a client that can prove who it is; set "
        "`client_secret`"
    )
    hand_made = "type: json\nurl: https://a.example\nbody: '{refresh_token}'\nresponse: {access_token: /a}"
    assert problems(endpoint(hand_made) + "  grant: client_credentials\n") == [
        "3: credential.token_endpoint: `grant: client_credentials` needs a token endpoint of `type: oauth2`"
    ]
    assert problems(text.replace("client_credentials", "password")) == [
        '7: credential.grant: expected refresh_token or client_credentials, got "password"'
    ]


CAPTURE = "capture:\n  - {path: /v1/login, access_token: /a, refresh_token: /data/r}\n"


def test_logins_to_capture() -> None:
    (rule,) = read(LEAST + CAPTURE).capture
    assert (rule.path, rule.access_token, rule.refresh_token, rule.expires_in) == ("/v1/login", "/a", "/data/r", None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("/v1/login", "v1/login"), "path: expected a path such as /v1/auth/login, without escapes, dots, a query or"),
        (("/v1/login", "/a/../b"), "path: expected a path such as /v1/auth/login, without escapes, dots, a query or"),
        (("path: /v1/login, ", ""), "path: required, such as `path: /v1/auth/login`"),
        (("access_token: /a", "access_token: a"), "access_token: expected a JSON Pointer (RFC 6901) such as /accessT"),
        (("refresh_token: /data/r", "expires_in: /e"), "refresh_token: required, such as `refresh_token: /refreshTok"),
        (("path:", "pth: x, path:"), "pth: unknown key; did you mean `path`?"),
    ],
)
def test_a_capture_that_is_told(change: tuple[str, str], told: str) -> None:
    (problem,) = problems(LEAST + CAPTURE.replace(*change))
    assert problem.startswith(f"4: capture[0].{told}")
