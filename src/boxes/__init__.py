"""boxes: an OCI container runtime, and its Python API.

    import boxes

    result = boxes.run(["/bin/echo", "hello"], rootfs="/srv/images/debian", timeout=5)

`run`, `popen`, `Sandbox`, `Pool` and `Container` block; `boxes.aio` has the same for asyncio. Names are imported when
they are used. docs/python.md tells of them. The command is `box`.
"""

from __future__ import annotations

from boxes.errors import (
    BoxesError,
    ConfigError,
    ExistsError,
    HookError,
    InternalError,
    KernelError,
    NotFoundError,
    ProgramError,
    ServiceError,
    StateError,
    UnsupportedError,
    UsageError,
)
from boxes.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes import aio as aio
    from boxes.api.client import shut_down as shut_down
    from boxes.api.container import Container as Container
    from boxes.api.container import containers as containers
    from boxes.api.faces import popen as popen
    from boxes.api.faces import run as run
    from boxes.api.pool import Pool as Pool
    from boxes.api.program import Popen as Popen
    from boxes.api.result import Result as Result
    from boxes.api.sandbox import Sandbox as Sandbox
    from boxes.api.streams import DEVNULL as DEVNULL
    from boxes.api.streams import PIPE as PIPE
    from boxes.api.streams import STDOUT as STDOUT
    from boxes.spec.sandbox import Bind as Bind
    from boxes.spec.sandbox import Config as Config
    from boxes.spec.sandbox import Limits as Limits

__version__ = VERSION

# Where each lazy name is.
_LAZY = {
    "aio": "boxes.aio",
    "Container": "boxes.api.container",
    "containers": "boxes.api.container",
    "Pool": "boxes.api.pool",
    "Popen": "boxes.api.program",
    "Sandbox": "boxes.api.sandbox",
    "popen": "boxes.api.faces",
    "run": "boxes.api.faces",
    "shut_down": "boxes.api.client",
    "Result": "boxes.api.result",
    "DEVNULL": "boxes.api.streams",
    "PIPE": "boxes.api.streams",
    "STDOUT": "boxes.api.streams",
    "Bind": "boxes.spec.sandbox",
    "Config": "boxes.spec.sandbox",
    "Limits": "boxes.spec.sandbox",
}

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Bind",
    "BoxesError",
    "Config",
    "ConfigError",
    "Container",
    "ExistsError",
    "HookError",
    "InternalError",
    "KernelError",
    "Limits",
    "NotFoundError",
    "Pool",
    "Popen",
    "ProgramError",
    "Result",
    "Sandbox",
    "ServiceError",
    "StateError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "aio",
    "containers",
    "popen",
    "run",
    "shut_down",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    where = _LAZY.get(name)
    if where is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import importlib

    module = importlib.import_module(where)
    value = globals()[name] = module if name == "aio" else getattr(module, name)
    return value
