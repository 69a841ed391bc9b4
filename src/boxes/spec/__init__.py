"""OCI documents: reading, checking and making them. `Config` and what it is made of are imported when they are used."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.spec.sandbox import Bind, Config, Limits

__all__ = ["Bind", "Config", "Limits"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from boxes.spec import sandbox

        return getattr(sandbox, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
