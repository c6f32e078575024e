"""The reference, the example and the schema have every key of the model, with its default, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from reauth_proxy.config.credential import JsonEndpoint, OAuth2Endpoint
from reauth_proxy.config.explain import keys, sections
from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.config.schema import json_schema
from tests.config.reading import LEAST, endpoint, read

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "configuration.md").read_text()
EXAMPLE = (ROOT / "config.example.yaml").read_text()
ENDPOINTS: dict[str, type[BaseModel]] = {"oauth2": OAuth2Endpoint, "json": JsonEndpoint}
KEYS = {".".join(path) for path, _ in keys()}

_ROW = re.compile(r"^\| `([a-z_.0-9]+)` \| (.+?) \| (.*?) \| (.*) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str]]:
    """Return key, type and default of each row; keys of the two kinds of token endpoint may be there twice."""
    return [(match[1], match[2], match[3]) for match in _ROW.finditer(REFERENCE)]


def test_the_reference_has_every_key_and_no_other() -> None:
    assert {key for key, _, _ in rows()} == KEYS


@pytest.mark.parametrize("kind", ["oauth2", "json"])
def test_the_reference_has_the_keys_of_each_type_under_its_heading(kind: str) -> None:
    model = ENDPOINTS[kind]
    section = REFERENCE.partition(f"with `type: {kind}`\n")[2].partition("\n#")[0]
    listed = {match[1].removeprefix("credential.token_endpoint.") for match in _ROW.finditer(section)}
    assert listed == {".".join(path) for path, _ in keys(model)}


@pytest.mark.parametrize(
    ("key", "written"), [(key, written) for key, _, written in rows() if "token_endpoint." not in key]
)
def test_the_reference_tells_the_default(key: str, written: str) -> None:
    field = {".".join(path): field for path, field in keys()}[key]
    if written == "required":
        assert field.is_required()
        return
    assert not field.is_required()
    if written == "none":
        assert field.default is None
        return
    value = written.strip("`")
    if key.startswith("routes."):
        assert str(field.default).lower() == value.lower()
        return
    if key.startswith("credential."):
        assert field.default == value
        return
    for name in reversed(key.split(".")):
        value = f"{{{name}: {value}}}"
    assert read(LEAST + value[1:-1] + "\n") == read(LEAST)


def test_the_reference_tells_the_defaults_of_both_token_endpoints() -> None:
    for kind, model in ENDPOINTS.items():
        section = REFERENCE.partition(f"with `type: {kind}`\n")[2].partition("\n#")[0]
        fields = {".".join(path): field for path, field in keys(model)}
        for match in _ROW.finditer(section):
            key, written = match[1].removeprefix("credential.token_endpoint."), match[3]
            default = fields[key].get_default(call_default_factory=True, validated_data={})
            if written == "required":
                assert default is PydanticUndefined
            elif written == "none":
                assert default is None
            elif key != "client_auth":
                assert json.loads(json.dumps(default)) == yaml.safe_load(written.strip("`")), key


def test_the_reference_names_every_choice() -> None:
    for path, field in keys():
        annotation = next((part for part in (field.annotation, *get_args(field.annotation)) if _choices(part)), None)
        if annotation is not None:
            (row, *_) = [row for row in REFERENCE.splitlines() if row.startswith(f"| `{'.'.join(path)}` |")]
            rest = REFERENCE if path[-1] == "type" else row
            assert all(choice in rest for choice in _choices(annotation)), path


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(choice for choice in get_args(annotation) if isinstance(choice, str))


def uncommented() -> str:
    """Return the example with the lines that are off."""
    return re.sub(r"^( *)#(?=[a-z_]+: )", r"\1", EXAMPLE, flags=re.MULTILINE)


def example_keys(data: object, path: str = "") -> set[str]:
    if isinstance(data, list):
        return {key for item in data for key in example_keys(item, path)}
    if (
        path == "credentials"
        or not isinstance(data, dict)
        or path
        not in {
            "",
            *(key for key in KEYS if any(other.startswith(f"{key}.") for other in KEYS)),
        }
    ):
        return set()
    found = set()
    for name, value in data.items():
        key = f"{path}.{name}" if path else name
        found |= {key} | example_keys(value, key)
    return found


def test_the_example_has_every_key_and_no_other() -> None:
    text, _, hand_made = uncommented().partition("# A hand-made API as the token endpoint:\n#\n")
    text, _, several = text.partition(
        "# Several upstreams, and several credentials, instead of `upstream` and `credential`:\n"
    )
    found = example_keys(yaml.safe_load(text))
    found |= example_keys(yaml.safe_load(re.sub(r"^#", "", several, flags=re.MULTILINE)))
    json_kind = yaml.safe_load(re.sub(r"^#( *)#?", r"\1", hand_made, flags=re.MULTILINE))
    found |= example_keys({"credential": json_kind})
    assert found == KEYS


def test_the_example_shows_the_defaults() -> None:
    example, least = load(ROOT / "config.example.yaml", {}), read(LEAST)
    for name in Config.model_fields:
        if name not in ("upstream", "credential", "store"):
            assert getattr(example, name) == getattr(least, name), name
    assert example.store.type == "memory"
    assert example.store.path is None


def test_the_hand_made_api_of_the_example_is_read_too() -> None:
    _, _, hand_made = EXAMPLE.partition("# A hand-made API as the token endpoint:\n#\n")
    text = re.sub(r"^#", "", hand_made, flags=re.MULTILINE)
    shown = read(f"upstream: https://api.example.com\ncredential:\n{text}").credential.token_endpoint
    assert isinstance(shown, JsonEndpoint)
    least = "type: json\nurl: https://api.example.com/v1/auth/refresh\nbody: {token: '{refresh_token}'}\n"
    plain = read(
        endpoint(least + "response: {access_token: /accessToken, refresh_token: /refreshToken, expires_in: /expiresIn}")
    )
    assert shown == plain.credential.token_endpoint


def test_the_example_is_for_the_servers_of_the_demo() -> None:
    config = load(ROOT / "config.example.yaml", {})
    assert str(config.upstream) == "http://127.0.0.1:8490/api"
    settings = config.credential.token_endpoint
    assert isinstance(settings, OAuth2Endpoint)
    assert str(settings.url) == "http://127.0.0.1:8490/oauth2/token"
    assert (settings.client_id, settings.client_auth) == ("demo", "none")
    assert config.credential.refresh_token is not None
    assert config.credential.refresh_token.reveal() == "demo-refresh-token"


def test_the_configurations_in_the_documents_are_read() -> None:
    for name in ("docs/configuration.md", "docs/security.md", "docs/signing-in.md", "docs/stores.md", "README.md"):
        blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
        assert blocks
        for block in blocks:
            text = block if "upstream:" in block else f"upstream: https://api.example.com\ncredential:\n{block}"
            text = re.sub(r"\{file: /run/secrets/store-key(-old)?\}", "ab" * 32, text)
            text = re.sub(r"\{file: /run/secrets/[a-z-]+\}", "x", text)
            assert "api.example.com" in [
                route.upstream.host for route in read(text, {"REFRESH_TOKEN": "CANARY"}).each_route
            ]


def test_the_schema_is_json_that_names_and_describes_every_key() -> None:
    schema = json.loads(json.dumps(json_schema()))
    for path, field in keys():
        assert field.description, path
    models: set[type[BaseModel]] = {Config, *(section for _, field in keys() for section in sections(field.annotation))}
    for model in models:
        described = schema if model is Config else schema["$defs"][model.__name__]
        assert set(described["properties"]) == set(model.model_fields)
        assert described["additionalProperties"] is False
        assert all("description" in field or "$ref" in field for field in described["properties"].values())
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert set(described.get("required", ())) == required


def test_the_schema_takes_the_example() -> None:
    schema = json_schema()
    assert mismatches(schema, schema, yaml.safe_load(EXAMPLE)) == []
    assert mismatches(schema, schema, yaml.safe_load(LEAST)) == []
    assert mismatches(schema, schema, yaml.safe_load(LEAST + "refresh: {ahead: soon}")) != []
    assert mismatches(schema, schema, yaml.safe_load(LEAST + "refresh: {aheed: 3s}")) != []


_TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def mismatches(root: dict[str, Any], schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Return where a value is not what a schema says: as much of JSON Schema as ours uses."""
    if "$ref" in schema:
        return mismatches(root, root["$defs"][schema["$ref"].rpartition("/")[2]], value, path)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            fitting = sum(not mismatches(root, option, value, path) for option in schema[word])
            return [] if fitting == 1 or (fitting and word == "anyOf") else [path]
    kind = schema.get("type")
    if kind in ("integer", "number"):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= schema.get("minimum", value)
        return [] if fits else [path]
    if kind is not None and not isinstance(value, _TYPES[kind]):
        return [path]
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return [path]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [path]
    wrong: list[str] = []
    if isinstance(value, dict) and kind == "object":
        more = schema.get("additionalProperties", {})
        wrong += [f"{path}.{name}" for name in schema.get("required", ()) if name not in value]
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, more)
            wrong += [f"{path}.{name}"] if inner is False else mismatches(root, inner, item, f"{path}.{name}")
    if isinstance(value, list) and "items" in schema:
        for item in value:
            wrong += mismatches(root, schema["items"], item, path)
    return wrong


def test_the_page_about_signing_in_names_every_key_and_option_of_it() -> None:
    page = (ROOT / "docs" / "signing-in.md").read_text()
    needed = {
        "authorization_url",
        "device_authorization_url",
        "revocation_url",
        "authorization_params",
        "redirect_port",
    }
    assert needed <= set(OAuth2Endpoint.model_fields)
    for name in (*needed, "grant: client_credentials", "capture", "--device", "--stdin", "--no-browser", "--timeout"):
        assert name in page, name
