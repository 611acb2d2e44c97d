"""`proximo runs` and `proximo report`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from proximo.errors import UserError


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    runs = commands.add_parser("runs", parents=[common], help="list the runs", description="List the runs.")
    runs.add_argument("root", nargs="?", default="runs", help="folder of the runs (default: runs)")
    runs.add_argument("--json", action="store_true", help="print one JSON object per run")
    runs.set_defaults(run=_runs)
    report = commands.add_parser(
        "report",
        parents=[common],
        help="compare runs on one HTML page",
        description="Write one self-contained HTML page with curves, a table, videos and differing settings.",
    )
    report.add_argument("items", nargs="+", metavar="run", help="run folders")
    report.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="where to write it"
    )
    report.set_defaults(run=_report)


def _runs(args: argparse.Namespace) -> int:
    from proximo.runs.run import list_runs
    from proximo.runs.summary import summarise

    if not Path(args.root).is_dir():
        raise UserError(
            f"{args.root}: there is no such folder; `proximo train CartPole-v1` makes the first run"
        )
    rows = [summarise(run) for run in list_runs(args.root)]
    if args.json:
        for row in rows:
            values = {
                "path": str(row.path),
                "env": row.env,
                "name": row.name,
                "status": row.status.state,
                "step": row.step,
                "return_mean": row.return_mean,
                "eval_return_mean": row.eval_return_mean,
                "seed": row.seed,
            }
            print(json.dumps(values))
        return 0
    table: list[tuple[str, ...]] = [("run", "seed", "status", "steps", "return in training", "evaluated")]
    for row in rows:
        means = ("" if mean is None else f"{mean:.1f}" for mean in (row.return_mean, row.eval_return_mean))
        seed = "" if row.seed is None else str(row.seed)
        table.append((str(row.path), seed, row.status.state, f"{row.step:,}", *means))
    print_table(table, right=(1, 3, 4, 5))
    return 0


def print_table(rows: list[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
    """Print rows in aligned columns, the first as a heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _report(args: argparse.Namespace) -> int:
    from proximo.runs.report import write_report
    from proximo.runs.run import Run

    print(f"report: {write_report([Run.open(path).path for path in args.items], args.out)}")
    return 0
