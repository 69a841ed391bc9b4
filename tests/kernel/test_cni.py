"""The protocol of the Container Network Interface, with plugins that write down how they were called."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxes.errors import BoxesError, ConfigError, ExistsError, NotFoundError, ServiceError, UnsupportedError, UsageError
from boxes.linux import procfs
from boxes.network import cni, cni_conf, cni_result
from boxes.network.cni_plugin import PluginError
from tests.support.cni import Plugins


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    made = Plugins(tmp_path)
    made.plugin("first", "second", "third")
    return made


@pytest.fixture
def process() -> Iterator[int]:
    """One whose network namespace could be attached."""
    started = subprocess.Popen(["sleep", "60"])
    yield started.pid
    started.kill()
    started.wait()


def planned(plugins: Plugins, name: str = "net", **more: Any) -> cni.Attachment:
    conf = cni_conf.load(name, str(plugins.conf))
    return cni.plan(conf, "box1", "eth0", path=[str(plugins.bin)], cache=str(plugins.cache), **more)


def add(attachment: cni.Attachment, pid: int) -> dict[str, Any]:
    return cni.add(attachment, f"/proc/{pid}/ns/net", lambda: None)


def kept(plugins: Plugins) -> list[str]:
    return sorted(path.name for path in (plugins.cache / "results").iterdir())


# ---- adding and deleting ----


def test_plugins_are_chained_and_deleted_in_reverse(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first", "a": {"b": [1, 2.5, None]}}, {"type": "second"}, {"type": "third"})
    plugins.answers("first", "ADD", {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.1/8"}]})
    plugins.answers("second", "ADD", {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/8"}]})
    plugins.answers("third", "ADD", {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.3/8"}]})
    attachment = planned(plugins)
    result = add(attachment, process)
    assert cni_result.addresses(result) == ["10.0.0.3/8"]
    previous = [(call.conf.get("prevResult") or {}).get("ips") for call in plugins.calls()]
    assert previous == [None, [{"address": "10.0.0.1/8"}], [{"address": "10.0.0.2/8"}]]
    assert plugins.calls()[0].conf == {
        "type": "first",
        "name": "net",
        "cniVersion": "1.1.0",
        "a": {"b": [1, 2.5, None]},
    }
    plugins.forget()
    cni.delete(attachment)
    assert plugins.order() == ["DEL third", "DEL second", "DEL first"]
    assert [call.conf["prevResult"] for call in plugins.calls()] == [result] * 3
    assert kept(plugins) == []


def test_parameters_are_those_of_the_specification(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"})
    add(planned(plugins, arguments=[("IgnoreUnknown", "1"), ("IP", "10.1.0.9")]), process)
    assert plugins.calls()[0].environment == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "box1",
        "CNI_NETNS": f"/proc/{process}/ns/net",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;IP=10.1.0.9",
        "CNI_PATH": str(plugins.bin),
    }


def test_only_who_has_the_capability_is_told(plugins: Plugins, process: int) -> None:
    plugins.network(
        "net",
        {"type": "first", "capabilities": {"mac": True, "portMappings": False}},
        {"type": "second", "capabilities": {"portMappings": True}, "runtimeConfig": {"left": "over"}},
    )
    ports = [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]
    add(planned(plugins, capabilities={"mac": "02:00:00:00:00:01", "portMappings": ports}), process)
    first, second = (call.conf for call in plugins.calls())
    assert first["runtimeConfig"] == {"mac": "02:00:00:00:00:01"}
    assert second["runtimeConfig"] == {"portMappings": ports}
    assert "capabilities" not in first


def test_capability_that_no_plugin_has_is_refused(plugins: Plugins) -> None:
    file = plugins.network("net", {"type": "first", "capabilities": {"portMappings": False}})
    with pytest.raises(
        UnsupportedError, match=f"'net' \\('{file}'\\) has no plugin with the capability 'portMappings'"
    ):
        planned(plugins, capabilities={"portMappings": []})
    assert plugins.calls() == []


def test_failed_add_is_deleted_and_nothing_kept(plugins: Plugins, process: int) -> None:
    file = plugins.network("net", {"type": "first"}, {"type": "second"}, {"type": "third"})
    error = {"cniVersion": "1.1.0", "code": 7, "msg": "Invalid Configuration", "details": "too small"}
    plugins.answers("second", "ADD", error, 1)
    with pytest.raises(PluginError) as raised:
        add(planned(plugins), process)
    assert str(raised.value) == f"CNI plugin 'second' (ADD, '{file}'): Invalid Configuration: too small [code 7]"
    assert raised.value.number == 7
    assert plugins.order() == ["ADD first", "ADD second", "DEL third", "DEL second", "DEL first"]
    assert kept(plugins) == []


def test_delete_tells_every_plugin_even_if_one_fails(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, {"type": "second"})
    plugins.answers("second", "DEL", "", 3)
    attachment = planned(plugins)
    add(attachment, process)
    with pytest.raises(PluginError, match="exited with 3"):
        cni.delete(attachment)
    assert plugins.order()[2:] == ["DEL second", "DEL first"]
    assert kept(plugins) == ["net-box1-eth0"]  # it is tried again
    plugins.answers("second", "DEL", "")
    cni.delete(attachment)
    assert kept(plugins) == []


def test_delete_without_the_namespace_names_none(plugins: Plugins) -> None:
    plugins.network("net", {"type": "first"})
    attachment = planned(plugins)
    with subprocess.Popen(["sleep", "60"]) as process:
        add(attachment, process.pid)
        process.kill()
    cni.delete(attachment)
    assert plugins.calls("DEL")[0].environment["CNI_NETNS"] == ""


def test_delete_needs_no_configuration_any_more(plugins: Plugins, process: int) -> None:
    file = plugins.network("net", {"type": "first", "a": 1})
    attachment = json.loads(json.dumps(planned(plugins)))
    add(attachment, process)
    file.unlink()
    cni.delete(json.loads(json.dumps(attachment)))
    assert plugins.calls("DEL")[0].conf["a"] == 1


def test_before_04_del_has_no_previous_result(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, cniVersion="0.3.1")
    attachment = planned(plugins)
    add(attachment, process)
    cni.delete(attachment)
    assert "prevResult" not in plugins.calls("DEL")[0].conf
    with pytest.raises(UnsupportedError, match=r"0\.3\.1 .* knows no CHECK"):
        cni.check(attachment)


# ---- what is kept ----


def test_result_is_kept_as_libcni_keeps_it(plugins: Plugins, process: int) -> None:
    file = plugins.network("net", {"type": "first", "capabilities": {"mac": True}})
    add(planned(plugins, arguments=[("K", "v")], capabilities={"mac": "02:00:00:00:00:01"}), process)
    (path,) = (plugins.cache / "results").iterdir()
    assert path.name == "net-box1-eth0"
    assert path.stat().st_mode & 0o777 == 0o600
    found = json.loads(path.read_text())
    assert base64.b64decode(found.pop("config")) == file.read_bytes()
    assert found == {
        "kind": "cniCacheV1",
        "containerId": "box1",
        "ifName": "eth0",
        "networkName": "net",
        "netns": f"/proc/{process}/ns/net",
        "cniArgs": [["K", "v"]],
        "capabilityArgs": {"mac": "02:00:00:00:00:01"},
        "result": {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.5/24"}]},
    }


def test_attachment_of_another_is_not_touched(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"})
    add(planned(plugins), os.getpid())
    plugins.forget()
    second = planned(plugins)
    with pytest.raises(ExistsError, match="has an attachment"):
        add(second, process)
    cni.delete(second)
    assert plugins.order() == []
    assert kept(plugins) == ["net-box1-eth0"]


def test_attachment_without_its_namespace_is_deleted_first(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"})
    with subprocess.Popen(["sleep", "60"]) as other:
        add(planned(plugins), other.pid)
        other.kill()
    plugins.forget()
    add(planned(plugins), process)
    assert plugins.order() == ["DEL first", "ADD first"]


def test_attachment_of_an_earlier_boot_is_deleted_first(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"})
    add(planned(plugins), process)
    os.utime(plugins.cache / "results" / "net-box1-eth0", (1, 1))
    plugins.forget()
    add(planned(plugins), process)
    assert plugins.order() == ["DEL first", "ADD first"]


def test_delete_waits_for_plugins_of_a_runtime_that_was_killed(plugins: Plugins, process: int, tmp_path: Path) -> None:
    plugins.network("net", {"type": "first"})
    plugins.does("first", "ADD", f"touch {tmp_path}/began; sleep 1; touch {tmp_path}/ended")
    plugins.does("first", "DEL", f"test -e {tmp_path}/ended || touch {tmp_path}/early")
    attachment = planned(plugins)
    journal = tmp_path / "journal"

    def save() -> None:
        journal.write_text(json.dumps(attachment))

    runtime = os.fork()
    if runtime == 0:
        cni.add(attachment, f"/proc/{process}/ns/net", save)
        os._exit(0)
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    os.kill(runtime, signal.SIGKILL)
    os.waitpid(runtime, 0)
    cni.delete(json.loads(journal.read_text()))
    assert (tmp_path / "ended").exists()
    assert not (tmp_path / "early").exists()
    assert kept(plugins) == []


# ---- errors ----


def test_missing_plugin_names_the_package(plugins: Plugins) -> None:
    file = plugins.network("net", {"type": "absent"})
    with pytest.raises(UnsupportedError) as raised:
        planned(plugins)
    assert str(raised.value) == (
        f"there is no CNI plugin 'absent', which '{file}' asks for, in {plugins.bin}"
        " (Debian and Ubuntu have those of the project in the package containernetworking-plugins)"
    )


@pytest.mark.parametrize(
    ("answer", "code", "expected"),
    [
        ("oops", 2, "it exited with 2: oops"),
        ("", 9, "it exited with 9"),
        ({"code": 11, "msg": "busy"}, 1, "busy [code 11] (try again later)"),
        ({"code": 50}, 1, "not available [code 50]"),
        ("{]", 0, "its answer is not JSON: "),
        ("[]", 0, "its answer is not an object"),
        ("", 0, "it gave no result"),
    ],
)
def test_error_is_one_line_with_plugin_and_file(
    plugins: Plugins, process: int, answer: Any, code: int, expected: str
) -> None:
    file = plugins.network("net", {"type": "first"})
    plugins.answers("first", "ADD", answer, code)
    with pytest.raises(ServiceError) as raised:
        add(planned(plugins), process)
    assert str(raised.value).startswith(f"CNI plugin 'first' (ADD, '{file}'): {expected}")


def test_plugin_that_hangs_is_killed_with_what_it_started(plugins: Plugins, process: int, tmp_path: Path) -> None:
    plugins.network("net", {"type": "first"})
    plugins.does("first", "ADD", f"sleep 50 & echo $! >{tmp_path}/child; wait")
    with pytest.raises(PluginError, match=r"has not answered within 0\.5 seconds"):
        add(planned(plugins, timeout=0.5), process)
    assert procfs.start_time(int((tmp_path / "child").read_text())) is None


def test_daemon_of_a_plugin_does_not_keep_us(plugins: Plugins, process: int, tmp_path: Path) -> None:
    plugins.network("net", {"type": "first"})
    plugins.does("first", "ADD", f"sleep 50 & echo $! >{tmp_path}/child")
    began = time.monotonic()
    attachment = planned(plugins)
    add(attachment, process)
    cni.delete(attachment)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("container", ["a+b", "_a", "", "a/b"])
def test_id_that_cni_does_not_allow_is_refused(plugins: Plugins, container: str) -> None:
    plugins.network("net", {"type": "first"})
    conf = cni_conf.load("net", str(plugins.conf))
    with pytest.raises(UsageError, match="container's id"):
        cni.plan(conf, container, "eth0", path=[str(plugins.bin)])


# ---- versions ----


def test_newest_version_that_all_speak_is_taken(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, {"type": "second"}, cniVersions=["0.4.0", "1.0.0"])
    plugins.speaks("second", "0.3.1", "0.4.0", "1.0.0")
    add(planned(plugins), process)
    assert [call.conf["cniVersion"] for call in plugins.calls()] == ["1.0.0", "1.0.0"]


def test_plugin_too_old_for_the_configuration_is_refused(plugins: Plugins) -> None:
    file = plugins.network("net", {"type": "first"}, {"type": "second"})
    plugins.speaks("second", "0.4.0", "1.0.0")
    with pytest.raises(UnsupportedError) as raised:
        planned(plugins)
    assert str(raised.value) == (
        f"CNI configuration '{file}' is for CNI 1.1.0, and its plugin '{plugins.bin}/second' speaks 0.4.0, 1.0.0"
        ' (let the configuration offer an older one too: "cniVersions")'
    )


def test_plugin_that_cannot_tell_speaks_the_oldest(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, cniVersion="0.1.0")
    plugins.answers("first", "VERSION", {"code": 4, "msg": "unknown CNI_COMMAND: VERSION"}, 1)
    plugins.answers("first", "ADD", {"ip4": {"ip": "10.1.0.7/24", "gateway": "10.1.0.1"}})
    result = add(planned(plugins), process)
    assert (cni_result.addresses(result), cni_result.gateways(result)) == (["10.1.0.7/24"], ["10.1.0.1"])


# ---- configurations ----


def test_single_plugin_of_old_is_a_list_of_one(plugins: Plugins, process: int) -> None:
    (plugins.conf / "10-net.conf").write_text('{"name": "net", "cniVersion": "0.4.0", "type": "first", "a": 1}')
    add(planned(plugins), process)
    assert plugins.calls()[0].conf == {"name": "net", "cniVersion": "0.4.0", "type": "first", "a": 1}


def test_lists_come_before_single_plugins(plugins: Plugins) -> None:
    (plugins.conf / "10-net.conf").write_text('{"name": "net", "type": "first"}')
    file = plugins.network("net", {"type": "second"}, file="20-net.conflist")
    assert cni_conf.load("net", str(plugins.conf)).file == str(file)


def test_plugins_beside_are_appended(plugins: Plugins) -> None:
    (plugins.conf / "net").mkdir()
    (plugins.conf / "net" / "b.conf").write_text('{"type": "third"}')
    plugins.network("net", {"type": "first"})
    assert [plugin["type"] for plugin in cni_conf.load("net", str(plugins.conf)).plugins] == ["first", "third"]
    plugins.network("net", {"type": "first"}, loadOnlyInlinedPlugins=True)
    assert [plugin["type"] for plugin in cni_conf.load("net", str(plugins.conf)).plugins] == ["first"]


def test_broken_file_does_not_hide_another(plugins: Plugins) -> None:
    (plugins.conf / "00.conflist").write_text("{")
    plugins.network("net", {"type": "first"})
    assert cni_conf.load("net", str(plugins.conf)).name == "net"
    with pytest.raises(ConfigError, match=r"00\.conflist': is not JSON"):
        cni_conf.load("other", str(plugins.conf))


def test_unknown_network_says_where_it_was_looked_for(plugins: Plugins) -> None:
    with pytest.raises(NotFoundError, match=f"no CNI network 'net' in '{plugins.conf}'"):
        planned(plugins)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "is not an object"),
        ('{"plugins": []}', "name is missing"),
        ('{"name": "../x", "plugins": []}', "the name '../x' is not one of"),
        ('{"name": "net"}', "there are no plugins"),
        ('{"name": "net", "plugins": [{}]}', "type is missing"),
        ('{"name": "net", "plugins": [{"type": "../first"}]}', "is not the name of a file"),
        ('{"name": "net", "plugins": [{"type": "first", "capabilities": []}], "cniVersion": "1.x"}', "'1.x' is not"),
        ('{"name": "net", "plugins": [{"type": "first", "capabilities": {"a": 1}}]}', "are not an object of"),
        ('{"name": "net", "loadOnlyInlinedPlugins": true}', "loadOnlyInlinedPlugins is true"),
        ('{"name": "net", "disableCheck": 1, "plugins": []}', "disableCheck is neither"),
    ],
)
def test_wrong_configuration_is_refused_by_file(plugins: Plugins, content: str, expected: str) -> None:
    (plugins.conf / "net.conflist").write_text(content)
    with pytest.raises(ConfigError) as raised:
        cni_conf.load("net", str(plugins.conf))
    assert f"{plugins.conf}/net.conflist" in str(raised.value)
    assert expected in str(raised.value)


def test_configuration_of_the_future_is_refused(plugins: Plugins) -> None:
    plugins.network("net", {"type": "first"}, cniVersion="1.2.0")
    with pytest.raises(UnsupportedError, match=r"is for CNI 1\.2\.0: 1\.1\.0 is the newest known"):
        cni_conf.NetworkConf("f", (plugins.conf / "net.conflist").read_text())


# ---- check, status, garbage ----


def test_check_is_given_the_last_result(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, {"type": "second"})
    attachment = planned(plugins)
    result = add(attachment, process)
    plugins.forget()
    cni.check(attachment)
    assert plugins.order() == ["CHECK first", "CHECK second"]
    assert [call.conf["prevResult"] for call in plugins.calls()] == [result] * 2
    plugins.answers("first", "CHECK", {"code": 100, "msg": "address is missing"}, 1)
    with pytest.raises(PluginError, match="address is missing"):
        cni.check(attachment)


def test_check_that_is_disabled_is_not_made(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, disableCheck=True)
    attachment = planned(plugins)
    add(attachment, process)
    cni.check(attachment)
    assert plugins.calls("CHECK") == []


def test_status_asks_plugins_of_11_only(plugins: Plugins) -> None:
    plugins.network("net", {"type": "first", "capabilities": {"mac": True}})
    plugins.network("old", {"type": "first"}, cniVersion="1.0.0")
    for name in ("net", "old"):
        cni.status(cni_conf.load(name, str(plugins.conf)), [str(plugins.bin)])
    (call,) = plugins.calls("STATUS")
    assert call.conf == {"type": "first", "name": "net", "cniVersion": "1.1.0"}
    assert call.environment == {"CNI_COMMAND": "STATUS", "CNI_PATH": str(plugins.bin)}
    plugins.answers("first", "STATUS", {"code": 50, "msg": "no addresses left"}, 1)
    with pytest.raises(PluginError, match=r"no addresses left \[code 50\]"):
        cni.status(cni_conf.load("net", str(plugins.conf)), [str(plugins.bin)])


def test_garbage_is_deleted_and_plugins_are_told_what_is_valid(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"})
    conf = cni_conf.load("net", str(plugins.conf))
    for container in ("stale", "valid"):
        attachment = cni.plan(conf, container, "eth0", path=[str(plugins.bin)], cache=str(plugins.cache))
        add(attachment, process)
    plugins.forget()
    failures: list[BoxesError] = cni.collect(conf, [("valid", "eth0")], [str(plugins.bin)], str(plugins.cache))
    assert failures == []
    assert plugins.order() == ["DEL first", "GC first"]
    deleted, collected = plugins.calls()
    assert deleted.environment["CNI_CONTAINERID"] == "stale"
    assert collected.conf["cni.dev/valid-attachments"] == [{"containerID": "valid", "ifname": "eth0"}]
    assert kept(plugins) == ["net-valid-eth0"]


def test_garbage_is_left_where_the_network_says_so(plugins: Plugins, process: int) -> None:
    plugins.network("net", {"type": "first"}, disableGC=True)
    add(planned(plugins), process)
    conf = cni_conf.load("net", str(plugins.conf))
    assert cni.collect(conf, [], [str(plugins.bin)], str(plugins.cache)) == []
    assert plugins.order() == ["ADD first"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {
                "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/n"}],
                "ips": [{"address": "10.0.0.1/8", "interface": 0}, {"address": "10.0.0.2/8", "interface": 1}],
            },
            ["10.0.0.2/8"],
        ),
        ({"ips": [{"address": "10.0.0.2/8"}, {"address": "fd00::2/64"}]}, ["10.0.0.2/8", "fd00::2/64"]),
        ({"ip4": {"ip": "10.0.0.2/8"}, "ip6": {"ip": "fd00::2/64"}}, ["10.0.0.2/8", "fd00::2/64"]),
        ({}, []),
    ],
)
def test_addresses_of_the_container_are_found(result: dict[str, Any], expected: list[str]) -> None:
    assert cni_result.addresses(result) == expected


def test_environment_of_the_runtime_is_passed_but_for_its_own(plugins: Plugins, process: int, tmp_path: Path) -> None:
    plugins.network("net", {"type": "first"})
    plugins.does("first", "ADD", f"env >{tmp_path}/env")
    script = (
        "import json, sys\nfrom boxes.network import cni\n"
        "attachment = json.loads(sys.argv[1])\ncni.add(attachment, sys.argv[2], lambda: None)\n"
    )
    environment = {"LISTEN_FDS": "1", "NOTIFY_SOCKET": "/n", "CNI_ARGS": "X=1", "FOO": "bar", "PYTHONPATH": "src"}
    command = [sys.executable, "-c", script, json.dumps(planned(plugins)), f"/proc/{process}/ns/net"]
    subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
    found = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert found["FOO"] == "bar"
    assert found["PATH"].startswith("/usr/local/sbin:")
    assert found["CNI_ARGS"] == ""
    assert "LISTEN_FDS" not in found
    assert "NOTIFY_SOCKET" not in found
