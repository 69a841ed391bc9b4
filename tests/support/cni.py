"""Plugins of the Container Network Interface that a test makes: shell scripts that write down how they were called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCRIPT = """#!/bin/sh
# Writes its call to FILES/NUMBER-NAME-COMMAND.{env,in}; answers with FILES/NAME.COMMAND, exits as FILES/NAME.COMMAND.exit says.
name=${0##*/}
number=$(ls FILES | grep -c '\\.env$')
call=FILES/$(printf %03d "$number")-$name-$CNI_COMMAND
cat >"$call.in"
env | grep '^CNI_' | sort >"$call.env"
if [ -e "FILES/$name.$CNI_COMMAND.sh" ]; then . "FILES/$name.$CNI_COMMAND.sh"; fi
if [ -e "FILES/$name.$CNI_COMMAND" ]; then cat "FILES/$name.$CNI_COMMAND"
elif [ "$CNI_COMMAND" = VERSION ]; then
    echo '{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}'
elif [ "$CNI_COMMAND" = ADD ]; then echo '{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.5/24"}]}'; fi
exit "$(cat "FILES/$name.$CNI_COMMAND.exit" 2>/dev/null || echo 0)"
"""


class Call:
    """How a plugin was called."""

    def __init__(self, path: Path) -> None:
        _, self.plugin, self.command = path.stem.split("-")
        self.environment = dict(line.partition("=")[::2] for line in path.read_text().splitlines())
        self.text = path.with_suffix(".in").read_text()
        self.conf: dict[str, Any] = json.loads(self.text) if self.text else {}


class Plugins:
    """A directory of plugins, one of configurations, and what has been called."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "cni-bin"
        self.conf = directory / "net.d"
        self.cache = directory / "cni"
        self._files = directory / "cni-calls"
        for path in (self.bin, self.conf, self._files):
            path.mkdir()

    def plugin(self, *names: str) -> None:
        for name in names:
            path = self.bin / name
            path.write_text(_SCRIPT.replace("FILES", str(self._files)))
            path.chmod(0o755)

    def answers(self, plugin: str, command: str, answer: Any, code: int = 0) -> None:
        """What it prints, as JSON unless it is text, and how it exits."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        (self._files / f"{plugin}.{command}").write_text(text)
        (self._files / f"{plugin}.{command}.exit").write_text(f"{code}")

    def speaks(self, plugin: str, *versions: str) -> None:
        self.answers(plugin, "VERSION", {"cniVersion": "1.1.0", "supportedVersions": list(versions)})

    def does(self, plugin: str, command: str, script: str) -> None:
        """Shell commands that come before its answer."""
        (self._files / f"{plugin}.{command}.sh").write_text(script)

    def network(self, name: str, *plugins: dict[str, Any], file: str = "", **more: Any) -> Path:
        """A list of plugins."""
        path = self.conf / (file or f"{name}.conflist")
        path.write_text(json.dumps({"cniVersion": "1.1.0", "name": name, "plugins": list(plugins), **more}))
        return path

    def calls(self, *commands: str) -> list[Call]:
        """In the order of time, without the questions for versions, unless those are meant."""
        found = [Call(path) for path in sorted(self._files.glob("*.env"))]
        return [call for call in found if (call.command in commands if commands else call.command != "VERSION")]

    def order(self) -> list[str]:
        return [f"{call.command} {call.plugin}" for call in self.calls()]

    def forget(self) -> None:
        for path in self._files.glob("*-*"):
            path.unlink()
