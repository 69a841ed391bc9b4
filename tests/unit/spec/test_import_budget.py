"""Reading and checking a config imports little, and the rarer tables only for configs that need them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import boxes

HEAVY = {"re", "json", "argparse", "typing", "dataclasses", "enum", "logging", "subprocess", "socket", "functools"}
RARE = {"boxes.spec.schema_seccomp", "boxes.spec.schema_resources", "boxes.spec.sysctl", "boxes.spec.nearmiss"}

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from boxes.spec.config import from_bytes
from boxes.spec.document import dump, pretty
from boxes.spec.identifier import check_id
from boxes.spec.state import oci_state
config = from_bytes(sys.argv[2].encode()).config
pretty(config), dump(oci_state(check_id("a"), "created", 1, "/b", {}))
print(*sys.modules)
"""


def imported(linux: str) -> set[str]:
    text = f'{{"ociVersion": "1.0.0", "root": {{"path": "r"}}, "linux": {linux}}}'
    root = boxes.__path__[0].removesuffix("/boxes")
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, root, text]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_small_config_needs_neither_heavy_modules_nor_rare_tables() -> None:
    modules = imported("{}")
    assert not modules & HEAVY
    assert not modules & RARE
    assert "boxes.spec.shapes" not in modules


@pytest.mark.parametrize(
    ("linux", "table"),
    [
        ('{"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}', "boxes.spec.schema_seccomp"),
        ('{"resources": {}}', "boxes.spec.schema_resources"),
        ('{"namespaces": [{"type": "network"}], "sysctl": {"net.a": "1"}}', "boxes.spec.sysctl"),
        ('{"maskedpaths": []}', "boxes.spec.nearmiss"),
    ],
)
def test_a_rare_table_comes_alone(linux: str, table: str) -> None:
    modules = imported(linux)
    assert modules & RARE == {table}
    assert not modules & HEAVY
