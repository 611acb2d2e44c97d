"""One PPO update four ways: the C++ kernels, PyTorch eager, numba, JAX; in speed, start-up, size and lines.

    python benchmarks/engines.py              # a minute or two; rewrites engines.md and the table in docs/design.md
    python benchmarks/engines.py --quick      # to see that it works; writes nothing unless told where

Needs `pip install jax numba scipy` (numba calls SciPy's BLAS); what is missing is left out with a line. Every side
does the whole of an update: draws the permutations, gathers rows, forward, losses, gradients, clipping, Adam. Before
anything is timed all must agree on the parameters after one step, and after a whole update.
"""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from clocks import between, one_thread, provenance, seconds_each, where, write_json
from engines_cost import NEEDS, SOURCES, compile_kernels, first_call, lines, make, size, start_up
from jobs import ROOT, markdown

SIDES = ("native", "eager", "numba", "jax")
WORDS = {"native": "C++ kernels", "eager": "PyTorch eager", "numba": "numba", "jax": "JAX"}
SAME = 1e-6


def main() -> int:
    """Measure, print, write."""
    args = _arguments()
    one_thread()
    if args.first:
        print(json.dumps(first_call(args.first, args.case)))
        return 0
    sides = present()
    print("equal to the C++ kernels (largest difference of a parameter):", flush=True)
    differences = check(sides, args.cases)
    found = {
        **where(),
        "versions": {name: metadata.version(name) for side in sides for name in ("torch", *NEEDS[side])},
        "differences": differences,
        "microseconds": measure(sides, args.cases, args.rounds, args.least),
        "start": {side: start_up(side, args.starts) for side in sides},
        "size_mib": {side: size(side) for side in sides},
        "lines": {side: sum(lines(ROOT / file) for file in SOURCES[side]) for side in SIDES},
        "compiler_seconds": compile_kernels() if args.compile else None,
    }
    page = render(found)
    print("\n" + page)
    if args.out:
        write_json(args.out / "results" / "engines.json", found)
        (args.out / "engines.md").write_text(page, encoding="utf-8")
    if args.out == ROOT / "benchmarks":
        between(ROOT / "docs" / "design.md", "engines", table(found))
    return 0


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="one case, one short round, nothing written")
    options.add_argument(
        "--rounds", type=int, default=7, help="interleaved rounds, of which the medians are taken"
    )
    options.add_argument("--starts", type=int, default=3, help="processes whose start-up is measured, a side")
    options.add_argument("--out", type=Path, help="folder of engines.md (default: benchmarks)")
    options.add_argument("--first", choices=SIDES, help=argparse.SUPPRESS)
    options.add_argument("--case", default="W1", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.cases, args.least, args.compile = ["W1", "W2a", "W2b"], 0.2, True
    if args.quick:
        args.cases, args.rounds, args.least, args.starts, args.compile = ["W1"], 1, 0.0, 0, False
    elif args.out is None:
        args.out = ROOT / "benchmarks"
    return args


def present() -> list[str]:
    """The sides whose packages are installed; a line for each that is not."""
    from proximo.core.engines.native.library import library, status

    found = []
    for side in SIDES:
        missing = [name for name in NEEDS[side] if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{side}: left out, not installed: {', '.join(missing)}")
        elif side == "native" and library() is None:
            raise SystemExit(f"native: {status()}; there is nothing to compare with")
        else:
            found.append(side)
    return found


def check(sides: list[str], names: list[str]) -> dict[str, Any]:
    """Largest differences from the kernels' parameters after one step and after an update; exits if too large."""
    from engines_case import CASES, make_data

    found: dict[str, Any] = {}
    for name in names:
        whole = CASES[name]
        for what, case in (("step", replace(whole, rows=whole.minibatch, epochs=1)), ("update", whole)):
            data = make_data(case)
            made = {side: make(side, case, data) for side in sides}
            before = [entry.copy() for entry in made["native"].parameters()]
            for one in made.values():
                one.update()
            after = made["native"].parameters()
            if max(float(abs(a - b).max()) for a, b in zip(before, after, strict=True)) < SAME:
                raise SystemExit(f"{name}: the {what} moved nothing")
            worst = {
                side: max(float(abs(a - b).max()) for a, b in zip(after, one.parameters(), strict=True))
                for side, one in made.items()
            }
            print(f"  {name}, one {what}: " + ", ".join(f"{side} {gap:.1e}" for side, gap in worst.items()))
            bad = [side for side, gap in worst.items() if not gap <= SAME]
            if bad:
                raise SystemExit(f"{name}: {', '.join(bad)} computes something else than the kernels")
            found.setdefault(name, {})[what] = worst
    return found


def measure(
    sides: list[str], names: list[str], rounds: int, least: float
) -> dict[str, dict[str, list[float]]]:
    """Microseconds a minibatch: A B C D, A B C D, …, so that what disturbs the machine hits every side."""
    from engines_case import CASES, make_data

    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
        case = CASES[name]
        made = {side: make(side, case, make_data(case)) for side in sides}
        for one in made.values():
            one.update()
        found[name] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, one in made.items():
                found[name][side].append(1e6 * seconds_each(one.update, least) / case.minibatches)
    return found


def render(found: dict[str, Any]) -> str:
    """The page."""
    versions = "".join(f", {name} {version}" for name, version in found["versions"].items())
    worst = max(
        gap for case in found["differences"].values() for kind in case.values() for gap in kind.values()
    )
    return f"""# Four ways to compute a PPO update

Written by `benchmarks/engines.py`; what was chosen and why is in `docs/design.md`.

{provenance(found, versions)}

{table(found)}

Separate 64 × 64 tanh actor and critic. W1: 4 observations, 2 actions, minibatch 256. W2a, W2b: 17 observations,
6 Gaussian actions, minibatch 64 and 512. A minibatch's share of a whole update: permutations, gathering rows, forward,
losses, gradients, clipping by the global norm, Adam. Medians of {_rounds(found)} interleaved rounds. Largest difference
of a parameter from the kernels', after one step and after an update: {worst:.0e} (allowed: {SAME:.0e}).

Import: beside PyTorch and NumPy. First call: beyond a later one, in a new process, with nothing cached and from the
cache on disk. Size: what is installed beside Proximo's own dependencies. Lines: neither blank nor comment; those
of the kernels and of eager serve every network, head and loss that the engines know, those of numba and JAX only this.
"""


def _rounds(found: dict[str, Any]) -> int:
    return len(next(iter(next(iter(found["microseconds"].values())).values())))


def table(found: dict[str, Any]) -> str:
    """One row a side, ratios to the kernels in brackets."""
    rows = []
    for side, size_mib in found["size_mib"].items():
        cells = [WORDS[side]]
        for case in found["microseconds"].values():
            each = median(case[side])
            cells.append(f"{each:,.0f} ({each / median(case['native']):.1f})")
        start = found["start"][side]
        cells += [f"{start[key]:.2f}" if start else "–" for key in ("import", "cold", "warm")]
        rows.append(
            [*cells, f"{size_mib:,.1f}" if size_mib < 10 else f"{size_mib:,.0f}", f"{found['lines'][side]:,}"]
        )
    cases = [f"{name} µs (ratio)" for name in found["microseconds"]]
    heads = ["", *cases, "import s", "first call s", "cached s", "MiB", "lines"]
    text = "\n".join(markdown(heads, rows))
    if found["compiler_seconds"]:
        text += f"\n\nCompiling the kernels, once at installation: {found['compiler_seconds']:.0f} s."
    return text


if __name__ == "__main__":
    sys.exit(main())
