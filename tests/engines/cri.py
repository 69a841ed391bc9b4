"""Kubernetes' container runtime interface (CRI) as the kubelet speaks it, to a containerd with both runtimes as handlers.

The messages' definition is taken from containerd itself: Go programs carry their protobuf descriptors, gzipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

from tests.engines import rigs

SECONDS = 60
_GZIP = b"\x1f\x8b\x08"
_LONGEST_DESCRIPTOR = 1 << 20
_CONFIG = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
disable_apparmor = true
sandbox_image = "localhost/pause:latest"
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{directory}/net.d"
"""
_HANDLER = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
BinaryName = "{path}"
Root = "{directory}/rr-{name}"
"""


def _descriptors(program: Path) -> list[Any]:
    """Every FileDescriptorProto in a Go program."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.message import DecodeError

    data, at, found = program.read_bytes(), -1, []
    while (at := data.find(_GZIP, at + 1)) >= 0:
        try:
            text = zlib.decompressobj(31).decompress(data[at : at + _LONGEST_DESCRIPTOR])
            found.append(FileDescriptorProto.FromString(text))
        except (zlib.error, DecodeError):
            continue
    return [each for each in found if each.name]


def _pool(program: Path) -> Any:
    """The descriptors of `runtime.v1`; its annotations for Go need no definition."""
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    for each in _descriptors(program):
        if each.package == "runtime.v1":
            del each.dependency[:]
            pool.Add(each)
    return pool


class Cri:
    """A client of both services. Requests and answers are dictionaries in protobuf's JSON form, with the fields' own names."""

    def __init__(self, socket: Path) -> None:
        import grpc

        self._pool = _pool(Path(shutil.which("containerd") or "/usr/bin/containerd"))
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def call(self, method: str, request: dict[str, Any] | None = None, service: str = "Runtime") -> dict[str, Any]:
        from google.protobuf import json_format
        from google.protobuf.message_factory import GetMessageClass

        said = self._pool.FindServiceByName(f"runtime.v1.{service}Service").FindMethodByName(method)
        send: Any = self._channel.unary_unary(
            f"/runtime.v1.{service}Service/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(said.output_type).FromString,
        )
        message = json_format.ParseDict(request or {}, GetMessageClass(said.input_type)())
        answer = send(message, timeout=SECONDS, wait_for_ready=True)
        return json_format.MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    def answers(self) -> bool:
        """Whether the service has begun; it says "not initialized" until then."""
        import grpc

        try:
            self.call("ListContainers")
        except grpc.RpcError:
            return False
        return True

    def close(self) -> None:
        self._channel.close()


def _network(directory: Path) -> None:
    """A bridge without masquerading, from the distribution's plugins."""
    (directory / "net.d").mkdir()
    ipam = {"type": "host-local", "dataDir": f"{directory}/leases", "ranges": [[{"subnet": "10.87.0.0/24"}]]}
    bridge = {"type": "bridge", "bridge": "boxes-cri", "isGateway": True, "ipam": ipam}
    conf = {"cniVersion": "0.4.0", "name": "cri", "plugins": [bridge]}
    (directory / "net.d/10-cri.conflist").write_text(json.dumps(conf))


def _pause_image(directory: Path, podman: rigs.Podman) -> Path:
    """What holds a pod: catatonit does nothing but wait and reap."""
    (directory / "pause").mkdir()
    shutil.copy("/usr/bin/catatonit", directory / "pause/catatonit")
    tar = directory / "pause.tar"
    subprocess.run(["tar", "-C", directory / "pause", "-cf", tar, "."], check=True)
    podman.check(f"""podman import -c 'ENTRYPOINT ["/catatonit","-P"]' {tar} pause""")
    archive = directory / "pause.oci.tar"
    podman.check(f"podman save --format oci-archive -o {archive} localhost/pause")
    return archive


def mount_hierarchies(directory: Path) -> list[Path]:
    """Mount the cgroup v1 hierarchies that exist and are mounted nowhere here; return where.

    Such a hierarchy is left where one was mounted in a mount namespace that has ended. The shim refuses to read a
    process's control groups then: no statistics, no word of an out-of-memory kill, whatever the runtime.
    """
    mounted = {
        option for line in Path("/proc/self/mounts").read_text().splitlines() for option in line.split()[3].split(",")
    }
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        name = line.split(":")[1]
        if name and not mounted & set(name.split(",")):
            made.append(directory / "cgroup" / name.removeprefix("name="))
            made[-1].mkdir(parents=True)
            subprocess.run(["mount", "-t", "cgroup", "-o", name, "cgroup", made[-1]], check=True)
    return made


class Containerd(rigs.Rig):
    """containerd with its CRI plugin on, and the two runtimes by their names."""

    cri: Cri
    hierarchies: list[Path]

    def set_up(self) -> str:
        self.hierarchies = mount_hierarchies(self.directory)
        podman = rigs.Podman("runc", self.directory / "podman", self.image)
        pause = _pause_image(self.directory, podman)
        _network(self.directory)
        config = _CONFIG.format(directory=self.directory) + "".join(
            _HANDLER.format(name=name, path=path, directory=self.directory) for name, path in self.handlers().items()
        )
        (self.directory / "config.toml").write_text(config)
        socket = self.directory / "containerd.sock"
        self.cri = Cri(socket)
        self.serve_cri(socket)
        self.prelude = self.function("ctr", "ctr", "-a", str(socket), "-n", "k8s.io")
        for archive in (pause, self.image.with_name("bb.oci.tar")):
            self.check(f"ctr images import {archive}")
        return self.prelude

    def handlers(self) -> dict[str, str]:
        """The runtimes that config.toml has to begin with, by the names of their handlers."""
        return rigs.runtimes()

    def restart(self) -> None:
        """End the daemon, not its shims, and start another on the same state."""
        rigs.Rig.close(self)
        socket = self.directory / "containerd.sock"
        socket.unlink(missing_ok=True)
        self.serve_cri(socket)

    def serve_cri(self, socket: Path) -> None:
        """Start containerd; its socket is there before the CRI plugin has taken up what there is."""
        self.serve(socket, "containerd", "-c", str(self.directory / "config.toml"))
        deadline = time.monotonic() + SECONDS
        while not self.cri.answers():
            assert time.monotonic() < deadline, (self.directory / "daemon.log").read_text()[-2000:]
            time.sleep(0.05)

    def close(self) -> None:
        self.cri.close()
        super().close()
        for each in self.hierarchies:
            groups = sorted(each.glob(f"{os.environ['BOXES_ENGINES_PARENT']}/**/"), reverse=True)
            for group in groups:
                group.rmdir()
            subprocess.run(["umount", each], check=True)


class Pod:
    """A sandbox of one runtime, and the containers in it. As a context it is removed at the end."""

    def __init__(self, rig: Containerd, runtime: str, name: str, **config: Any) -> None:
        self.call, self.runtime = rig.cri.call, runtime
        self.logs = rig.directory / "logs" / f"{name}-{runtime}"
        self.logs.mkdir(parents=True)
        linux = config.pop("linux", {})
        self.config = {
            "metadata": {"name": name, "namespace": "default", "uid": f"{name}-{runtime}"},
            "hostname": "pod",
            "log_directory": str(self.logs),
            "linux": {"cgroup_parent": f"/{os.environ['BOXES_ENGINES_PARENT']}/pod"} | linux,
        } | config
        self._made = 0
        request = {"config": self.config, "runtime_handler": runtime}
        self.id = str(self.call("RunPodSandbox", request)["pod_sandbox_id"])

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *_: object) -> None:
        self.call("StopPodSandbox", {"pod_sandbox_id": self.id})
        self.call("RemovePodSandbox", {"pod_sandbox_id": self.id})

    def create(self, *command: str, linux: dict[str, Any] | None = None, **config: Any) -> str:
        """A container of the pod, not started; its id."""
        self._made += 1
        chosen = {
            "metadata": {"name": f"c{self._made}"},
            "image": {"image": "localhost/bb:latest"},
            "command": list(command),
            "log_path": f"c{self._made}.log",
            "linux": linux or {},
        } | config
        request = {"pod_sandbox_id": self.id, "config": chosen, "sandbox_config": self.config}
        return str(self.call("CreateContainer", request)["container_id"])

    def start(self, *command: str, **config: Any) -> str:
        container = self.create(*command, **config)
        self.call("StartContainer", {"container_id": container})
        return container

    def status(self, container: str) -> dict[str, Any]:
        return dict(self.call("ContainerStatus", {"container_id": container})["status"])

    def exec(self, container: str, *command: str, seconds: int = 20) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        import base64

        request = {"container_id": container, "cmd": list(command), "timeout": seconds}
        answer = self.call("ExecSync", request)
        out, err = (base64.b64decode(answer[name]).decode() for name in ("stdout", "stderr"))
        return answer["exit_code"], out, err

    def sh(self, container: str, script: str) -> str:
        """What a script in the container prints, which must succeed."""
        code, out, err = self.exec(container, "sh", "-c", script)
        assert code == 0, (out, err)
        return out

    def ended(self, container: str, seconds: float = 20) -> tuple[str, int, str]:
        """The state, exit status and reason of a container, once it has exited."""
        deadline = time.monotonic() + seconds
        while (status := self.status(container))["state"] != "CONTAINER_EXITED" and time.monotonic() < deadline:
            time.sleep(0.05)
        return status["state"], status["exit_code"], status["reason"]

    def log(self, container: str) -> list[str]:
        """What a container wrote, without the times: the lines of standard error, then those of standard output.

        The two come by pipes of their own, so which of them was first is not known.
        """
        path = Path(self.status(container)["log_path"])
        lines = [line.split(" ", 1)[1] for line in path.read_text().splitlines()]
        return sorted(lines, key=lambda line: line.split()[0])
