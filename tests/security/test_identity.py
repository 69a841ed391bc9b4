"""User, groups and capabilities are exactly those of the config, or it is refused: no number wraps, no number is a name, no
capability survives that was not given.

CVE-2016-3697, CVE-2022-29162, CVE-2022-27650, CVE-2022-27649, CVE-2022-27651, CVE-2022-27652, CVE-2022-24769,
CVE-2025-27612, CVE-2026-30892, CVE-2024-40635, CVE-2026-46680, CVE-2023-25173, CVE-2022-36109, CVE-2022-2995,
CVE-2018-10856.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime
from tests.support.tally import Row

LARGEST = 4294967294  # 4294967295 is (uid_t)-1: "do not change"
EXACT = [0, 1, 999, 1000, 65534, 65535, 65536, 2147483647, 2147483648, 2147483649, LARGEST]
REFUSED = [
    4294967295,
    4294967296,
    4294967297,
    1 << 63,
    1 << 64,
    -1,
    -2147483648,
    1.0,
    0.5,
    1e3,
    True,
    "1",
    "0",
    None,
    [1],
    {},
]


@pytest.fixture
def container(box: Runtime, bundle: Bundle) -> Container:
    """Its /etc/passwd has numbers as names, which are root's."""
    lines = [f"{name}:x:0:0::/:/bin/sh" for name in ("root", "1", "1000", "4294967296", "01", "daemon")]
    (bundle.rootfs / "etc/passwd").unlink()
    (bundle.rootfs / "etc/passwd").write_text("\n".join(lines) + "\n")
    return box.running_shell(bundle)


@pytest.mark.parametrize("field", ["uid", "gid"])
@pytest.mark.parametrize("value", EXACT)
def test_id_of_the_config_is_exactly_that(box: Runtime, bundle: Bundle, field: str, value: int) -> None:
    bundle.process["user"] = {"uid": 7, "gid": 8} | {field: value}
    seen = box.probe(bundle)
    assert seen[f"{field}s"] == [value] * 3
    assert seen["gids" if field == "uid" else "uids"] == [8 if field == "uid" else 7] * 3


@pytest.mark.parametrize("field", ["uid", "gid", "additionalGids"])
@pytest.mark.parametrize("value", REFUSED, ids=repr)
def test_id_that_is_none_is_refused(box: Runtime, bundle: Bundle, field: str, value: object) -> None:
    given: Any = [value] if field == "additionalGids" else value
    bundle.process["user"] = {"uid": 7, "gid": 8} | {field: given}
    if value is None and field != "additionalGids":
        box.run(bundle)  # null may mean the default, which must not be anything else
        return
    box.run(bundle).refused(f"/process/user/{field}")


EXEC_EXACT = {
    "0": (0, 0),
    "1": (1, 0),
    "1000": (1000, 0),
    "1:2": (1, 2),
    "0:5": (0, 5),
    "1000:1000": (1000, 1000),
    "2147483648": (2147483648, 0),
    f"{LARGEST}:{LARGEST}": (LARGEST, LARGEST),
}
EXEC_REFUSED = [
    *(
        "",
        ":",
        "1:",
        ":1",
        "1:2:3",
        "+1",
        "-1",
        "--1",
        "1_0",
        " 1",
        "1 ",
        "1\n",
        "１",
        "٣",
        "0x1",
        "1e3",
        "1.0",
        "root",
    ),
    *("daemon", "1:root", "root:1", "nobody:0", "4294967295", "4294967296", "1:4294967296", "18446744073709551616"),
    *("9" * 30, "1:-1", "1:+1"),
]


@pytest.mark.parametrize("text", EXEC_EXACT)
def test_user_of_exec_is_exactly_that(container: Container, text: str) -> None:
    """CVE-2016-3697: it was looked for as a name first. CVE-2026-30892: `1` was read as 0:0."""
    seen = container.exec("/bin/probe", flags=("--user", text)).report()
    uid, gid = EXEC_EXACT[text]
    assert (seen["uids"], seen["gids"]) == ([uid] * 3, [gid] * 3)


@pytest.mark.parametrize("text", EXEC_REFUSED)
def test_user_of_exec_that_is_no_number_is_refused(container: Container, text: str) -> None:
    container.exec("/bin/id", "-u", flags=(f"--user={text}",)).refused(code=255)


@pytest.mark.parametrize("text", ["01", "007", "0000000000000000001"])
def test_user_of_exec_with_zeroes_in_front_is_decimal_or_refused(container: Container, text: str) -> None:
    result = container.exec("/bin/probe", flags=("--user", text))
    assert result.code == 255 or result.report()["uids"] == [int(text)] * 3


@pytest.mark.parametrize("listed", [[], [0], [5], [5, 5], [5, 1, 3], list(range(1, 65)), [2147483648], [LARGEST]])
def test_groups_are_exactly_those_given(box: Runtime, bundle: Bundle, listed: list[int]) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": listed}
    assert sorted(box.probe(bundle)["groups"]) == sorted(listed)


def test_groups_of_the_caller_are_given_up(box: Runtime, bundle: Bundle) -> None:
    seen = box.run(bundle.args("/bin/probe"), extra_groups=[4321, 5432]).report()
    assert seen["groups"] == []
    container = box.running_shell(bundle)
    assert container.exec("/bin/probe", extra_groups=[4321]).report()["groups"] == []


SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("given", [(), ("CAP_KILL",), ("CAP_CHOWN", "CAP_NET_RAW")])
def test_capabilities_are_exactly_those_given(box: Runtime, bundle: Bundle, uid: int, given: tuple[str, ...]) -> None:
    """CVE-2022-29162 and its kin: what is inheritable comes back with the next execve of a file that has it."""
    bundle.capabilities(*given).process["user"] = {"uid": uid, "gid": uid}
    seen = box.probe(bundle).capabilities()
    assert seen["bounding"] == set(given)
    assert (seen["inheritable"], seen["ambient"]) == (set(), set())
    assert seen["effective"] == seen["permitted"] == (set(given) if uid == 0 else set())


@pytest.mark.parametrize("added", ["CAP_KILL", "KILL"])
def test_capability_of_exec_is_not_inheritable(container: Container, added: str) -> None:
    seen = container.exec("/bin/probe", flags=("--cap", added)).report().capabilities()
    assert {name: seen[name] for name in ("inheritable", "ambient")} == {"inheritable": set(), "ambient": set()}
    assert seen["effective"] == {"CAP_KILL"}


def test_capabilities_of_the_caller_are_not_inherited(box: Runtime, bundle: Bundle) -> None:
    prefix = ("setpriv", "--inh-caps=+kill,+net_raw", "--ambient-caps=+kill,+net_raw")
    assert all(not box.run(bundle.args("/bin/probe"), prefix=prefix).report().capabilities()[name] for name in SETS)
    container = box.running_shell(bundle)
    assert all(not container.exec("/bin/probe", prefix=prefix).report().capabilities()[name] for name in SETS)


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_no_new_privileges_keeps_a_setuid_program_from_giving_any(box: Runtime, bundle: Bundle, verb: str) -> None:
    (bundle.rootfs / "bin/suid").write_bytes((bundle.rootfs / "bin/probe").read_bytes())
    (bundle.rootfs / "bin/suid").chmod(0o4755)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    if verb == "run":
        seen = box.run(bundle.args("/bin/suid")).report()
    else:
        seen = box.running_shell(bundle).exec("/bin/suid").report()
    assert seen["uids"] == [1000] * 3


def test_capability_of_a_file_is_not_obtained_beyond_the_bounding_set(box: Runtime, bundle: Bundle) -> None:
    bundle.process.update(noNewPrivileges=False, user={"uid": 1000, "gid": 1000})
    (bundle.rootfs / "bin/suid").write_bytes((bundle.rootfs / "bin/probe").read_bytes())
    (bundle.rootfs / "bin/suid").chmod(0o4755)
    seen = box.run(bundle.args("/bin/suid")).report()
    assert seen["uids"] == [1000, 0, 0]
    assert all(not seen.capabilities()[name] for name in SETS)


@pytest.mark.parametrize("uid", [4294967295, True, 1.0])
def test_control_takes_what_the_config_says_for_a_number(uid: object, tally: Row) -> None:
    """`os.setresuid` leaves root what it is for 2**32-1, and takes True for 1."""
    code = f"import os; os.setresuid({uid!r}, {uid!r}, {uid!r}); print(os.getuid())"
    if uid == 1.0 and type(uid) is float:
        code = "import json, os; uid = int(json.loads('1.0')); os.setresuid(uid, uid, uid); print(os.getuid())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    tally.red(f"naive setresuid({uid!r})", said == ("0" if uid == 4294967295 else "1"))


def test_control_looks_a_number_up_as_a_name(container: Container, tally: Row) -> None:
    """What a runtime does which asks the image's /etc/passwd first."""
    lines = (container.bundle.rootfs / "etc/passwd").read_text().splitlines()
    users = {line.split(":")[0]: int(line.split(":")[2]) for line in lines}
    tally.red("naive look-up of `1000`", users.get("1000", 1000) == 0)


def test_control_gives_inheritable_capabilities(peer: Callable[[str], Runtime], bundle: Bundle, tally: Row) -> None:
    """A config of its time, as engines wrote them: this is what `exec --cap` made of every one."""
    bundle.process["capabilities"] = {name: ["CAP_KILL"] for name in SETS}
    runtime = peer("runc")
    seen = json.loads(runtime.run(bundle.args("/bin/probe")).ok().out)["capabilities"]
    tally.red("a config with inheritable capabilities", seen["inheritable"] == 1 << 5)
