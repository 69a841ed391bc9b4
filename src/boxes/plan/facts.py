"""What a plan depends on besides config.json."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.plan.namespaces import Namespaces


class Facts:
    """The host's side of a plan. `bundle` and `rootfs` are absolute paths of the host; `preserve` is how many
    descriptors after stdio the process keeps; `mount_label` is what SELinux labels new filesystems by, or empty;
    `nested` is whether the runtime itself is in a user namespace, so that even its root lacks rights on the host."""

    def __init__(
        self,
        *,
        id: str,
        bundle: str,
        rootfs: str,
        namespaces: Namespaces,
        no_pivot: bool = False,
        preserve: int = 0,
        mount_label: str = "",
        nested: bool = False,
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.namespaces = namespaces
        self.no_pivot = no_pivot
        self.preserve = preserve
        self.mount_label = mount_label
        self.nested = nested

    def has_own(self, kind: str) -> bool:
        """Whether the container gets a namespace that is not the runtime's."""
        return self.namespaces.has(kind)

    def maps_gid(self, gid: int) -> bool:
        return self.namespaces.maps(self.namespaces.gid_mappings, gid)
