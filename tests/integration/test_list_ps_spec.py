"""`list`, `ps` and `spec`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import ENVIRONMENT, Runtime


@pytest.fixture
def three(box: Runtime, make_bundle: Callable[[], Bundle]) -> list[str]:
    """The ids of a created, a running and a stopped container."""
    created, running, stopped = (make_bundle() for _ in range(3))
    box.create(created)
    box.running_shell(running)
    box.start(stopped).wait()
    return [created.id, running.id, stopped.id]


class TestList:
    def test_json_has_each_containers_state(self, box: Runtime, three: list[str]) -> None:
        entries = {entry["id"]: entry for entry in box("list", "--format", "json").json()}
        assert {identifier: entry["status"] for identifier, entry in entries.items()} == dict(
            zip(three, ("created", "running", "stopped"), strict=True)
        )
        for identifier, entry in entries.items():
            assert entry["pid"] == box.state(identifier)["pid"]
            assert entry["bundle"] == box.state(identifier)["bundle"]
            assert {"ociVersion", "rootfs", "created", "owner"} <= set(entry)

    def test_owner_is_the_users_name(self, box: Runtime, three: list[str]) -> None:
        assert {entry["owner"] for entry in box("list", "-f", "json").json()} == {"root"}

    def test_table_has_a_header_and_a_line_each(self, box: Runtime, three: list[str]) -> None:
        lines = box("list").ok().out.splitlines()
        assert lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        assert sorted(line.split()[0] for line in lines[1:]) == sorted(three)

    @pytest.mark.parametrize("flag", ["--quiet", "-q"])
    def test_quiet_has_the_ids_alone(self, box: Runtime, three: list[str], flag: str) -> None:
        assert sorted(box("list", flag).ok().out.split()) == sorted(three)

    def test_unknown_format_is_refused(self, box: Runtime, three: list[str]) -> None:
        box("list", "--format", "xml").refused("format")

    @not_for("runc", "crun", reason="1.1 prints null, others differ")
    def test_json_without_containers_is_an_empty_array(self, box: Runtime) -> None:
        box.root.mkdir()
        assert box("list", "--format", "json").json() == []


class TestPs:
    def test_json_has_the_hosts_pids(self, box: Runtime, bundle: Bundle) -> None:
        container = box.start(bundle.shell("sleep 1000 & echo up; wait"))
        assert container.readline() == "up"
        pids = box("ps", "--format", "json", bundle.id).json()
        assert container.pid in pids
        assert len(pids) == 2
        assert {os.readlink(f"/proc/{pid}/ns/pid") for pid in pids} == {os.readlink(f"/proc/{container.pid}/ns/pid")}

    def test_table_has_the_processes_of_the_container_alone(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        lines = box("ps", bundle.id).ok().out.splitlines()
        assert "PID" in lines[0].split()
        assert len(lines) == 2
        assert str(container.pid) in lines[1].split()
        assert "/bin/probe --catch" in lines[1]

    @not_for("crun", reason="it takes no options for ps")
    def test_options_go_to_ps(self, box: Runtime, bundle: Bundle) -> None:
        container = box.running_shell(bundle)
        lines = box("ps", bundle.id, "-o", "pid,comm").ok().out.splitlines()
        assert lines[0].split() == ["PID", "COMMAND"]
        assert lines[1].split() == [str(container.pid), "probe"]

    def test_missing_container_is_refused(self, box: Runtime) -> None:
        box("ps", "missing").refused("does not exist")


class TestSpec:
    def test_is_a_bundle_that_runs(self, box: Runtime, bundle: Bundle) -> None:
        box("spec", "--bundle", str(bundle.path)).ok()
        config = json.loads((bundle.path / "config.json").read_text())
        assert config["process"]["args"] == ["sh"]
        config["process"].update(terminal=False, args=["/bin/echo", "ran"], rlimits=[])
        config["linux"]["cgroupsPath"] = bundle.linux["cgroupsPath"]
        bundle.config = config
        assert box.run(bundle).ok().out == "ran\n"

    def test_is_written_to_the_working_directory(self, box: Runtime, directory: Path) -> None:
        assert box("spec", cwd=directory).ok().out == ""
        assert json.loads((directory / "config.json").read_text())["ociVersion"].startswith("1.")

    def test_refuses_to_overwrite(self, box: Runtime, bundle: Bundle) -> None:
        (bundle.path / "config.json").write_text("mine")
        box("spec", "--bundle", str(bundle.path)).refused("exists")
        assert (bundle.path / "config.json").read_text() == "mine"

    def test_rootless_maps_the_caller(self, box: Runtime, directory: Path) -> None:
        box("spec", "--rootless", cwd=directory).ok()
        linux = json.loads((directory / "config.json").read_text())["linux"]
        assert linux["uidMappings"] == [{"containerID": 0, "hostID": 0, "size": 1}]
        kinds = {namespace["type"] for namespace in linux["namespaces"]}
        assert "user" in kinds
        assert "network" not in kinds

    def test_default_confines(self, box: Runtime, directory: Path) -> None:
        box("spec", cwd=directory).ok()
        config = json.loads((directory / "config.json").read_text())
        assert config["process"]["noNewPrivileges"] is True
        assert {namespace["type"] for namespace in config["linux"]["namespaces"]} >= {
            "pid",
            "network",
            "ipc",
            "uts",
            "mount",
        }
        assert {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"} <= set(config["linux"]["maskedPaths"])
        assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(config["linux"]["readonlyPaths"])

    @not_for("runc", "crun", reason="theirs are older")
    def test_default_masks_what_containerd_masks(self, box: Runtime, directory: Path) -> None:
        box("spec", cwd=directory).ok()
        masked = set(json.loads((directory / "config.json").read_text())["linux"]["maskedPaths"])
        assert {
            "/sys/devices/virtual/powercap",
            "/proc/interrupts",
            "/proc/asound",
            "/proc/acpi",
            "/proc/scsi",
        } <= masked


@not_for("runc", "crun", reason="they are what it is compared with")
@pytest.mark.parametrize(
    "peer, flags",
    [("runc", ()), ("runc", ("--rootless",)), ("crun", ())],  # crun's for ordinary users has no network at all
    ids=["runc", "runc rootless", "crun"],
)
class TestSpecBesideThePeers:
    """The template confines at least as much as those of the distribution's runc and crun."""

    @pytest.fixture
    def two(self, box: Runtime, directory: Path, peer: str, flags: tuple[str, ...]) -> tuple[Any, Any]:
        """Our config and theirs."""
        (directory / "ours").mkdir()
        (directory / "theirs").mkdir()
        box("spec", *flags, cwd=directory / "ours").ok()
        subprocess.run([peer, "spec", *flags], env=ENVIRONMENT, cwd=directory / "theirs", check=True, timeout=20)
        ours, theirs = (json.loads((directory / name / "config.json").read_text()) for name in ("ours", "theirs"))
        return ours, theirs

    def test_masks_are_a_superset(self, two: tuple[Any, Any]) -> None:
        for key in ("maskedPaths", "readonlyPaths"):
            assert set(two[1]["linux"][key]) - set(two[0]["linux"][key]) == set()

    def test_namespaces_are_a_superset(self, two: tuple[Any, Any]) -> None:
        ours, theirs = ({entry["type"] for entry in config["linux"]["namespaces"]} for config in two)
        assert theirs - ours == set()

    def test_capabilities_are_a_subset(self, two: tuple[Any, Any]) -> None:
        ours, theirs = (config["process"]["capabilities"] for config in two)
        more = {name for kind, names in ours.items() for name in set(names) - set(theirs.get(kind) or ())}
        assert more == set()

    def test_mounts_are_the_same_and_no_less_restricted(self, two: tuple[Any, Any]) -> None:
        ours, theirs = ({mount["destination"]: mount for mount in config["mounts"]} for config in two)
        assert ours.keys() == theirs.keys()
        for destination, mount in theirs.items():
            restricting = set(mount.get("options", ())) & {"ro", "nosuid", "nodev", "noexec"}
            assert restricting - set(ours[destination]["options"]) == set(), destination

    def test_root_devices_and_privileges_are_no_less_restricted(self, two: tuple[Any, Any]) -> None:
        ours, theirs = two
        assert ours["root"] == theirs["root"]
        assert ours["process"]["noNewPrivileges"] is True
        assert ours["process"]["rlimits"] == theirs["process"]["rlimits"]
        denied = (theirs["linux"].get("resources") or {}).get("devices") or []
        assert (ours["linux"].get("resources") or {}).get("devices", []) == denied


def test_listing_is_not_disturbed_by_a_deleted_bundle(box: Runtime, bundle: Bundle) -> None:
    box.start(bundle).wait()
    subprocess.run(["rm", "-r", bundle.path], check=True)
    assert [entry["status"] for entry in box("list", "--format", "json").json()] == ["stopped"]
    box("delete", bundle.id).ok()
