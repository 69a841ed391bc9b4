"""The folder tree is the architecture: imports point down only (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support import source

# What each layer may import, besides itself and `FOR_ALL`. Warnings are logged where they arise, from `container` up.
BELOW = {
    "linux": set[str](),
    "spec": set[str](),
    "apply": {"linux"},
    "cgroups": {"linux"},
    "network": {"linux"},
    "criu": {"linux"},
    "plan": {"spec", "apply", "cgroups", "network", "linux"},
    "container": {"plan", "spec", "apply", "cgroups", "network", "criu", "linux", "log"},
    "cli": {"container", "spec", "log", "version", "bundle"},
    "api": {"container", "spec"},
    "aio": {"api"},
    "errors": set[str](),
    "system": set[str](),
    "log": set[str](),
    "version": set[str](),
    "bundle": set[str](),
    "start": {"cli"},  # which it starts
    "__init__": {"api", "aio", "spec", "version"},
    "__main__": {"cli"},
}
FOR_ALL = {"errors", "system"}  # `system` is `os` by another name

# Words of config.json that no layer below `plan` may know; in snake case they are fine where the kernel has them too.
OCI_WORDS = set(
    "ociVersion maskedPaths readonlyPaths rootfsPropagation uidMappings gidMappings cgroupsPath noNewPrivileges oomScoreAdj "
    "additionalGids selinuxLabel apparmorProfile mountLabel timeOffsets fileMode containerID hostID consoleSize maskedPath "
    "createRuntime createContainer startContainer poststart poststop prestart disableOOMKiller hugepageLimits blockIO "
    "leafWeight weightDevice throttleReadBpsDevice realtimePeriod checkBeforeUpdate".split()
)
# Words that another specification has too, for something else.
SHARED = {"network/cni.py": {"containerID"}}  # of an attachment, in CNI's list of valid ones

# What only layers that talk to the kernel may name.
KERNEL_WORDS = re.compile(
    r"\b(CLONE_|MS_|MNT_|O_PATH|AT_EMPTY_PATH|PR_SET_|FSCONFIG_|OPEN_TREE_|MOVE_MOUNT_|boxes\.linux|pivot_root|openat2|setns)"
)


def edges() -> list[tuple[Path, int, str, str]]:
    """Each import of the package's own: file, line, importing layer, imported layer."""
    found = []
    for path in source.modules():
        for line, target in source.imported(path):
            parts = target.split(".")
            if parts[0] == "boxes" and len(parts) > 1:
                found.append((path, line, source.layer(path), parts[1]))
    return found


def test_imports_point_down_only() -> None:
    wrong = [
        f"{source.name(path)}:{line}: {importing} imports {imported}"
        for path, line, importing, imported in edges()
        if imported != importing and imported not in BELOW.get(importing, set()) | FOR_ALL
    ]
    assert wrong == []


def test_every_layer_has_a_rule() -> None:
    assert {source.layer(path) for path in source.modules()} <= set(BELOW)


def test_rules_have_no_cycle() -> None:
    def reachable(layer: str, seen: frozenset[str]) -> set[str]:
        assert layer not in seen, f"cycle through {layer}"
        return set().union({layer}, *(reachable(below, seen | {layer}) for below in BELOW[layer]))

    for layer in BELOW:
        reachable(layer, frozenset())


def constants(path: Path) -> list[tuple[int, str]]:
    """Names, attributes and strings of a file, but for docstrings."""
    tree = source.tree(path)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found.append((node.lineno, node.value))
        elif isinstance(node, ast.Name):
            found.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute):
            found.append((node.lineno, node.attr))
    return found


@pytest.mark.parametrize("layer", ["linux", "apply", "cgroups", "network", "criu"])
def test_layers_at_the_kernel_know_no_oci_word(layer: str) -> None:
    wrong = [
        f"{source.name(path)}:{line}: {text}"
        for path in source.modules(layer)
        for line, text in constants(path)
        if OCI_WORDS & set(re.split(r"\W+", text)) - SHARED.get(source.name(path), set())
    ]
    assert wrong == []


def test_spec_knows_no_kernel_word() -> None:
    wrong = [
        f"{source.name(path)}:{line}: {text}"
        for path in source.modules("spec")
        for line, text in constants(path)
        if KERNEL_WORDS.search(text) and source.name(path) != "spec/filter.py"  # a profile lists system calls
    ]
    assert wrong == []


def test_plan_does_nothing() -> None:
    """Pure: the facts about the host are handed in, so that every plan can be tested without root."""
    doing = {
        "open",
        "mkdir",
        "unlink",
        "write",
        "fork",
        "execve",
        "mount",
        "setns",
        "unshare",
        "kill",
        "chown",
        "symlink",
        "socket",
    }
    wrong = [
        f"{source.name(path)}:{node.lineno}: os.{node.attr}"
        for path in source.modules("plan")
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("os", "posix")
        and node.attr in doing
    ]
    assert wrong == []
