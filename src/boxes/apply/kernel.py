"""What is set in the container's other namespaces: names, kernel parameters, the loopback interface."""

from __future__ import annotations

import _socket
import errno
import fcntl
from _struct import pack, unpack_from

from boxes import system as os
from boxes.linux import flags as k
from boxes.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply import operations as op
    from boxes.apply.root import Root

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def sysctl(root: Root, operation: op.Sysctl) -> None:
    """Through the host's procfs, which shows whoever looks the parameters of their own namespaces. No link and no
    other filesystem on the way: the container's /proc has no part in this."""
    resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_XDEV | k.RESOLVE_NO_SYMLINKS
    parameters = os.open("/proc/sys", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syscalls.filesystem(parameters) != k.PROC_SUPER_MAGIC:
            raise syscalls.rendered(OSError(errno.EXDEV, "this is not the kernel's"), 'open("/proc/sys")')
        fd = syscalls.openat2(parameters, operation.path, os.O_WRONLY, resolve=resolve)
    finally:
        os.close(parameters)
    try:
        os.write(fd, operation.value.encode())
    except OSError as error:
        raise syscalls.rendered(error, f'write("/proc/sys/{operation.path}", "{operation.value}")') from None
    finally:
        os.close(fd)


def host_name(root: Root, operation: op.HostName) -> None:
    syscalls.sethostname(os.fsencode(operation.name))


def domain_name(root: Root, operation: op.DomainName) -> None:
    syscalls.setdomainname(os.fsencode(operation.name))


def loopback_up(root: Root, operation: op.LoopbackUp) -> None:
    """netdevice(7)"""
    socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = bytearray(pack("=16sh22x", b"lo", 0))
        fcntl.ioctl(socket.fileno(), _SIOCGIFFLAGS, request)
        flags = unpack_from("=h", request, 16)[0]
        fcntl.ioctl(socket.fileno(), _SIOCSIFFLAGS, pack("=16sh22x", b"lo", flags | _IFF_UP))
    finally:
        os.close(socket.detach())
