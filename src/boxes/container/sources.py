"""Opening what will be mounted with the runtime's rights, for a builder that has fewer."""

from __future__ import annotations

from boxes import system as os
from boxes.apply.root import clone_tree
from boxes.errors import refused
from boxes.linux import flags as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.apply.operations import Bind
    from boxes.linux.fd import Fds


def may_open() -> bool:
    """Whether this mount namespace is ours to copy from: in a user namespace it can be that of those outside. The
    builder has one of its own, and there the same rights."""
    try:
        os.close(clone_tree(k.AT_FDCWD, "/dev/null", recursive=False))
    except PermissionError:
        return False
    return True


def open_root(path: str) -> int:
    return _open(path, recursive=True, pointer="/root/path")


def open_binds(binds: list[Bind], fds: Fds) -> dict[tuple[str, str], int]:
    """Detached trees by the operation's pointer and target, with their owners changed where that is asked for."""
    opened = {}
    for bind in binds:
        pointer, follow = f"{bind.pointer}/source", not bind.source_link
        tree = fds.add(_open(bind.source, recursive=bind.recursive, pointer=pointer, follow=follow))
        opened[bind.pointer, bind.target] = tree
        if bind.idmap:
            from boxes.apply import idmapped

            idmapped.change_owners(tree, bind)
    return opened


def _open(path: str, *, recursive: bool, pointer: str, follow: bool = True) -> int:
    try:
        return clone_tree(k.AT_FDCWD, path, recursive=recursive, follow=follow)
    except OSError as error:
        raise refused("cannot open the source", error, pointer=pointer) from error
