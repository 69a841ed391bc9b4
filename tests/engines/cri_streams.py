"""`kubectl exec` and `kubectl attach`: streams over a WebSocket (RFC 6455), each message led by the number of its channel."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

from tests.engines.cri import Containerd, Pod
from tests.engines.cri_scenarios import FOREVER, Scenario

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
_BINARY, _CLOSE = 2, 8
_SECONDS = 20


class Streams:
    """The channels of one Exec or Attach; `read` collects what comes until the other side closes, or `until` is there."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), _SECONDS)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["Host: localhost", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: v4.channel.k8s.io", "Origin: http://localhost"]
        self._socket.sendall("\r\n".join([f"GET {parts.path} HTTP/1.1", *lines, "", ""]).encode())
        self._file = self._socket.makefile("rb")
        answer = self._file.readline()
        assert b" 101 " in answer, answer
        while self._file.readline().strip():
            pass
        self.channels = dict.fromkeys(range(5), "")

    def send(self, channel: int, text: str) -> None:
        payload = bytes([channel]) + text.encode()
        assert len(payload) < 126
        mask = bytes(4)
        self._socket.sendall(bytes([0x80 | _BINARY, 0x80 | len(payload)]) + mask + payload)

    def read(self, until: str = "") -> dict[int, str]:
        while not until or until not in self.channels[STDOUT]:
            head = self._file.read(2)
            if len(head) < 2 or head[0] & 0xF == _CLOSE:
                break
            size = head[1] & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self._file.read(2))
            message = self._file.read(size)
            if message:
                self.channels[message[0]] += message[1:].decode()
        return self.channels

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _result(channels: dict[int, str]) -> tuple[str, str, str, list[Any]]:
    """Output, errors, success or failure, and the exit status as its causes."""
    status = json.loads(channels[ERROR])
    return channels[STDOUT], channels[STDERR], status["status"], status.get("details", {}).get("causes", [])


def _exec(pod: Pod, container: str, script: str, **more: Any) -> Streams:
    request = {"container_id": container, "cmd": ["sh", "-c", script], "stdout": True, "stderr": True}
    return Streams(pod.call("Exec", request | more)["url"])


def exec_streams(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "exec-streams") as pod:
        container = pod.start(*FOREVER)
        script = "read line; echo out $line; echo err >&2; exit 7"
        streams = _exec(pod, container, script, stdin=True)
        streams.send(STDIN, "given\n")
        result = _result(streams.read())
        streams.close()
        assert result[:3] == ("out given\n", "err\n", "Failure")
        return result


def exec_terminal(rig: Containerd, runtime: str) -> object:
    """With a terminal, and its size changed while it is used."""
    with Pod(rig, runtime, "exec-terminal") as pod:
        container = pod.start(*FOREVER)
        script = "stty -echo; echo ready; read line; tty; busybox stty size; echo $line"
        streams = _exec(pod, container, script, stdin=True, tty=True, stderr=False)
        streams.read(until="ready")
        streams.send(RESIZE, json.dumps({"Width": 77, "Height": 33}))
        time.sleep(0.5)
        streams.send(STDIN, "typed\r")
        result = _result(streams.read())
        streams.close()
        assert "33 77" in result[0] and "typed" in result[0]
        return result


def attach(rig: Containerd, runtime: str) -> object:
    with Pod(rig, runtime, "attach") as pod:
        container = pod.start("sh", "-c", "read line; echo got $line; exit 4", stdin=True)
        request = {"container_id": container, "stdin": True, "stdout": True, "stderr": True}
        streams = Streams(pod.call("Attach", request)["url"])
        streams.send(STDIN, "given\n")
        text = streams.read(until="got given\n")[STDOUT]
        streams.close()
        assert text == "got given\n"
        return text, pod.ended(container), pod.log(container)


STREAMS: dict[str, Scenario] = {
    "exec with streams": exec_streams,
    "exec with a terminal": exec_terminal,
    "attach": attach,
}
