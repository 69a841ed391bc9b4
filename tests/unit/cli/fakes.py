"""A container layer that does nothing but write down what it was asked for."""

from __future__ import annotations

import sys
import types
from typing import Any

# The last one is real, and loaded over the fakes.
MODULES = ("store", "lifecycle", "exec", "query", "throwaway")
CALLS: list[tuple[Any, ...]] = []


class Options:
    """Stands for CreateOptions and ExecOptions."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


class Store:
    runtime = ""

    @classmethod
    def default(cls, environ: Any, root: str | None) -> Store:
        CALLS.append(("store", root))
        return cls()


def install(answers: dict[str, Any]) -> None:
    """Put the fakes in the place of the modules. `answers` are what the functions return, or raise."""

    def fake(name: str) -> Any:
        def function(store: Store, *args: Any, **named: Any) -> Any:
            CALLS.append((name, *args, named) if named else (name, *args))
            answer = answers.get(name, 0)
            if isinstance(answer, BaseException):
                raise answer
            return answer(*args) if callable(answer) else answer

        return function

    modules = {
        "store": {"Store": Store},
        "lifecycle": {
            "CreateOptions": Options,
            **{name: fake(name) for name in ("create", "start", "kill", "delete", "run", "state")},
        },
        "exec": {"ExecOptions": Options, "execute": fake("execute")},
        "query": {"listing": fake("listing"), "processes": fake("processes")},
    }
    import boxes.container

    sys.modules.pop("boxes.container.throwaway", None)
    vars(boxes.container).pop("throwaway", None)
    for name, members in modules.items():
        module = types.ModuleType(f"boxes.container.{name}")
        module.__dict__.update(members)
        sys.modules[module.__name__] = module
        setattr(boxes.container, name, module)
