"""The configuration's JSON Schema, for editors."""

from __future__ import annotations

from typing import Any, Final

from reauth_proxy.config.model import Config

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of a configuration file (JSON Schema 2020-12)."""
    schema = Config.model_json_schema()
    _allow_null(schema)
    for definition in schema["$defs"].values():
        _allow_null(definition)
    return {"$schema": _DIALECT, "title": "reauth-proxy configuration"} | {
        key: value for key, value in schema.items() if key != "title"
    }


def _allow_null(section: dict[str, Any]) -> None:
    """Drop titles that say no more than the key; let a section's keys stand without a value, as the reader does."""
    for key, field in section.get("properties", {}).items():
        field.pop("title", None)
        if "$ref" in field and key not in section.get("required", ()):
            field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}]
