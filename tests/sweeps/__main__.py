"""The sweeps on the command line; see --help. The exit status is 1 if anything is not as it should be."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from tests.support.runtime import executable
from tests.sweeps.shapes import SHAPES
from tests.sweeps.sweep import KINDS, Job, describe, sweep
from tests.sweeps.verbs import VERBS


def main() -> int:
    options = _parsed()
    runtime = Path(shutil.which(options.runtime) or options.runtime).absolute()
    failed = 0
    for verb in options.verbs.split(","):
        for shape in options.shapes.split(","):
            for error in options.errors.split(","):
                job = Job(options.kind, verb, shape, runtime, error, options.count, options.seed)
                begun = time.monotonic()
                outcome = sweep(job, workers=options.jobs, progress=lambda line: print(f"  {line}", flush=True))
                print(describe(job, outcome, begun) + (f" [{error}]" if error else ""), flush=True)
                failed += bool(outcome.findings)
    return 1 if failed else 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.sweeps", description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--verbs", default=",".join(VERBS), help="by comma; all by default")
    parser.add_argument("--shapes", default="confined", help=f"of {','.join(SHAPES)}")
    parser.add_argument("--errors", default="", help="names of errno; by default what fits each call")
    parser.add_argument("--count", type=int, default=0, help="points of each sweep; all by default")
    parser.add_argument("--seed", type=int, default=1, help="which points, if not all")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--runtime", default=str(executable()), help="which runtime")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
