"""Network namespaces of a test's own, with devices that it makes there by iproute2: never the host's."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """This process in the namespace for a while. Commands that it runs are there too."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _enter(fd)
    try:
        yield
    finally:
        _enter(own)
        os.close(own)


@contextmanager
def new_namespace() -> Iterator[int]:
    """A descriptor of a new network namespace. This process stays where it is."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _enter(own)
    os.close(own)
    try:
        yield fd
    finally:
        os.close(fd)


def ip(*args: str) -> None:
    """ip(8), where this process is."""
    subprocess.run(["ip", *args], check=True, stdin=subprocess.DEVNULL)


def look(*args: str) -> Any:
    """What ip(8) says, as data."""
    done = subprocess.run(["ip", "-json", "-details", *args], check=True, capture_output=True, text=True)
    return json.loads(done.stdout or "[]")


def devices() -> set[str]:
    return {link["ifname"] for link in look("link", "show")}


def addresses(name: str, *kinds: str) -> list[str]:
    """As text, in the kernel's order; of these scopes, or all."""
    return [
        f"{entry['local']}/{entry['prefixlen']}"
        for link in look("address", "show", "dev", name)
        for entry in link["addr_info"]
        if not kinds or entry["scope"] in kinds
    ]


def is_up(name: str) -> bool:
    return "UP" in look("link", "show", "dev", name)[0]["flags"]


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """This process in the network namespace of another: sockets that are made here stay there."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with inside(fd):
            yield
    finally:
        os.close(fd)
