"""The configuration's JSON Schema, for editors."""

from __future__ import annotations

from typing import Any, Final

from reauth_proxy.config.model import Config

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of a configuration file (JSON Schema 2020-12)."""
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    for section in (schema, *definitions.values()):
        _finish(section, definitions)
    return {"$schema": _DIALECT} | schema | {"title": "reauth-proxy configuration"}


def _finish(section: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Drop titles that say no more than the key; describe each key; let a section stand without a value, as it may."""
    for key, field in section["properties"].items():
        field.pop("title", None)
        if "$ref" in field:
            field.setdefault("description", definitions[field["$ref"].rpartition("/")[2]]["description"])
            if key not in section.get("required", ()):
                field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}]
