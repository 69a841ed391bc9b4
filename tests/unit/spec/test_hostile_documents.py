"""Whatever a document holds, the answer is a list of warnings or an error of one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from boxes.errors import ConfigError
from boxes.spec.default import default
from boxes.spec.document import dump
from boxes.spec.validate import validate, validate_process

NAMES = st.sampled_from(
    [
        "ociVersion",
        "root",
        "path",
        "process",
        "user",
        "uid",
        "args",
        "env",
        "linux",
        "namespaces",
        "type",
        "mounts",
        "destination",
        "options",
        "hooks",
        "poststop",
        "resources",
        "devices",
        "allow",
        "memory",
        "limit",
        "seccomp",
        "syscalls",
        "names",
        "action",
        "defaultAction",
        "sysctl",
        "timeOffsets",
        "size",
        "uidMappings",
        "containerID",
        "hostID",
        "rlimits",
        "soft",
        "hard",
        "scheduler",
        "policy",
        "annotations",
        "netDevices",
        "rdma",
        "unified",
        "cpu",
        "blockIO",
        "weightDevice",
        "intelRdt",
        "schemata",
        "memoryPolicy",
        "mode",
        "nodes",
        "capabilities",
        "effective",
    ]
)
SURROGATES = st.text(st.characters(), max_size=4)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | SURROGATES
    | NAMES
    | st.sampled_from(
        ["/", "1.3.0", "pid", "c", "SCMP_ACT_ALLOW", "SCHED_FIFO", "RLIMIT_CPU", "A=1", "MPOL_BIND", "net.a"]
    )
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | SURROGATES, inner, max_size=5),
    max_leaves=30,
)


def verdict(document: Any, check: Callable[[Any], object] = validate) -> str:
    """The text of the error, or an empty one; any other exception is the test's failure."""
    found = None
    try:
        check(document)
    except ConfigError as error:
        found = error
    if found is None:
        return ""
    assert found.pointer is not None
    assert "\n" not in str(found)
    assert str(found).encode()
    return str(found)


@settings(max_examples=500)
@given(DOCUMENTS)
def test_no_document_leads_to_another_error(document: Any) -> None:
    verdict(document)


@settings(max_examples=500)
@given(st.dictionaries(NAMES, DOCUMENTS, max_size=8))
def test_no_process_leads_to_another_error(document: Any) -> None:
    verdict(document, validate_process)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder in a document, and the key of a value in it."""
    pairs = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    return [place for key, item in list(pairs) for place in [(value, key), *places(item)]]


@settings(max_examples=500)
@given(st.data())
def test_no_spoilt_value_of_a_right_config_leads_to_another_error(data: st.DataObject) -> None:
    config: Any = default()
    holder, key = data.draw(st.sampled_from(places(config)))
    holder[key] = data.draw(DOCUMENTS)
    verdict(config)


def test_a_surrogate_anywhere_in_a_right_config_is_refused_at_its_place() -> None:
    for index, (holder, key) in enumerate(places(default())):
        if isinstance(holder[key], str):
            config: Any = default()
            holder, key = places(config)[index]
            for bad in ("/\ud800", "/\0"):
                holder[key] = bad
                assert verdict(config).startswith("/"), dump(holder)
