"""The state of a container as the specification words it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OCI_VERSION = "1.3.0"


def oci_state(
    id: str, status: str, pid: int | None, bundle: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The state document (runtime-spec, "State") for hooks, seccomp agents and the `state` verb.

    `status` is creating, created, running, stopped or the extension paused; `pid` is None where there is no process to
    name, and is left out then; so are annotations if there are none.
    """
    state: dict[str, Any] = {"ociVersion": OCI_VERSION, "id": id, "status": status}
    if pid is not None:
        state["pid"] = pid
    state["bundle"] = bundle
    if annotations:
        state["annotations"] = dict(annotations)
    return state
