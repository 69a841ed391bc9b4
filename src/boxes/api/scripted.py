"""Containers, and processes in them, by scripts where that is possible: the caller fills a template in, and the maker
does the rest. None in the place of a result says that it takes a worker, and that nothing was done."""

from __future__ import annotations

import os
import time

from boxes.api import client
from boxes.container.attached import REMOVED
from boxes.container.filling import ARGUMENT, VARIABLE, ExecTemplate, Template, common, marked, sound
from boxes.container.reports import REPORT_ERROR, REPORT_READY, Report
from boxes.errors import BoxesError, InternalError, NotFoundError
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.api.client import Link, Zygote
    from boxes.api.flow import Flow

    Begun = tuple[Link, dict[str, Any], list[int]]

_MOST = 128 << 10  # bytes of a script: it has to fit into one message
_LARGEST = 1 << 20  # of a template
_KEPT = 64  # templates
# Seconds until it is tried again what has not gone as foreseen, and what is not for a script.
_AGAIN, _NEVER = 10.0, 1e9


class Joined:
    """What a process is to be in: the init of a container, its `pidfd`, and what is equal (`shape`) for all containers
    whose processes have the same template."""

    def __init__(self, pid: int, pidfd: int, shape: str) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.shape = shape


def shape(config: dict[str, Any]) -> str | None:
    """That of containers of this config, or None if they have no template. Their environment counts: processes in them
    get it."""
    return dump(config) if common(config) else None


def run(given: dict[str, Any], fds: Sequence[int]) -> Flow[Begun | None]:
    """Run a container whose streams are these: as a worker's "run"."""
    config = given["config"]
    if not isinstance(config, dict) or not common(config):
        return None
    zygote, like = client.zygote(), marked(config)
    key = f"run\0{given['runtime']}\0{given['state']}\0{dump(like)}"
    template = yield from _template(zygote, key, {**given, "config": like})
    script = template.fill(given["id"], config) if isinstance(template, Template) else None
    try:
        begun = yield from _carried_out(zygote, key, template, script, fds)
    except InternalError:
        yield from _remove(given)
        raise
    if begun is None or not isinstance(template, Template):
        if script is not None:
            yield from _remove(given)
        return None
    link, pid, pidfds = begun
    return link, {"id": given["id"], "pid": pid, "limits": template.limits, "files": template.files}, pidfds


def execute(given: dict[str, Any], fds: Sequence[int], joined: Joined) -> Flow[Begun | None]:
    """Run a process in a container: as a worker's "exec"."""
    if not sound(given["args"], given["env"]):
        return None
    zygote = client.zygote()
    key = "exec\0" + "\0".join(str(given[name]) for name in ("runtime", "state", "cwd", "user")) + f"\0{joined.shape}"
    template = yield from _template(zygote, key, {**given, "args": [ARGUMENT], "env": [VARIABLE]})
    script = None
    if isinstance(template, ExecTemplate):
        root = f"/proc/{joined.pid}/root"
        script = template.fill(given["id"], root, given["args"], given["env"])
        if script is None:
            zygote.templates.pop(key, None)
    begun = yield from _carried_out(zygote, key, template, script, [*fds, joined.pidfd])
    if begun is None:
        return None
    link, pid, pidfds = begun
    return link, {"pid": pid}, pidfds


def _template(zygote: Zygote, key: str, given: dict[str, Any]) -> Flow[Template | ExecTemplate | None]:
    found = zygote.templates.get(key)
    if isinstance(found, float) and time.monotonic() >= found:
        found = None
    if found is None:
        found = yield from _made(given)
        while len(zygote.templates) >= _KEPT:
            zygote.templates.pop(min(zygote.templates), None)  # any; and in one call, as other threads change it, too
        zygote.templates[key] = found
    return None if isinstance(found, float) else found


def _made(given: dict[str, Any]) -> Flow[Template | ExecTemplate | float]:
    """By a worker; until when it need not be asked again, if it makes none."""
    try:
        link = yield from client.request("template", given)
        try:
            facts, fds = yield from client.answer(link)
        finally:
            link.close()
    except BoxesError:
        return time.monotonic() + _AGAIN  # the ordinary way will tell of it
    if not fds:
        return time.monotonic() + _NEVER
    with open(fds[0], "rb") as file:
        steps = os.pread(file.fileno(), _LARGEST, 0)
    return Template(facts, steps) if "config" in facts else ExecTemplate(facts, steps)


def _carried_out(
    zygote: Zygote, key: str, template: Template | ExecTemplate | None, script: bytes | None, fds: Sequence[int]
) -> Flow[tuple[Link, int, list[int]] | None]:
    if template is None or script is None or len(script) > _MOST:
        return None
    link = yield from client.send_script(zygote, script, fds)
    try:
        found = yield from _begun(link)
    except BaseException:
        link.close()
        raise
    if isinstance(found, int):
        link.close()
        # The program itself may be at fault, or whoever killed the maker: that is no reason to avoid the template.
        if found not in (-1, template.last):
            zygote.templates[key] = time.monotonic() + _AGAIN
        return None
    return link, *found


def _begun(link: Link) -> Flow[tuple[int, list[int]] | int]:
    """The pid of a program that has begun, and its pidfd; or the step at which the script has ended, and taken all
    back, -1 if it was cut short. Raises InternalError if nobody can say whether the program began."""
    taken = False
    step = -1
    while True:
        message, fds = yield from link.receive()
        if message == b"!taken":
            taken = True
        elif not message:
            if taken:
                raise InternalError("the process that makes the container ended without a word", hint="was it killed?")
            return step
        elif message != REMOVED:
            report = Report(message)
            if report.kind == REPORT_READY:
                return int.from_bytes(report.data[:4], "little"), fds
            if report.kind == REPORT_ERROR:  # another has no word of what was taken back
                taken, step = False, report.step


def _remove(given: dict[str, Any]) -> Flow[None]:
    """What may be left if the maker was killed."""
    where = {name: given[name] for name in ("runtime", "state", "id")}
    try:
        yield from client.call("delete", {**where, "force": True})
    except NotFoundError:
        return
