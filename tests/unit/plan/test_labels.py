"""AppArmor profiles and SELinux labels: what is written where, and what a host without them refuses."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from boxes.apply import operations as op
from boxes.errors import ConfigError, UnsupportedError
from boxes.plan import inner, labels, mounts
from boxes.plan.container import Plan, init_steps
from boxes.plan.descriptors import Descriptors
from boxes.plan.facts import Facts
from boxes.plan.inner import Steps
from boxes.plan.namespaces import Namespaces
from boxes.plan.process import Confinement

LABEL = "system_u:system_r:container_t:s0:c1,c2"
BOTH = {"apparmorProfile": "p", "selinuxLabel": LABEL}


def written(process: dict[str, Any], *, apparmor: bool = True, selinux: bool = True) -> list[tuple[str, str]]:
    found = labels.labels(process, apparmor=apparmor, selinux=selinux)
    return [(label.file, label.text) for label in found]


def test_profile_is_for_the_next_execve() -> None:
    assert written({"apparmorProfile": "my profile"}) == [("apparmor/exec", "exec my profile")]
    assert written({"apparmorProfile": "unconfined"}) == [("apparmor/exec", "exec unconfined")]


def test_label_is_for_the_keyring_and_the_next_execve() -> None:
    assert written({"selinuxLabel": LABEL}) == [("keycreate", LABEL), ("exec", LABEL)]


@pytest.mark.parametrize(
    "process", [{}, {"apparmorProfile": "", "selinuxLabel": ""}, {"apparmorProfile": "unconfined"}]
)
def test_host_without_modules_takes_what_asks_for_nothing(process: dict[str, Any]) -> None:
    assert written(process, apparmor=False, selinux=False) == []


@pytest.mark.parametrize(
    "process, pointer, name",
    [
        ({"apparmorProfile": "p"}, "/process/apparmorProfile", "AppArmor"),
        ({"selinuxLabel": LABEL}, "/process/selinuxLabel", "SELinux"),
    ],
)
def test_host_without_the_module_refuses(process: dict[str, Any], pointer: str, name: str) -> None:
    with pytest.raises(UnsupportedError, match=name) as error:
        written(process, apparmor=False, selinux=False)
    assert error.value.pointer == pointer


def steps(process: dict[str, Any]) -> Steps:
    made = Steps()
    labels.write(made, labels.labels(process, apparmor=True, selinux=True), 9)
    return made


def test_descriptor_is_closed_after_the_last_write() -> None:
    made = steps(BOTH)
    assert made.text[-1] == "close(9)"
    assert len(made.text) == 4
    assert steps({}).text == []


def test_payload_is_descriptor_size_path_and_text() -> None:
    encoded = steps({"apparmorProfile": "x"}).encode()[16:]
    code, size, proc, length = struct.unpack_from("=IIiI", encoded)
    assert (code, proc, length) == (inner.WRITE, 9, 6)
    assert encoded[16 : 8 + size] == b"self/attr/apparmor/exec\0exec x"


@pytest.mark.parametrize(
    "step, number, hint",
    [(0, errno.ENOENT, "is profile 'p' loaded?"), (2, errno.EINVAL, f"the policy has no label '{LABEL}'")],
)
def test_refusal_says_what_may_be_wrong(step: int, number: int, hint: str) -> None:
    error = steps(BOTH).failed(step, number, b"")
    assert hint in str(error)
    assert error.pointer in ("/process/apparmorProfile", "/process/selinuxLabel")


def test_labels_are_written_before_the_containers_root_is_entered() -> None:
    config = {"root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["x"]}, "linux": {"namespaces": []}}
    facts = Facts(id="a", bundle="/b", rootfs="/b/rootfs", namespaces=Namespaces(config))
    given = Confinement(available=0, groups_allowed=True, terminal_bound=False, new_keyring=True)
    given.labels = labels.labels(BOTH, apparmor=True, selinux=True)
    made = init_steps(
        config, facts, Plan(config, facts), given, Descriptors(root=10, old_root=11, listening=12, state=13, proc=9)
    )
    order = [
        number for number, text in enumerate(made.text) if text.startswith(("write(", "close(9)", "fchdir", "keyctl"))
    ]
    assert order[:4] == [0, 1, 2, 3]
    assert made.text[3] == "close(9)"


# ---- mount labels ----


def filesystems(kind: str, mount_label: str, **more: Any) -> list[op.Operation]:
    mount = {"destination": "/a", "type": kind, "source": "x", "options": ["size=1"]}
    config = {"root": {"path": "rootfs"}, "mounts": [mount], **more}
    namespaces = Namespaces(config)
    facts = Facts(id="a", bundle="/b", rootfs="/b/rootfs", namespaces=namespaces, mount_label=mount_label)
    return mounts.mounts(config, facts, [])


@pytest.mark.parametrize("kind", ["tmpfs", "devpts", "overlay"])
def test_new_filesystems_get_the_mount_label(kind: str) -> None:
    [made] = filesystems(kind, LABEL)
    assert isinstance(made, op.Filesystem)
    assert made.data == ("size=1", f"context={LABEL}")


@pytest.mark.parametrize("kind", ["proc", "sysfs", "mqueue"])
def test_filesystems_with_labels_of_their_own_do_not(kind: str) -> None:
    [made] = filesystems(kind, LABEL)
    assert isinstance(made, op.Filesystem)
    assert made.data == ("size=1",)


def test_mqueue_is_labelled_at_its_root() -> None:
    assert [made.label for made in filesystems("mqueue", LABEL) if isinstance(made, op.Filesystem)] == [LABEL]
    assert [made.label for made in filesystems("tmpfs", LABEL) if isinstance(made, op.Filesystem)] == [""]


def test_without_selinux_there_is_no_mount_label() -> None:
    [made] = filesystems("tmpfs", "")
    assert isinstance(made, op.Filesystem)
    assert made.data == ("size=1",)


def test_annotation_chooses_the_kind_of_context() -> None:
    [made] = filesystems("tmpfs", LABEL, annotations={"run.oci.mount_context_type": "rootcontext"})
    assert isinstance(made, op.Filesystem)
    assert made.data[-1] == f"rootcontext={LABEL}"


def test_annotation_is_no_way_to_another_option() -> None:
    with pytest.raises(ConfigError) as error:
        filesystems("tmpfs", LABEL, annotations={"run.oci.mount_context_type": "size"})
    assert error.value.pointer == "/annotations/run.oci.mount_context_type"
