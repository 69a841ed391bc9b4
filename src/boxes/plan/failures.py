"""What a failed step of inner means, in words: from its errno and the bytes it sends along."""

from __future__ import annotations

import errno as e
from _struct import unpack_from

from boxes import system as os
from boxes.errors import BoxesError, ConfigError, HookError, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def of_call(stage: str, call: str, pointer: str, hints: dict[int, str]) -> Callable[[int, bytes], BoxesError]:
    """Of one system call: `stage` says what it was for, `hints` what an errno may come from."""

    def explain(errno: int, data: bytes) -> BoxesError:
        text = f"{stage}: {os.strerror(errno).lower()}"
        return KernelError(text, pointer=pointer, call=call, errno=errno, hint=hints.get(errno))

    return explain


def of_console(errno: int, data: bytes) -> BoxesError:
    if errno in (e.ENODEV, e.ENOENT, e.ENOTDIR):
        hint = "add a mount of type devpts on /dev/pts"
        return ConfigError(
            "a terminal needs a devpts in the container", pointer="/process/terminal", errno=errno, hint=hint
        )
    return KernelError(
        f"cannot open a terminal: {os.strerror(errno).lower()}", pointer="/process/terminal", errno=errno
    )


def of_chdir(directory: str) -> Callable[[int, bytes], BoxesError]:
    def explain(errno: int, data: bytes) -> BoxesError:
        if errno == e.EXDEV:
            text = f"'{directory}' is outside of the container's root"
        else:
            text = f"cannot change to '{directory}': {os.strerror(errno).lower()}"
        return KernelError(text, pointer="/process/cwd", call=f'chdir("{directory}")', errno=errno, path=directory)

    return explain


def of_hook(hook: dict[str, Any], pointer: str) -> Callable[[int, bytes], BoxesError]:
    def explain(errno: int, data: bytes) -> BoxesError:
        path = hook["path"]
        if errno == e.ETIME:
            return hook_timed_out(hook, pointer)
        if errno == e.ECHILD and len(data) >= 4:
            return hook_failed(hook, pointer, os.waitstatus_to_exitcode(unpack_from("=i", data)[0]))
        text = f"cannot run hook '{path}': {os.strerror(errno).lower()}"
        return HookError(text, pointer=f"{pointer}/path", errno=errno, path=path)

    return explain


def hook_timed_out(hook: dict[str, Any], pointer: str) -> HookError:
    text = f"hook '{hook['path']}' took longer than {hook['timeout']} s"
    return HookError(text, pointer=f"{pointer}/timeout", errno=e.ETIME, path=hook["path"])


def hook_failed(hook: dict[str, Any], pointer: str, code: int, output: str = "") -> HookError:
    """`code` as subprocess gives it: negative for a signal."""
    how = f"exited with status {code}" if code >= 0 else f"was ended by signal {-code}"
    said = f": {output}" if output else ""
    return HookError(f"hook '{hook['path']}' {how}{said}", pointer=pointer, path=hook["path"])


def of_exec(name: str) -> Callable[[int, bytes], BoxesError]:
    """The texts are what engines look for to choose their exit status: 126 and 127."""

    def explain(errno: int, data: bytes) -> BoxesError:
        tried, _, head = data.partition(b"\0")
        path = os.fsdecode(tried) or name
        hint = None
        if errno == e.ENOENT and head:
            text = _interpreter_missing(path, head)
        elif errno == e.ENOENT and "/" not in name:
            text = f"exec '{name}': executable file not found in $PATH"
        elif errno == e.EISDIR:
            text = f"exec '{path}': is a directory: permission denied"
        else:
            text = f"exec '{path}': {os.strerror(errno).lower()}"
            hint = _format_hint(errno, head)
        return KernelError(text, pointer="/process/args/0", call=f'execve("{path}")', errno=errno, path=path, hint=hint)

    return explain


def _interpreter_missing(path: str, head: bytes) -> str:
    """The file is there, so what the kernel did not find is its interpreter: of a script, or of an ELF program."""
    interpreter = ""
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        interpreter = os.fsdecode(words[0]) if words else ""
    elif head.startswith(b"\x7fELF\x02"):
        interpreter = os.fsdecode(elf_interpreter(head))
    if not interpreter:
        return f"exec '{path}': its interpreter is missing: no such file or directory"
    return f"exec '{path}': its interpreter '{interpreter}' is missing: no such file or directory"


def elf_interpreter(head: bytes) -> bytes:
    """PT_INTERP of a 64-bit ELF file, as far as its first KiB tells: elf(5)."""
    if len(head) < 64:
        return b""
    offset = unpack_from("=Q", head, 32)[0]
    size, count = unpack_from("=HH", head, 54)
    for number in range(count):
        at = offset + number * size
        if at + 56 > len(head):
            break
        kind, start, length = unpack_from("=I4xQ16xQ", head, at)
        if kind == 3:
            return head[start : start + length].split(b"\0", 1)[0]
    return b""


def _format_hint(errno: int, head: bytes) -> str | None:
    if errno != e.ENOEXEC:
        return None
    if head[:4] == b"\x7fELF":
        return "the program is for another kind of machine"
    return "neither an ELF program nor a script that begins with #!" if head else "the file is empty"
