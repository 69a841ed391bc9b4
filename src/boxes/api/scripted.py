"""`run` by a script, where that is possible: the caller fills a template in, and the maker makes the container."""

from __future__ import annotations

import time

from boxes.api import client
from boxes.container import channel
from boxes.container.reports import REPORT_READY, Report
from boxes.container.template import Template, common, marked
from boxes.errors import BoxesError, InternalError, NotFoundError
from boxes.spec.document import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from boxes.api.client import Link, Zygote
    from boxes.api.flow import Flow

_MOST = 128 << 10  # bytes of a script: it has to fit into one message
_KEPT = 64  # templates
_AGAIN = 10.0  # seconds until it is tried again what has not gone as foreseen


def begin(given: dict[str, Any], fds: Sequence[int]) -> Flow[tuple[Link, dict[str, Any], list[int]] | None]:
    """Run a container whose streams are these: as a worker's "run". None where it takes a worker: it is not for a
    script, or something in it was not as foreseen, and then nothing is left of it."""
    config = given["config"]
    if not isinstance(config, dict) or not common(config):
        return None
    zygote = client.zygote()
    key = f"{given['runtime']}\0{given['state']}\0{dump(marked(config))}"
    template = yield from _template(zygote, key, given)
    if template is None:
        return None
    script = template.fill(given["id"], config)
    if len(script) > _MOST:
        return None
    link = yield from client.send_script(zygote, script, fds)
    try:
        found = yield from _begun(link)
    except BaseException:
        link.close()
        raise
    if found is None:
        zygote.templates[key] = time.monotonic() + _AGAIN
        link.close()
        yield from _remove(given)
        return None
    pid, pidfds = found
    return link, {"id": given["id"], "pid": pid, "limits": template.limits, "files": template.files}, pidfds


def _template(zygote: Zygote, key: str, given: dict[str, Any]) -> Flow[Template | None]:
    found = zygote.templates.get(key)
    if isinstance(found, float) and time.monotonic() >= found:
        found = None
    if found is None:
        found = yield from _made(given)
        while len(zygote.templates) >= _KEPT:
            zygote.templates.pop(next(iter(zygote.templates)), None)
        zygote.templates[key] = found
    if isinstance(found, float):
        return None
    return found if found.fits(given["id"], given["config"]) else None


def _made(given: dict[str, Any]) -> Flow[Template | float]:
    """By a worker; until when it need not be asked again, if it makes none."""
    import os

    try:
        link = yield from client.request("template", {**given, "config": marked(given["config"])})
        try:
            facts, fds = yield from client.answer(link)
        finally:
            link.close()
    except BoxesError:
        return time.monotonic() + _AGAIN  # the ordinary way will tell of it
    if not fds:
        return time.monotonic() + 1e9
    with open(fds[0], "rb") as file:
        return Template(facts, os.pread(file.fileno(), 1 << 20, 0))


def _begun(link: Link) -> Flow[tuple[int, list[int]] | None]:
    """The pid of a program that has begun, and its pidfd; None if the script has ended, and taken all back. Raises
    InternalError if nobody can say whether it began."""
    taken = False
    while True:
        message, fds = yield from link.receive()
        if message == b"!taken":
            taken = True
        elif not message:
            if taken:
                raise InternalError("the process that makes the container ended without a word", hint="was it killed?")
            return None
        elif Report(message).kind == REPORT_READY:
            return int.from_bytes(Report(message).data[:4], "little"), fds
        else:
            taken = False


def _remove(given: dict[str, Any]) -> Flow[None]:
    """What may be left if the maker was killed."""
    where = {name: given[name] for name in ("runtime", "state", "id")}
    try:
        yield from client.call("delete", {**where, "force": False})
    except NotFoundError:
        return
