"""How the scenarios' scripts begin: a container for one command, or one that stays while others are done to it."""

from __future__ import annotations

import shlex

_UP = (
    "podman run -d --network none --name c1 $ARGS bb sleep 1000 >/dev/null; trap 'podman rm -ft0 c1 >/dev/null' EXIT; "
)
_DOCKER_UP = (
    "docker run -d --network none --name c1 $ARGS bb sleep 1000 >/dev/null; trap 'docker rm -f c1 >/dev/null' EXIT; "
)
_CTR_UP = (
    "run -d $ARGS localhost/bb:latest c sleep 1000;"
    "trap 'ctr tasks kill -s KILL c; ctr tasks delete -f c; ctr containers delete c' EXIT 2>/dev/null; "
)


def podman(*args: str) -> str:
    return "podman run --rm --network none " + " ".join(args)


def docker(*args: str) -> str:
    return "docker run --rm --network none " + " ".join(args)


def podman_up(script: str, args: str = "") -> str:
    return f"ARGS='{args}'; {_UP}{script}"


def docker_up(script: str, args: str = "") -> str:
    return f"ARGS='{args}'; {_DOCKER_UP}{script}"


def ctr_up(script: str, args: str = "") -> str:
    return f"ARGS='{args}'; {_CTR_UP}{script}"


def ctr(*args: str) -> str:
    return "run --rm " + " ".join(args)


def on_terminal(command: str) -> str:
    """The command with a terminal, which script(1) makes; the functions of the prelude are there. Its input has no end:
    at that, engines can leave before they have read all of the output."""
    clean = r"sed -e '/resize pty/d' -e '/^\r*$/d'"
    quoted = shlex.quote(command)
    script = f"SHELL=/bin/bash script -qec {quoted} /dev/null <>endless"
    return f"set -o pipefail; [ -p endless ] || mkfifo endless; export -f $(compgen -A function); {script} | {clean}"
