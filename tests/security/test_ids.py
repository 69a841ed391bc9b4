"""Ids that climb out of --root: crun 1.8 removes the parent of --root for `delete --force ..`.

Only in a tree of canaries, and never tried on another runtime.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime
from tests.support.tally import Row, some

VERBS = [
    "start",
    "state",
    "kill",
    "delete",
    "delete --force",
    "exec",
    "ps",
    "create",
    "run",
    "pause",
    "resume",
    "update",
    "events --stats",
]
IDS = [
    "",
    ".",
    "..",
    "../..",
    "./x",
    "x/..",
    "a/b",
    "../x",
    "/etc",
    "a\n",
    "-x",
    "...",
    ".hidden",
    "é",
    "１",
    "a b",
    "x" * 1025,
]
CASES = [(verb, identifier) for verb in VERBS for identifier in IDS]


def canaries(directory: Path) -> Path:
    """A --root with something to lose in it, and above it twice."""
    root = directory / "one/two/root"
    root.mkdir(parents=True)
    for place in (root, root.parent, root.parent.parent):
        (place / "canary").write_text("alive")
    return root


def alive(root: Path) -> bool:
    places = (root, root.parent, root.parent.parent)
    return all((place / "canary").exists() for place in places) and os.listdir(root) == ["canary"]


@pytest.mark.parametrize("verb, identifier", some(CASES, 60))
@not_for("runc", "crun", reason="crun would remove the canaries")
def test_is_refused_by_every_verb(box: Runtime, bundle: Bundle, verb: str, identifier: str) -> None:
    root = canaries(box.directory)
    more = ["--bundle", str(bundle.save().path)] if verb in ("create", "run") else []
    tail = ["/bin/true"] if verb == "exec" else []
    result = box.bare("--root", str(root), *verb.split(), *more, "--", identifier, *tail)
    result.refused(code=255 if verb == "exec" else 1)
    assert len(result.err) < 4096
    assert alive(root)


@pytest.mark.parametrize("identifier", [identifier for identifier in IDS if len(identifier) < 300])
def test_of_an_argument_that_looks_like_an_option_is_refused(box: Runtime, identifier: str) -> None:
    root = canaries(box.directory)
    assert box.bare("--root", str(root), "delete", "--force", identifier).code != 0
    assert alive(root)


def test_control_removes_what_is_above(directory: Path, tally: Row) -> None:
    """What a runtime does which joins the id to --root."""
    root = canaries(directory)
    shutil.rmtree(os.path.join(root, ".."), ignore_errors=True)
    tally.red("naive rmtree(root/id)", not alive(root))


def test_control_of_the_distribution_is_not_run(tally: Row) -> None:
    """Its --root may be in a tree of canaries: nobody would want to be wrong about that."""
    tally.not_run("crun 1.8.1 delete --force ..", "it removes the parent of --root")
