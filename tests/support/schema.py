"""The JSON schema of the runtime specification, from where the host has it: never a copy of it.

BOXES_SPEC_SCHEMA is the directory `schema` of a checkout of opencontainers/runtime-spec; else it is that of Debian's
package golang-github-opencontainers-specs-dev, which is older than what we implement.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

PACKAGED = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")


def directory() -> Path:
    return Path(os.environ.get("BOXES_SPEC_SCHEMA") or PACKAGED)


def lacks(name: str) -> str | None:
    """Why a file of the schema cannot be used, or None."""
    if not (directory() / name).is_file():
        return f"no {name}: set BOXES_SPEC_SCHEMA to the schema directory of runtime-spec"
    return None if importlib.util.find_spec("jsonschema_rs") else "needs jsonschema-rs in .venv"


def validator(name: str) -> Any:
    """A validator by one file of the schema; its references are those of the directory."""
    import jsonschema_rs

    def retrieve(uri: str) -> Any:
        return json.loads((directory() / uri.rpartition("/")[2].partition("#")[0]).read_text())

    document = {**retrieve(name), "id": f"json-schema:///{name}"}
    return jsonschema_rs.Draft4Validator(document, retriever=retrieve)


def outline(value: Any) -> Any:
    """A document with the types of its values in their place."""
    if isinstance(value, dict):
        return {key: outline(member) for key, member in value.items()}
    if isinstance(value, list):
        assert all(isinstance(entry, str) for entry in value), value
        return "strings"
    return {bool: "boolean", str: "string", int: "integer"}[type(value)]
