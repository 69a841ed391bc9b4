"""Whatever works with runc works with box, in the same way: exit status, output, and the kind of error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines.conftest import Outcomes
from tests.engines.ctr_scenarios import OF_THE_HOST
from tests.engines.podman_scenarios import ONLY_BOX
from tests.engines.rigs import Outcome, Rig
from tests.engines.scenarios import FAILING, SCENARIOS

EACH = [pytest.param(engine, name, id=f"{engine}-{name}") for engine, named in SCENARIOS.items() for name in named]


def _said(outcome: Outcome) -> str:
    return f"{outcome.code} {outcome.kind}".strip()


@pytest.mark.parametrize(("engine", "name"), EACH)
def test_box_does_what_runc_does(rig: Callable[[str, str], Rig], outcomes: Outcomes, engine: str, name: str) -> None:
    script = SCENARIOS[engine][name]
    said = outcomes.setdefault((engine, name), {})
    found = {}
    if name in ONLY_BOX:
        outcome = rig(engine, "box").script(script)
        said["box"] = _said(outcome)
        assert outcome.code == 0, outcome
        return
    for runtime in ("runc", "box"):
        found[runtime] = rig(engine, runtime).script(script)
        said[runtime] = _said(found[runtime])
    if name not in OF_THE_HOST:
        assert (found["runc"].code != 0) == (name in FAILING), found["runc"]
    assert found["box"].same_as(found["runc"]), found
