"""What `features` says against what the runtime takes: each entry in a config that is planned, and nothing else is."""

from __future__ import annotations

import ast
import inspect
import itertools
from typing import Any

import pytest

from boxes.container import features, seccomp
from boxes.errors import BoxesError, UnsupportedError
from boxes.linux import syscalls
from boxes.plan import options, refusals
from boxes.plan.container import Plan, init_steps
from boxes.plan.descriptors import Descriptors
from boxes.plan.facts import Facts
from boxes.plan.namespaces import Namespaces
from boxes.plan.process import Confinement
from boxes.plan.resources import settings
from boxes.spec import fields, schema_linux, schema_process, schema_seccomp
from boxes.spec.schema_config import CONFIG
from boxes.spec.validate import validate
from tests.support import schema, source

DOCUMENT = features.document({"org.boxes.version": "1"})
LINUX = DOCUMENT["linux"]
SECCOMP = LINUX["seccomp"]
MAPPING = [{"containerID": 0, "hostID": 1000, "size": 1}]


def config(**linux: Any) -> dict[str, Any]:
    kinds = ("mount", "pid", "network", "ipc", "uts", "cgroup", "user", "time")
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "noNewPrivileges": True},
        "linux": {"namespaces": [{"type": kind} for kind in kinds], "uidMappings": MAPPING, "gidMappings": MAPPING}
        | linux,
    }


def plan(given: dict[str, Any]) -> tuple[list[str], Plan]:
    """What `create` would do before it does anything: the warnings, and the plan."""
    notices = [str(notice) for notice in validate(given)]
    refusals.refuse(given)
    facts = Facts(id="c", bundle="/b", rootfs="/b/rootfs", namespaces=Namespaces(given))
    made = Plan(given, facts)
    confinement = Confinement(available=(1 << 41) - 1, groups_allowed=True, terminal_bound=True, new_keyring=False)
    confinement.linux = given["linux"]
    init_steps(given, facts, made, confinement, Descriptors(0, 0, 0, 0, -1, proc=-1))
    for kind in ("legacy", "unified"):
        settings(given["linux"].get("resources"), kind)
    return notices + made.warnings, made


def filtered(tmp_path: Any, **profile: Any) -> None:
    """The profile is compiled, by libseccomp and for this kernel."""
    given = config(seccomp={"defaultAction": "SCMP_ACT_ALLOW", **profile})
    validate(given)
    seccomp.prepare(given, given["process"], [], 0, str(tmp_path))


def mount(option: str) -> dict[str, Any]:
    of_filesystem = option == "tmpcopyup" or options.parse([option]).superblock
    kind = "tmpfs" if of_filesystem else "bind"
    return {"destination": "/a", "type": kind, "source": "/s", "options": [option, *(["rbind"] * (kind == "bind"))]}


# ---- the shape ----


def test_has_every_key_of_the_specification() -> None:
    assert schema.outline(DOCUMENT) == {
        "ociVersionMin": "string",
        "ociVersionMax": "string",
        "hooks": "strings",
        "mountOptions": "strings",
        "annotations": {"io.github.seccomp.libseccomp.version": "string", "org.boxes.version": "string"},
        "potentiallyUnsafeConfigAnnotations": "strings",
        "linux": {
            "namespaces": "strings",
            "capabilities": "strings",
            "cgroup": dict.fromkeys(("v1", "v2", "systemd", "systemdUser", "rdma"), "boolean"),
            "seccomp": {"enabled": "boolean"}
            | dict.fromkeys(("actions", "operators", "archs", "knownFlags", "supportedFlags"), "strings"),
            "apparmor": {"enabled": "boolean"},
            "selinux": {"enabled": "boolean"},
            "intelRdt": dict.fromkeys(("enabled", "schemata", "monitoring"), "boolean"),
            "memoryPolicy": {"modes": "strings", "flags": "strings"},
            "mountExtensions": {"idmap": {"enabled": "boolean"}},
            "netDevices": {"enabled": "boolean"},
        },
    }


@pytest.mark.requires("features schema")
def test_is_valid_by_the_schema_of_the_specification() -> None:
    validator = schema.validator("features-schema.json")
    validator.validate(DOCUMENT)
    assert not validator.is_valid({"ociVersionMin": "1.0.0"})


def test_names_are_told_once_each() -> None:
    for names in (DOCUMENT["hooks"], DOCUMENT["mountOptions"], LINUX["namespaces"], LINUX["capabilities"]):
        assert len(set(names)) == len(names)


# ---- what is in it is taken ----


@pytest.mark.parametrize("version", [DOCUMENT["ociVersionMin"], DOCUMENT["ociVersionMax"]])
def test_versions_are_taken(version: str) -> None:
    assert plan(config() | {"ociVersion": version})[0] == []


@pytest.mark.parametrize("option", DOCUMENT["mountOptions"])
def test_mount_options_are_taken_and_are_not_handed_to_a_filesystem(option: str) -> None:
    assert plan(config() | {"mounts": [mount(option)]})[0] == []
    assert options.parse([option]).data == []


@pytest.mark.parametrize("hook", DOCUMENT["hooks"])
def test_hooks_are_taken(hook: str) -> None:
    assert plan(config() | {"hooks": {hook: [{"path": "/bin/true"}]}})[0] == []


@pytest.mark.parametrize("kind", LINUX["namespaces"])
def test_namespaces_are_taken(kind: str) -> None:
    kinds = {kind, "mount"}
    assert plan(config(namespaces=[{"type": name} for name in kinds], uidMappings=[], gidMappings=[]))[0] == []


def test_capabilities_are_taken() -> None:
    given = config()
    given["process"]["capabilities"] = {"bounding": LINUX["capabilities"], "permitted": LINUX["capabilities"]}
    assert plan(given)[0] == []


@pytest.mark.parametrize("mode", LINUX["memoryPolicy"]["modes"])
def test_modes_of_memory_are_taken(mode: str) -> None:
    nodes = {} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
    for flag in LINUX["memoryPolicy"]["flags"]:
        assert plan(config(memoryPolicy={"mode": mode, "flags": [flag], **nodes}))[0] == []


@pytest.mark.parametrize("action", SECCOMP["actions"])
def test_seccomp_actions_are_taken(action: str, tmp_path: Any) -> None:
    more = {"listenerPath": "/agent"} if action == "SCMP_ACT_NOTIFY" else {}
    filtered(tmp_path, syscalls=[{"names": ["mkdir"], "action": action}], **more)


@pytest.mark.parametrize("operator", SECCOMP["operators"])
def test_seccomp_operators_are_taken(operator: str, tmp_path: Any) -> None:
    condition = {"index": 0, "value": 1, "valueTwo": 1, "op": operator}
    filtered(tmp_path, syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [condition]}])


@pytest.mark.parametrize("flag", SECCOMP["supportedFlags"])
def test_seccomp_flags_are_taken(flag: str, tmp_path: Any) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    filtered(tmp_path, flags=[flag], syscalls=[rule], listenerPath="/agent")


@pytest.mark.parametrize("architecture", schema_seccomp.ARCHITECTURES)
def test_seccomp_architectures_are_taken_if_they_are_listed(architecture: str, tmp_path: Any) -> None:
    if architecture in SECCOMP["archs"]:
        filtered(tmp_path, architectures=[architecture])
    else:
        with pytest.raises(UnsupportedError):
            filtered(tmp_path, architectures=[architecture])


# ---- what is not in it is refused, or passed over as it is said ----


def test_all_that_the_schema_lets_pass_is_listed() -> None:
    assert sorted(schema_linux.NAMESPACES) == sorted(LINUX["namespaces"])
    assert sorted(schema_seccomp.ACTIONS) == sorted(SECCOMP["actions"])
    assert sorted(schema_seccomp.OPERATORS) == sorted(SECCOMP["operators"])
    assert sorted(schema_seccomp.FLAGS) == sorted(SECCOMP["knownFlags"])
    assert set(SECCOMP["supportedFlags"]) <= set(SECCOMP["knownFlags"])
    assert fields.hooks() == DOCUMENT["hooks"]


@pytest.mark.parametrize(
    "linux",
    [
        {"namespaces": [{"type": "bogus"}]},
        {"memoryPolicy": {"mode": "MPOL_BOGUS"}},
        {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_BOGUS"]}},
        {"seccomp": {"defaultAction": "SCMP_ACT_BOGUS"}},
        {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_BOGUS"]}},
        {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_BOGUS"]}},
    ],
)
def test_unknown_names_are_refused(linux: dict[str, Any]) -> None:
    with pytest.raises(BoxesError):
        plan(config(**linux))


@pytest.mark.parametrize("option", ["bogus", "rbogus", "size=1m", "acl", "copy-symlinks", "rdefaults", "rsyncs"])
def test_other_mount_options_are_a_filesystems_own(option: str) -> None:
    assert option not in DOCUMENT["mountOptions"]
    assert options.parse([option]).data == [option]


@pytest.mark.parametrize("option", ["copy-symlink", "src-nofollow", "dest-nofollow"])
def test_mount_options_are_listed_once_they_are_there(option: str) -> None:
    try:
        plan(config() | {"mounts": [mount(option)]})
        taken = True
    except UnsupportedError:
        taken = False
    assert taken is (option in DOCUMENT["mountOptions"])


def test_unknown_capabilities_are_told_and_left_out() -> None:
    given = config()
    given["process"]["capabilities"] = {"bounding": ["CAP_BOGUS"]}
    assert "CAP_BOGUS" in "".join(plan(given)[0])


def test_unknown_hooks_are_passed_over_and_near_misses_told() -> None:
    assert plan(config() | {"hooks": {"poststarts": []}})[0] == [
        "/hooks/poststarts: is ignored, as the specification has no such field; 'poststart' may be meant"
    ]


@pytest.mark.parametrize(
    "asked, told",
    [
        ({"netDevices": {"eth1": {}}}, LINUX["netDevices"]["enabled"]),
        ({"intelRdt": {"closID": "a"}}, LINUX["intelRdt"]["enabled"]),
        ({"intelRdt": {"schemata": ["MB:0=10"]}}, LINUX["intelRdt"]["schemata"]),
        ({"intelRdt": {"enableMonitoring": True}}, LINUX["intelRdt"]["monitoring"]),
    ],
)
def test_what_is_told_not_to_be_there_is_refused(asked: dict[str, Any], told: bool) -> None:
    try:
        plan(config(**asked))
        taken = True
    except UnsupportedError:
        taken = False
    assert taken is told


# ---- the tables are whole ----


def test_every_option_that_the_parser_compares_with_is_asked_for() -> None:
    """`_of_call` has no table; its words are read from its source."""
    tree = ast.parse(inspect.getsource(options._of_call))
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    words = {
        constant.value
        for node in compared
        for part in node.comparators
        for constant in ast.walk(part)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }
    assert {word for word in words if word.isascii() and word.strip("=")} <= set(options._CALLS)


def test_policies_of_memory_are_those_of_the_schema() -> None:
    nodes = list(ast.walk(source.tree(source.PACKAGE / "spec/schema_linux.py")))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert {name for name in strings if name.startswith("MPOL_") and not name.startswith("MPOL_F_")} == set(
        LINUX["memoryPolicy"]["modes"]
    )
    assert {name for name in strings if name.startswith("MPOL_F_")} == set(LINUX["memoryPolicy"]["flags"])


def test_annotations_that_are_heeded_are_told_to_be_unsafe() -> None:
    """Any string of the sources that has an annotation's form, but for what `features` itself says."""
    heeded = set()
    for path in source.modules():
        if source.name(path) not in ("plan/features.py", "cli/features.py"):
            for node in ast.walk(source.tree(path)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    heeded |= {node.value} & _annotations(node.value)
    told = DOCUMENT["potentiallyUnsafeConfigAnnotations"]
    assert "run.oci.mount_context_type" in heeded
    assert {name for name in heeded if not any(_matches(pattern, name) for pattern in told)} == set()


def _annotations(text: str) -> set[str]:
    words = text.split(".")
    known = ("run", "org", "com")
    foreign = text.startswith("org.freedesktop.")  # names of D-Bus
    found = len(words) > 2 and words[0] in known and all(map(str.isidentifier, filter(None, words)))
    return {text} if found and not foreign else set()


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern) if pattern.endswith(".") else name == pattern


# ---- libseccomp ----


def test_version_of_libseccomp_is_told() -> None:
    version = ".".join(map(str, syscalls.seccomp_library()[1]))
    assert DOCUMENT["annotations"]["io.github.seccomp.libseccomp.version"] == version


def test_without_libseccomp_there_is_no_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise ImportError("libseccomp.so.2")

    monkeypatch.setattr(syscalls, "seccomp_library", missing)
    document = features.document({})
    assert document["linux"]["seccomp"] == {"enabled": False}
    assert document["annotations"] == {}


def test_flags_that_the_kernel_lacks_are_known_and_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "seccomp_flags", lambda flags: flags == 0 or flags == 1)
    found = features.document({})["linux"]["seccomp"]
    assert found["supportedFlags"] == ["SECCOMP_FILTER_FLAG_TSYNC"]
    assert len(found["knownFlags"]) == 4


def test_systemd_brings_its_annotations() -> None:
    found = features.document({})
    assert "org.systemd.property." in found["potentiallyUnsafeConfigAnnotations"]
    assert found["linux"]["cgroup"]["systemd"] is True


# ---- the walk over the schema ----


def test_every_field_is_walked() -> None:
    found = list(fields.paths())
    assert len(set(found)) == len(found) > 200
    assert "/linux/seccomp/syscalls/*/args/*/valueTwo" in found
    assert "/linux/resources/rdma/*/hcaHandles" in found
    assert "/linux/netDevices/*/name" in found
    assert "/mounts/*/uidMappings/*/hostID" in found


def test_members_of_what_is_no_record_are_none() -> None:
    top = fields.members(CONFIG)
    assert set(itertools.islice(top, 3)) == {"ociVersion", "root", "process"}
    assert fields.members(top["hostname"]) == {}
    assert "policy" in fields.members(fields.members(schema_process.PROCESS)["scheduler"])
