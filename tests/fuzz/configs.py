"""Config files as nobody would write them: a good one with a few members changed, taken away or added, by a seed.

`python -m tests.fuzz.configs COUNT [COMMANDS] [SEED]` reads COUNT of them through the library, and COMMANDS by
`check`, `create` and `start`, side by side with runc if that is there: never an error without a place, never a traceback,
never less confined than by runc, and `check` says beforehand what will be refused.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from boxes.errors import BoxesError
from boxes.plan import refusals
from boxes.plan.container import Plan
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces
from boxes.spec import config as configs
from boxes.spec import default
from tests.support.runtime import CHECKOUT, Result, Runtime
from tests.sweeps.scene import Scene, attributes

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63, -(2**63), 1.5, 1e400, "", "/", "..", "../..", "a/../..", "/proc",
    "/dev/null", "/proc/self/exe", "x" * 300, "é\x00", "\n", "CAP_KILL", "rw", "ro", "rbind", "SCMP_ACT_ALLOW", [], {}, [None], [[]],
    {"": ""}, ["/"], ["CAP_SYS_ADMIN"], [{"type": "mount"}], {"uid": 0}, "private", "unconfined",
]  # fmt: skip
DANGEROUS = ("path", "cgroupsPath", "hooks", "sysctl")  # of the host: not to be made up where containers are made


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members."""
    found = [at] if at else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in pairs:
        found += places(member, (*at, key))
    return found


def mutate(config: dict[str, Any], chance: random.Random, *, spared: tuple[str, ...] = ()) -> dict[str, Any]:
    """A changed copy: one to four changes, most of them of one member's value."""
    changed = copy.deepcopy(config)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at = chance.choice([place for place in places(changed) if not set(place) & set(spared)])
        parent = changed
        for key in at[:-1]:
            parent = parent[key]
        _change(parent, at[-1], chance)
    return changed


def _change(parent: Any, key: Any, chance: random.Random) -> None:
    kind = chance.randrange(10)
    if kind < 6:
        parent[key] = copy.deepcopy(chance.choice(ODD))
    elif kind < 7:
        del parent[key]
    elif kind < 8 and isinstance(parent[key], list) and parent[key]:
        parent[key].append(copy.deepcopy(chance.choice(parent[key])))
    elif kind < 9 and isinstance(parent, dict):
        parent[str(key).upper() if chance.random() < 0.5 else f"{key}s"] = parent[key]
    elif isinstance(parent[key], list):
        chance.shuffle(parent[key])
    else:
        parent[key] = [parent[key]]


def read(config: dict[str, Any]) -> bool:
    """Whether the library takes it, up to the plan. Whatever else it raises than a BoxesError is a defect."""
    try:
        loaded: Any = configs.from_bytes(json.dumps(config).encode(), source="config").config
        refusals.refuse(loaded)
        facts = Facts(
            id="x", bundle="/b", rootfs="/b/rootfs", namespaces=Namespaces(loaded), no_pivot=False, preserve=0, mount_label="",
            nested=False,
        )  # fmt: skip
        Plan(loaded, facts)
    except BoxesError:
        return False
    return True


def library(count: int, chance: random.Random) -> list[str]:
    """What went wrong with `count` of them."""
    base = default.default()
    found = []
    taken = 0
    for _ in range(count):
        config = mutate(base, chance)  # type: ignore[arg-type]
        try:
            begun = time.monotonic()
            taken += read(config)
            if time.monotonic() - begun > 2:
                found.append(f"slow: {json.dumps(config)}")
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            found.append(f"{type(error).__name__}: {error}: {json.dumps(config)}")
    print(f"library: {count} configs, {taken} taken, {len(found)} wrong")
    return found


class Commands:
    """The same config by `check`, and by `create` and `start` of two runtimes."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        runc = shutil.which("runc")
        self.other = Runtime(Path(runc), scene.directory / "other") if runc else None
        if self.other:
            self.other.directory.mkdir()
        self.base = json.loads((scene.bundle.path / "config.json").read_text())
        self.compared = self.taken = 0

    def __call__(self, chance: random.Random) -> list[str]:
        config = mutate(self.base, chance, spared=DANGEROUS)
        text = json.dumps(config)
        (self.scene.bundle.path / "config.json").write_text(text)
        checked = self.scene.box("check", str(self.scene.bundle.path))
        ours, told = self._process(self.scene.box)
        found = [f"{line}: {text}" for line in (*words(checked.err), *words(told), *foreseen(checked, told))]
        if ours is not None:
            self.taken += 1
            if self.other:
                theirs, _ = self._process(self.other)
                if theirs is not None:
                    self.compared += 1
                    found += [f"weaker: {line}: {text}" for line in weaker(ours, theirs)]
        self.scene.settle()  # mount points in the root filesystem stay, by whatever names
        left = self.scene.settled()
        if left:
            self.scene.reset()
        return found + [f"left: {line}: {text}" for line in left]

    def _process(self, runtime: Runtime) -> tuple[dict[str, Any] | None, str]:
        """What the container's process is, if it comes to be; what is said of it, if not."""
        box, self.scene.box = self.scene.box, runtime
        identifier = self.scene.bundle.id
        try:
            made = self.scene.create()
            made = made if made.code else self.scene("start", identifier)
            found = None
            if made.code == 0 and self._exists():
                found = attributes(runtime.state(identifier)["pid"])
            return found, made.err if made.code else ""
        except (FileNotFoundError, ProcessLookupError):
            return None, ""
        finally:
            self.scene.delete()
            self.scene.box = box

    def _exists(self) -> bool:
        return self.scene.box.state(self.scene.bundle.id)["status"] == "running"


def words(told: str) -> list[str]:
    """What is wrong with what a command said on standard error: warnings, and one line of an error at most."""
    lines = told.splitlines()
    errors = [line for line in lines if not line.startswith("box: warning: ")]
    if len(errors) > 1 or not all(line.startswith("box: ") for line in lines) or "Traceback" in told:
        return [f"words: {told[-300:]}"]
    return []


def foreseen(checked: Result, told: str) -> list[str]:
    """Whether `check` found something if, and for an error only if, the container could not be made or started."""
    errors = [line for line in checked.out.splitlines() if not line.startswith("warning")]
    if told and not checked.code:
        return [f"not foreseen: {told.strip()}"]
    if errors and not told:
        return [f"false alarm: {errors[0]}"]
    return [] if checked.code in (0, 1) else [f"check gives {checked.code}"]


def weaker(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """In what ours has more than theirs."""
    found = []
    mine, other = ours["status"], theirs["status"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(mine[name], 16) & ~int(other[name], 16):
            found.append(f"{name} {mine[name]} against {other[name]}")
    for name in ("NoNewPrivs", "Seccomp"):
        if int(mine[name]) < int(other[name]):
            found.append(f"{name} {mine[name]} against {other[name]}")
    found += [
        f"{name} {mine[name]} against {other[name]}"
        for name in ("Uid", "Gid", "Groups")
        if set(mine[name].split()) != set(other[name].split())
    ]
    if theirs["namespaces"] - ours["namespaces"]:
        found.append(f"namespaces {theirs['namespaces'] - ours['namespaces']}")
    if ours["limits"] != theirs["limits"]:
        found.append("limits")
    read_only = {point for point, mount in _seen(theirs).items() if "ro" in mount[2].split(",")}
    null = "/null"  # what masks a file takes everything and keeps nothing, and may be writable
    writable = {
        point for point, mount in _seen(ours).items() if "rw" in mount[2].split(",") and not mount[0].endswith(null)
    }
    points = {mount[1] for mount in theirs["mounts"]} - {mount[1] for mount in ours["mounts"]}
    found += [f"writable {point}" for point in read_only & writable]
    return found + [f"not mounted on {point}" for point in points]


def _seen(found: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """By where they are: of those that lie on each other the last."""
    return {mount[1]: mount for mount in found["mounts"]}


def main(count: int, commands: int, seed: int) -> int:
    chance = random.Random(seed)
    print(f"seed {seed}")
    found = library(count, chance)
    if commands:
        scene = Scene(CHECKOUT / "bin/box", "confined")
        try:
            scene.create().ok()
            scene.delete()
            scene.settle()
            trial = Commands(scene)
            for _ in range(commands):
                found += trial(chance)
            print(f"commands: {commands} configs, {trial.taken} taken, {trial.compared} compared with runc")
        finally:
            scene.close()
    print("\n".join(line[:2000] for line in found[:40]))
    print("failed" if found else "ok")
    return 1 if found else 0


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] + [1000, 0, 1][len(sys.argv) - 1 :]
    sys.exit(main(*numbers))
