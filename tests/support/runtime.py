"""The runtime under test, driven by its command line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.support import reaper
from tests.support.bundle import Bundle
from tests.support.probe import Report, parse

CHECKOUT = Path(__file__).parents[2]
DEADLINE = 20.0
# All that podman and cri-o give a runtime.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": "/run/user/0"}


def executable() -> Path:
    """The runtime under test: BOXES_RUNTIME, or the checkout's own."""
    return Path(os.environ.get("BOXES_RUNTIME") or CHECKOUT / "bin" / "box")


class Result(NamedTuple):
    """A finished command."""

    command: list[str]
    code: int
    out: str
    err: str

    def ok(self) -> Result:
        """The command was to succeed."""
        assert self.code == 0, f"{self.command} failed with {self.code}:\n{self.err}{self.out}"
        return self

    def refused(self, *texts: str, code: int = 1) -> Result:
        """The command was to fail, with a message that contains these texts (in any case)."""
        assert self.code == code, f"{self.command} gave {self.code}, not {code}:\n{self.err}{self.out}"
        assert self.err.strip(), f"{self.command} failed without a message"
        assert "Traceback" not in self.err, self.err
        for text in texts:
            assert text.lower() in self.err.lower(), f"'{text}' is not in: {self.err}"
        return self

    def json(self) -> Any:
        return json.loads(self.ok().out)

    def report(self) -> Report:
        """What a probe printed; the command must have succeeded."""
        return parse(self.ok().out)


class Container:
    """A container made by `create`. Its standard output is a pipe which the test reads."""

    def __init__(self, runtime: Runtime, bundle: Bundle, output: int, errors: Path) -> None:
        self.runtime, self.bundle, self.id = runtime, bundle, bundle.id
        self.errors = errors
        self._output = output
        self._buffer = b""
        self.pid: int = self.state()["pid"]

    def start(self) -> Result:
        return self.runtime("start", self.id)

    def state(self) -> dict[str, Any]:
        return self.runtime.state(self.id)

    @property
    def status(self) -> str:
        return str(self.state()["status"])

    def kill(self, *signal_name: str, flags: tuple[str, ...] = ()) -> Result:
        return self.runtime("kill", *flags, self.id, *signal_name)

    def delete(self, *flags: str) -> Result:
        return self.runtime("delete", *flags, self.id)

    def exec(self, *args: str, flags: tuple[str, ...] = (), **more: Any) -> Result:
        return self.runtime("exec", *flags, self.id, *args, **more)

    def _more(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"nothing more from {self.id}; so far {self._buffer!r}")
        return os.read(self._output, 65536)

    def readline(self, timeout: float = DEADLINE) -> str:
        """The next line that the process wrote, waiting for it."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            data = self._more(deadline)
            if not data:
                raise EOFError(f"{self.id} ended; its errors: {self.errors.read_text()!r}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "surrogateescape")

    def output(self, timeout: float = DEADLINE) -> str:
        """The rest of what the process wrote: returns when it, and all that share its output, are gone."""
        deadline = time.monotonic() + timeout
        while data := self._more(deadline):
            self._buffer += data
        text, self._buffer = self._buffer.decode("utf-8", "surrogateescape"), b""
        return text

    def report(self) -> Report:
        return parse(self.output())

    def wait(self, timeout: float = DEADLINE) -> int:
        """The exit status of its init, which is this process' child, as it would be a shim's; 128+N for a signal."""
        return self.runtime.wait(self.pid, timeout)

    def close(self) -> None:
        os.close(self._output)


class Runtime:
    """`runtime("verb", …)` runs a command to its end. `root` is its --root; nothing else is shared between tests."""

    def __init__(self, path: Path, directory: Path) -> None:
        self.path = path
        self.name = path.name
        self.directory = directory
        self.root = directory / "state"
        self.globals: tuple[str, ...] = ()  # more options before the verb
        self.containers: list[Container] = []
        self.identifiers: list[str] = []
        self.running: list[subprocess.Popen[Any]] = []

    def command(self, *args: str) -> list[str]:
        return [str(self.path), "--root", str(self.root), *self.globals, *args]

    def __call__(self, *args: str, **more: Any) -> Result:
        """Run a command with `--root`. Keywords: those of `bare`."""
        return self.bare(*self.command(*args)[1:], **more)

    def bare(self, *args: str, timeout: float = DEADLINE, prefix: tuple[str, ...] = (), **more: Any) -> Result:
        """Run a command. Keywords go to Popen; `input` is text for its stdin, `prefix` a program that runs it."""
        text = more.pop("input", None)
        more.setdefault("env", ENVIRONMENT)
        more.setdefault("stdin", subprocess.DEVNULL if text is None else subprocess.PIPE)
        command = [*prefix, str(self.path), *args]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more) as process:
            try:
                data = None if text is None else text.encode()
                out, err = process.communicate(data, timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(command, process.returncode, *(part.decode("utf-8", "surrogateescape") for part in (out, err)))

    def popen(self, *args: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a command with `--root`, and leave it running; the test's end kills it."""
        more.setdefault("env", ENVIRONMENT)
        process = subprocess.Popen(self.command(*args), bufsize=0, **more)
        self.running.append(process)
        return process

    def bundle_args(self, bundle: Bundle, *flags: str) -> tuple[str, ...]:
        self.identifiers.append(bundle.id)
        return ("--bundle", str(bundle.save().path), *flags, bundle.id)

    def run(self, bundle: Bundle, *flags: str, **more: Any) -> Result:
        """`run` to the end of the container."""
        return self("run", *self.bundle_args(bundle, *flags), **more)

    def probe(self, bundle: Bundle, *args: str) -> Report:
        """Run the probe in the bundle, and return its report."""
        return self.run(bundle.args("/bin/probe", *args)).report()

    def spawn(self, verb: str, bundle: Bundle, *flags: str, **more: Any) -> tuple[Result, int, Path]:
        """Run a verb which leaves a process behind. It inherits a pipe, whose other end is returned, and a file."""
        reader, writer = os.pipe()
        errors = self.directory / f"{bundle.id}.{len(self.containers)}.{verb}.err"
        more.setdefault("env", ENVIRONMENT)
        more.setdefault("stdin", subprocess.DEVNULL)
        command = [*more.pop("prefix", ()), *self.command(verb, *self.bundle_args(bundle, *flags))]
        with os.fdopen(writer, "wb") as out, open(errors, "wb") as err:
            code = subprocess.run(command, stdout=out, stderr=err, timeout=DEADLINE, **more).returncode
        return Result(command, code, "", errors.read_text()), reader, errors

    def create(self, bundle: Bundle, *flags: str, verb: str = "create", **more: Any) -> Container:
        """`create`, which must succeed."""
        result, reader, errors = self.spawn(verb, bundle, *flags, **more)
        if result.code != 0:
            os.close(reader)
        result.ok()
        container = Container(self, bundle, reader, errors)
        self.containers.append(container)
        return container

    def start(self, bundle: Bundle, *flags: str, **more: Any) -> Container:
        """`create` and `start`."""
        container = self.create(bundle, *flags, **more)
        container.start().ok()
        return container

    def running_shell(self, bundle: Bundle) -> Container:
        """A container that waits until it is killed, for `exec` and `kill`."""
        container = self.start(bundle.args("/bin/probe", "--catch"))
        assert container.readline() == "ready"
        return container

    def state(self, identifier: str) -> dict[str, Any]:
        value: dict[str, Any] = self("state", identifier).json()
        return value

    def wait(self, pid: int, timeout: float = DEADLINE) -> int:
        """Wait for a process that became an orphan, or was forked while the reaper paused, and return how it ended."""
        wait_for_exit(pid, timeout)
        reaper.reap()
        status = reaper.ended.pop(pid)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def close(self) -> None:
        """End what the test left: its commands, and its containers, by `delete --force`."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait(DEADLINE)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.running.clear()
        for identifier in dict.fromkeys(self.identifiers):
            if (self.root / identifier).exists():
                self("delete", "--force", identifier).ok()
        for container in self.containers:
            container.close()
        self.containers.clear()
        self.identifiers.clear()


def read_line(stream: IO[bytes] | None, timeout: float = DEADLINE) -> str:
    """The next line of an unbuffered stream, waiting for it; '' at its end."""
    assert stream is not None
    line = b""
    deadline = time.monotonic() + timeout
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"no line; so far {line!r}")
        byte = stream.read(1)
        if not byte:
            break
        line += byte
    return line.decode().removesuffix("\n")


def wait_for_exit(pid: int, timeout: float = DEADLINE) -> None:
    """Wait until a process has ended, whoever its parent is; one that is gone already has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([pidfd], [], [], timeout)
    finally:
        os.close(pidfd)
    if not ready:
        raise TimeoutError(f"process {pid} still runs after {timeout} s")


def wait_until(condition: Any, what: str, timeout: float = 5.0) -> None:
    """For what offers no event to wait for: ask every few milliseconds, until a deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.005)


def temporary_directory() -> Path:
    """Short, as socket paths must be, and open to all, as users in user namespaces must pass."""
    path = Path(tempfile.mkdtemp(prefix="bx-", dir="/tmp"))
    path.chmod(0o755)
    return path
