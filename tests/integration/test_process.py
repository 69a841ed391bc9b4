"""`process` of config.json: what the first process of a container is made of (runtime-spec, config.md#process)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime

LARGEST = pytest.param(4294967294, 4294967294, marks=not_for("runc", reason="it allows 31 bits"))


@pytest.mark.parametrize(
    "args",
    [["a b", "", "c"], ["*", "$HOME", "`id`"], ["x" * 100_000], [str(n) for n in range(2000)], ["a\nb", "\t", "\\"]],
    ids=["blanks and empty", "no shell", "long", "many", "control characters"],
)
def test_args_reach_the_process_unchanged(box: Runtime, bundle: Bundle, args: list[str]) -> None:
    assert box.probe(bundle, *args)["args"] == ["/bin/probe", *args]


def test_args_and_env_are_passed_as_utf8(box: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["GRÜSSE=grüße €"]
    seen = box.probe(bundle, "äöü 漢字 🙂")
    assert seen["args"][1].encode("latin-1").decode() == "äöü 漢字 🙂"
    assert seen["env"][0].encode("latin-1").decode() == "GRÜSSE=grüße €"


def test_environment_is_exactly_the_configured_one_and_home(box: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["PATH=/bin", "A=1", "EMPTY=", "A2==", "B=x y"]
    assert box.probe(bundle)["env"] == ["PATH=/bin", "A=1", "EMPTY=", "A2==", "B=x y", "HOME=/root"]


def test_environment_keeps_its_order(box: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["Z=1", "PATH=/bin", "HOME=/", "A=2"]
    assert box.probe(bundle)["env"] == ["Z=1", "PATH=/bin", "HOME=/", "A=2"]


def test_no_environment_is_home_alone(box: Runtime, bundle: Bundle) -> None:
    del bundle.process["env"]
    assert box.probe(bundle)["env"] == ["HOME=/root"]


def test_cwd_is_the_configured_directory(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "home/deep").mkdir()
    bundle.process["cwd"] = "/home/deep"
    assert box.probe(bundle)["cwd"] == "/home/deep"


def test_missing_cwd_is_made_below_the_root(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "opt").symlink_to("/var")
    bundle.process["cwd"] = "/opt/deep/er"
    assert box.probe(bundle)["cwd"] == "/var/deep/er"
    assert (bundle.rootfs / "var/deep/er").is_dir()
    assert not (bundle.rootfs / "var/deep").is_symlink()


def test_cwd_that_is_a_file_is_refused(box: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/etc/passwd"
    box.run(bundle).refused("/etc/passwd", "not a directory")


@pytest.mark.parametrize("uid, gid", [(0, 0), (1000, 1000), (0, 1000), (1000, 0), (65534, 65534), LARGEST])
def test_user_ids_are_set_in_all_three_forms(box: Runtime, bundle: Bundle, uid: int, gid: int) -> None:
    bundle.process["user"] = {"uid": uid, "gid": gid}
    seen = box.probe(bundle)
    assert (seen["uids"], seen["gids"]) == ([uid] * 3, [gid] * 3)


@pytest.mark.parametrize("extra, expected", [([], []), ([5], [5]), ([1234, 5, 6], [5, 6, 1234])])
def test_additional_gids_are_exactly_the_groups(
    box: Runtime, bundle: Bundle, extra: list[int], expected: list[int]
) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": extra}
    groups = set(box.probe(bundle)["groups"])
    # the primary group may be among them, as setgroups(2) by login programs has it
    assert groups - {1000} == set(expected)


@pytest.mark.parametrize("umask", [0, 0o22, 0o27, 0o777])
def test_umask_is_the_configured_one(box: Runtime, bundle: Bundle, umask: int) -> None:
    bundle.process["user"]["umask"] = umask
    assert box.probe(bundle)["umask"] == umask


@pytest.mark.parametrize("callers", ["000", "077"])
@not_for("crun", reason="it keeps the caller's")
def test_umask_does_not_come_from_the_caller(box: Runtime, bundle: Bundle, callers: str) -> None:
    prefix = ("/bin/sh", "-c", f'umask {callers}; exec "$@"', "sh")
    result = box.run(bundle.args("/bin/probe"), prefix=prefix)
    assert result.report()["umask"] == 0o22


def test_without_capabilities_there_are_none(box: Runtime, bundle: Bundle) -> None:
    nothing: set[str] = set()
    sets = box.probe(bundle).capabilities()
    assert sets == dict.fromkeys(("effective", "permitted", "inheritable", "bounding", "ambient"), nothing)


@pytest.mark.parametrize("uid, expected", [(0, {"CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"}), (1000, {"CAP_KILL"})])
def test_five_capability_sets_are_independent(box: Runtime, bundle: Bundle, uid: int, expected: set[str]) -> None:
    bundle.process["user"] = {"uid": uid, "gid": uid}
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER", "CAP_MKNOD"],
        "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
        "inheritable": ["CAP_KILL", "CAP_CHOWN"],
        "ambient": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    }
    sets = box.probe(bundle).capabilities()
    assert sets["bounding"] == {"CAP_KILL", "CAP_CHOWN", "CAP_FOWNER", "CAP_MKNOD"}
    assert sets["inheritable"] == {"CAP_KILL", "CAP_CHOWN"}
    assert sets["ambient"] == {"CAP_KILL"}
    # execve(2) computes these anew: for root from what was permitted (no_new_privs), for others from the ambient set
    assert sets["permitted"] == sets["effective"] == expected


def test_root_gets_the_bounding_set_at_execve(box: Runtime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": [], "effective": []}
    bundle.process["noNewPrivileges"] = False
    sets = box.probe(bundle).capabilities()
    assert sets["permitted"] == sets["effective"] == sets["bounding"] == {"CAP_KILL", "CAP_CHOWN"}


def test_ordinary_user_without_ambient_has_no_effective_capabilities(box: Runtime, bundle: Bundle) -> None:
    bundle.capabilities("CAP_KILL", "CAP_CHOWN").process["user"] = {"uid": 1000, "gid": 1000}
    sets = box.probe(bundle).capabilities()
    assert (sets["effective"], sets["permitted"]) == (set(), set())
    assert sets["bounding"] == {"CAP_KILL", "CAP_CHOWN"}


@pytest.mark.parametrize("value, expected", [(True, 1), (False, 0)])
def test_no_new_privileges_is_set_as_configured(box: Runtime, bundle: Bundle, value: bool, expected: int) -> None:
    bundle.process["noNewPrivileges"] = value
    assert box.probe(bundle)["no_new_privs"] == expected


def test_no_new_privileges_is_off_by_default(box: Runtime, bundle: Bundle) -> None:
    del bundle.process["noNewPrivileges"]
    assert box.probe(bundle)["no_new_privs"] == 0


@pytest.mark.parametrize(
    "name, soft, hard",
    [
        ("RLIMIT_NOFILE", 100, 200),
        ("RLIMIT_NOFILE", 200, 200),
        ("RLIMIT_NPROC", 50, 60),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_AS", 1 << 30, 1 << 31),
        ("RLIMIT_STACK", 1 << 20, 1 << 22),
        ("RLIMIT_FSIZE", 1 << 40, 1 << 41),
        ("RLIMIT_CPU", 100, 18446744073709551615),
        ("RLIMIT_MEMLOCK", 65536, 65536),
        ("RLIMIT_SIGPENDING", 10, 20),
        ("RLIMIT_MSGQUEUE", 1000, 2000),
        ("RLIMIT_DATA", 1 << 30, 1 << 30),
        ("RLIMIT_LOCKS", 5, 6),
        ("RLIMIT_RSS", 1 << 20, 1 << 20),
        ("RLIMIT_RTTIME", 1000, 2000),
    ],
)
def test_rlimit_is_set(box: Runtime, bundle: Bundle, name: str, soft: int, hard: int) -> None:
    bundle.process["rlimits"] = [{"type": name, "soft": soft, "hard": hard}]
    assert box.probe(bundle)["rlimits"][name] == [soft, hard]


def test_several_rlimits_are_set_and_the_rest_inherited(box: Runtime, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 1024},
    ]
    prefix = ("/bin/sh", "-c", 'ulimit -f 2000000; exec "$@"', "sh")
    limits = box.run(bundle.args("/bin/probe"), prefix=prefix).report()["rlimits"]
    assert limits["RLIMIT_NOFILE"] == [64, 128]
    assert limits["RLIMIT_CORE"] == [0, 1024]
    assert limits["RLIMIT_FSIZE"] == [1024000000, 1024000000]


@not_for("runc", reason="it opens files after it has set the limit")
def test_nofile_limit_below_what_the_runtime_itself_has_open_works(box: Runtime, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 4}]
    assert box.probe(bundle)["rlimits"]["RLIMIT_NOFILE"] == [4, 4]


@pytest.mark.parametrize("value", [0, 100, 1000])
def test_oom_score_adj_is_the_configured_one(box: Runtime, bundle: Bundle, value: int) -> None:
    bundle.process["oomScoreAdj"] = value
    assert box.probe(bundle)["oom_score_adj"] == f"{value}\n"


def test_oom_score_adj_is_inherited_when_not_given(box: Runtime, bundle: Bundle) -> None:
    prefix = ("/bin/sh", "-c", 'echo 77 > /proc/self/oom_score_adj; exec "$@"', "sh")
    assert box.run(bundle.args("/bin/probe"), prefix=prefix).report()["oom_score_adj"] == "77\n"


def test_program_is_searched_in_the_containers_path(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "home/probe").symlink_to("/bin/probe")
    bundle.process["env"] = ["PATH=/nowhere:/home:/bin"]
    seen = box.run(bundle.args("probe", "x")).report()
    assert seen["args"] == ["probe", "x"]


def test_path_search_takes_the_first_that_can_be_executed(box: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "home/tool").write_text("not executable\n")
    (bundle.rootfs / "etc/tool").mkdir()
    (bundle.rootfs / "var/tool").write_text("#!/bin/sh\necho second\n")
    (bundle.rootfs / "var/tool").chmod(0o755)
    bundle.process["env"] = ["PATH=/home:/etc:/var"]
    assert box.run(bundle.args("tool")).ok().out == "second\n"


def test_program_with_a_slash_is_relative_to_cwd(box: Runtime, bundle: Bundle) -> None:
    bundle.process.update(cwd="/bin", env=["PATH=/nowhere"])
    assert box.run(bundle.args("./echo", "here")).ok().out == "here\n"


def test_script_runs_by_its_interpreter(box: Runtime, bundle: Bundle) -> None:
    script = bundle.rootfs / "home/script"
    script.write_text("#!/bin/sh\necho $0 $1\n")
    script.chmod(0o755)
    assert box.run(bundle.args("/home/script", "x")).ok().out == "/home/script x\n"


class TestProgramThatCannotRun:
    """`start` or `run` says what is wrong, and with which file; nothing is left."""

    def test_missing_file(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.args("/no/such/program")).refused("/no/such/program", "no such file or directory")

    def test_name_that_is_not_in_path(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.args("nosuchprogram")).refused("nosuchprogram", "executable file not found in")

    def test_file_without_execute_permission(self, box: Runtime, bundle: Bundle) -> None:
        box.run(bundle.args("/etc/passwd")).refused("/etc/passwd", "permission denied")

    def test_directory(self, box: Runtime, bundle: Bundle) -> None:
        result = box.run(bundle.args("/etc"))
        assert result.code == 1
        assert "permission denied" in result.err or "is a directory" in result.err

    @not_for("runc", "crun", reason="they do not look which file is missing")
    def test_script_whose_interpreter_is_missing_names_it(self, box: Runtime, bundle: Bundle) -> None:
        script = bundle.rootfs / "home/script"
        script.write_text("#!/opt/interpreter -x\n")
        script.chmod(0o755)
        box.run(bundle.args("/home/script")).refused("/home/script", "/opt/interpreter", "no such file or directory")

    def test_file_of_no_known_format(self, box: Runtime, bundle: Bundle) -> None:
        (bundle.rootfs / "home/data").write_bytes(b"\x00\x01\x02\x03" * 64)
        (bundle.rootfs / "home/data").chmod(0o755)
        box.run(bundle.args("/home/data")).refused("/home/data", "exec format error")

    def test_symlink_loop(self, box: Runtime, bundle: Bundle) -> None:
        (bundle.rootfs / "home/loop").symlink_to("loop")
        box.run(bundle.args("/home/loop")).refused("/home/loop", "too many levels of symbolic links")


def test_init_is_process_one_and_leads_a_session(box: Runtime, bundle: Bundle) -> None:
    seen = box.probe(bundle)
    assert (seen["pid"], seen["ppid"], seen["sid"], seen["pgid"]) == (1, 0, 1, 1)


def test_session_keyring_is_the_containers_own(box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    first, second = (box.probe(make_bundle())["keyring"]["id"] for _ in range(2))
    assert first > 0
    assert first != second


def test_no_new_keyring_keeps_the_callers(box: Runtime, make_bundle: Callable[[], Bundle]) -> None:
    bundles = (make_bundle().args("/bin/probe"), make_bundle().args("/bin/probe"))
    first, second = (box.run(bundle, "--no-new-keyring").report()["keyring"]["id"] for bundle in bundles)
    assert first == second
