"""Steps per second of Proximo with some settings beside others, in one process, in turn.

    python benchmarks/side_by_side.py W2a W2a,ppo.overlap=true W2a,env.backend=threads
    python benchmarks/side_by_side.py --rounds 9 W1 W1,engine=eager

A side is a workload of `proximo bench` and settings that differ from it. Whole iterations (collect, estimate, learn),
wall time, a second at a time; medians over the rounds and ratios to the first side.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from typing import Any

from jobs import ROOT, markdown

sys.path.insert(0, str(ROOT / "src"))


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sides", nargs="+", metavar="WORKLOAD[,key=value…]")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        built = [_build(side, folder) for side in args.sides]
        speeds: list[list[float]] = [[] for _ in built]
        for _ in range(args.rounds):
            for parts, found in zip(built, speeds, strict=True):
                found.append(_second(parts))
        for parts in built:
            parts.collector.close()
    first = statistics.median(speeds[0])
    rows = [
        [
            side,
            f"{statistics.median(found):,.0f}",
            f"{min(found):,.0f}–{max(found):,.0f}",
            f"{statistics.median(found) / first:.2f}",
        ]
        for side, found in zip(args.sides, speeds, strict=True)
    ]
    print("\n".join(markdown(["side", "steps/s", "low–high", "ratio"], rows)))
    return 0


def _build(side: str, folder: str) -> Any:
    import torch

    from proximo.bench.worker import settings
    from proximo.bench.workloads import choose
    from proximo.build import build
    from proximo.config.load import load_experiment
    from proximo.core.timer import Timer

    name, *overrides = side.split(",")
    (workload,), _ = choose([name])
    experiment = load_experiment(
        settings(workload.as_dict(), folder), [*workload.overrides, "hooks={}", *overrides]
    )
    parts = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    for _ in range(3):
        parts.ppo.iterate()
    return parts


def _second(parts: Any) -> float:
    before, begun = parts.ppo.step, time.perf_counter()
    while time.perf_counter() - begun < 1.0:
        parts.ppo.iterate()
    parts.collector.settle()
    return float((parts.ppo.step - before) / (time.perf_counter() - begun))


if __name__ == "__main__":
    sys.exit(main())
