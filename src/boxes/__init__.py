"""boxes: an OCI container runtime.

The command is `box`. From Python the errors it raises are here; `boxes.container.lifecycle` has the verbs, over a
`boxes.container.store.Store`. Nothing else is imported by `import boxes`.
"""

from boxes.errors import (
    BoxesError,
    ConfigError,
    ExistsError,
    HookError,
    InternalError,
    KernelError,
    NotFoundError,
    StateError,
    UnsupportedError,
    UsageError,
)
from boxes.version import VERSION

__version__ = VERSION

__all__ = [
    "BoxesError",
    "ConfigError",
    "ExistsError",
    "HookError",
    "InternalError",
    "KernelError",
    "NotFoundError",
    "StateError",
    "UnsupportedError",
    "UsageError",
    "__version__",
]
