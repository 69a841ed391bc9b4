"""Templates are filled in here, by who makes containers: what is common to containers that differ in id, arguments and
environment alone, or to processes in such (docs/adr/0015-scripts.md).

A worker makes one of a config whose arguments and environment are marks (template.py). What that gives, filled in, the
maker carries out.
"""

from __future__ import annotations

from boxes import system as os
from boxes.container import journals
from boxes.linux import path
from boxes.plan import inner, process, scripted
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENT, VARIABLE = "\ue000argument", "\ue000="  # marks, of the private use area: no config has them by chance


def marked(config: dict[str, Any]) -> dict[str, Any]:
    """The config with marks in the place of arguments and environment: what is equal has the same template."""
    return {**config, "process": {**config["process"], "args": [ARGUMENT], "env": [VARIABLE]}}


def common(config: dict[str, Any]) -> bool:
    """Whether it is worth to ask for a template: arguments and environment are as they have to be, since nobody will
    check them, and there is nothing that scripts cannot do."""
    asked = config.get("process")
    if not isinstance(asked, dict) or "hooks" in config or "annotations" in config or asked.get("terminal"):
        return False
    return sound(asked.get("args"), asked.get("env"))


def sound(args: object, env: object) -> bool:
    """Whether these are arguments and environment of a process."""
    if not isinstance(args, list) or not args or not isinstance(env, list):
        return False
    texts = all(isinstance(each, str) and "\0" not in each for each in (*args, *env))
    return bool(texts and args[0] and all(each.find("=") > 0 for each in env))


def sign(root: str) -> list[int] | None:
    """What changes when a root's /etc/passwd does; the device is left out, as each overlay has its own. None if
    there is no file, or no root: that is for whoever makes the container to tell."""
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = path.find(fd, "etc/passwd")
    except OSError:
        found = None
    finally:
        os.close(fd)
    if found is None:
        return None
    facts = os.fstat(found)
    os.close(found)
    return [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


class _Template:
    """`facts` and `steps` as a worker has made them."""

    def __init__(self, facts: dict[str, Any], steps: bytes) -> None:
        self._facts = facts
        self._parts = []
        for size in facts["sizes"]:
            self._parts.append(steps[:size])
            steps = steps[size:]
        self._id = facts["id"].encode()
        self.last: int = facts["last"]  # the number of the execve

    def _home(self, root: str, env: list[str]) -> list[str] | None:
        """The environment with a home, which the root's own file tells; None if that is another file by now."""
        if not process.needs_home({"env": env}):
            return env
        homes = self._facts["homes"]
        if homes is None or homes[1] != sign(root):
            return None
        return [*env, f"HOME={homes[0]}"]

    def _whole(self, changing: list[bytes], replaced: dict[bytes, bytes]) -> bytes:
        """The script. What is replaced is so in the template's own parts alone."""
        parts = self._parts
        for old, new in replaced.items():
            parts = [part.replace(old, new) for part in parts]
        body = parts[0] + b"".join(step + part for step, part in zip(changing, parts[1:], strict=True))
        return inner.whole(body, self._facts["steps"])

    def _fits(self, id: str) -> bool:
        return len(id) == len(self._id)


def _execution(args: list[str], env: list[str]) -> bytes:
    return inner.encoded(inner.EXEC, process.execution({"args": args, "env": env}))


class Template(_Template):
    """That of a container."""

    def __init__(self, facts: dict[str, Any], steps: bytes) -> None:
        super().__init__(facts, steps)
        self.limits: str = facts["limits"]
        self.files: list[str] = facts["files"]

    def fill(self, id: str, config: dict[str, Any]) -> bytes | None:
        """The script of one container; None if the template is not for it."""
        args, env = config["process"]["args"], config["process"]["env"]
        at_home = self._home(config["root"]["path"], env)
        if at_home is None or not self._fits(id):
            return None
        facts = self._facts
        text = facts["config"].replace(dump([VARIABLE]), dump(env), 1)  # first: no environment is like the other mark
        text = text.replace(dump([ARGUMENT]), dump(args), 1)
        directory, name = facts["note"]
        note = inner.encoded(inner.NOTE, scripted.note(directory, name, [(scripted.TEXT, text.encode())]))
        replaced = {self._id: id.encode(), facts["created"].encode(): journals.now().encode()}
        return self._whole([note, _execution(args, at_home)], replaced)


class ExecTemplate(_Template):
    """That of a process in a container."""

    def fill(self, id: str, root: str, args: list[str], env: list[str]) -> bytes | None:
        """The same: `root` is a path of the container's root, `env` what comes after the container's own."""
        at_home = self._home(root, [*self._facts["env"], *env])
        if at_home is None or not self._fits(id):
            return None
        return self._whole([_execution(args, at_home)], {self._id: id.encode()})
