"""`features`: runtime-spec, features.md and features-linux.md. tests/unit/container/test_features.py has the rest."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Runtime


def test_is_one_json_object_and_nothing_else(box: Runtime) -> None:
    result = box.bare("features").ok()
    assert result.err == ""
    document: dict[str, Any] = json.loads(result.out)
    assert document["ociVersionMin"] == "1.0.0"
    assert {"hooks", "mountOptions", "linux", "annotations"} <= document.keys()


def test_needs_no_store_and_no_home(box: Runtime) -> None:
    result = box.bare("features", env={"PATH": "/bin"}, cwd="/").ok()
    assert json.loads(result.out)["linux"]["cgroup"]["v1"] is True


@not_for("runc", "crun", reason="they take any number of arguments")
def test_takes_no_argument(box: Runtime) -> None:
    box.bare("features", "more").refused("argument")


@not_for("runc", "crun", reason="they can be checkpointed")
def test_does_not_claim_checkpoints(box: Runtime) -> None:
    """Engines look for this key before they offer checkpoints."""
    annotations = box.bare("features").json()["annotations"]
    claimed = annotations.get("org.opencontainers.runc.checkpoint.enabled")
    can = "checkpoint" in box.bare("--help").ok().out
    assert claimed == ("true" if can else None)


@not_for("runc", "crun", reason="they are what it is compared with")
def test_has_all_that_the_distributions_runc_has(box: Runtime) -> None:
    """But for architectures whose byte order is not this machine's, which no filter can have; and for acl and noacl,
    which are a filesystem's own."""
    found = subprocess.run(
        ["runc", "features"], env=ENVIRONMENT, capture_output=True, text=True, timeout=20, check=True
    )
    theirs, ours = json.loads(found.stdout), box.bare("features").json()
    for key in ("hooks", "mountOptions"):
        assert set(theirs[key] or ()) - set(ours[key]) - {"acl", "noacl"} == set(), key
    for key in ("namespaces", "capabilities"):
        assert set(theirs["linux"][key] or ()) - set(ours["linux"][key]) == set(), key
    for key in ("actions", "operators"):
        assert set(theirs["linux"]["seccomp"][key] or ()) - set(ours["linux"]["seccomp"][key]) == set(), key
