"""`proximo bench` and `proximo bench env`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from proximo.errors import UserError

EXAMPLES = """examples:
  proximo bench                                        every installed peer, workloads W1 to W5
  proximo bench --workloads W1 --peers sb3 cleanrl --repeats 5 --out bench.json
  proximo bench --peers none ppo.epochs=1              Proximo alone, with a setting of its own
  proximo bench env HalfCheetah-v5 --num-envs 16       which env.backend is fastest here"""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    bench = commands.add_parser(
        "bench",
        parents=[common],
        help="measure speed against other libraries, or an environment's backends",
        description="Measure Proximo and every installed peer, in turn, each in processes of its own.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("items", nargs="*", default=[], metavar="env ID | key=value", help="see the examples")
    bench.add_argument("--workloads", nargs="+", metavar="NAME", help="such as W1 W2a")
    bench.add_argument("--peers", nargs="+", metavar="NAME", help="such as sb3 cleanrl; none: Proximo alone")
    bench.add_argument("--repeats", type=int, default=3, help="measurements of each side (default 3)")
    bench.add_argument("--steps-scale", type=float, default=1.0, metavar="X", help="X times the steps")
    bench.add_argument("--python", default=sys.executable, metavar="FILE", help="interpreter with the peers")
    bench.add_argument("--scripts", type=Path, metavar="DIR", help="folder of the peers' scripts")
    bench.add_argument(
        "--timeout", type=float, default=1800.0, metavar="S", help="seconds a measurement may take"
    )
    bench.add_argument("--out", type=Path, metavar="FILE", help="also write everything to this JSON file")
    bench.add_argument("--num-envs", type=int, metavar="N", help="bench env: how many copies (default 8)")
    bench.set_defaults(run=_bench)


def _bench(args: argparse.Namespace) -> int:
    if args.items and args.items[0] == "env":
        return _env(args)
    return _peers(args)


def _peers(args: argparse.Namespace) -> int:
    from proximo.bench import compare, peers, workloads
    from proximo.bench.table import render

    for word in args.items:
        if "=" not in word:
            raise UserError(
                f"{word}: bench takes key=value settings of Proximo's side, or `bench env {word}`"
            )
    if args.repeats < 1 or args.steps_scale <= 0:
        raise UserError("--repeats must be at least 1 and --steps-scale above 0")
    _check_writable(args.out)
    able, left_out = workloads.choose(args.workloads)
    chosen = [workload.scaled(args.steps_scale) for workload in able]
    # Measured processes run in a folder of their own; a virtual environment's link must stay a link.
    python = str(Path(args.python).absolute()) if "/" in args.python else args.python
    have = peers.installed(python) if args.peers != ["none"] else {}
    sides, absent = peers.choose(args.peers, have)
    scripts = peers.find_scripts(args.scripts) if sides else None
    plan = compare.Plan(chosen, sides, scripts, python, args.repeats, tuple(args.items), args.timeout)
    for line in [*left_out, *absent, *filter(None, [compare.busy()])]:
        print(line, flush=True)
    results = compare.run(plan, lambda text: print(text, flush=True) if args.verbosity >= 0 else None)
    for workload in chosen:
        print(f"\n{render(workload, results[workload.name])}")
    if args.out is not None:
        args.out.write_text(json.dumps(compare.document(plan, results, have), indent=1), encoding="utf-8")
        print(f"\nwritten: {args.out}")
    failed = any("error" in side for result in results.values() for side in result["medians"].values())
    return 1 if failed else 0


def _env(args: argparse.Namespace) -> int:
    from proximo.bench.table import aligned
    from proximo.config.load import load_experiment
    from proximo.envs.candidates import measure
    from proximo.envs.winners import remember

    if len(args.items) < 2:
        raise UserError("bench env: name an environment: proximo bench env HalfCheetah-v5")
    _check_writable(args.out)
    config = load_experiment(args.items[1], args.items[2:]).env
    if args.num_envs is not None:
        config = type(config)(**{**config.model_dump(), "num_envs": args.num_envs})
    found = measure(config)
    print(f"{config.id}, {config.num_envs} copies, random actions")
    for line in aligned([("backend", "steps/s", "start-up s"), *(row.cells for row in found)]):
        print(line)
    best = found[0]
    if best.steps_per_second is None:
        raise UserError(f"{config.id}: no backend can step it: {best.reason}")
    print(f"fastest: {best.backend}; remembered in {remember(config, best.backend)}")
    if args.out is not None:
        rows = [row.as_dict() for row in found]
        args.out.write_text(
            json.dumps({"env": config.model_dump(), "backends": rows}, indent=1), encoding="utf-8"
        )
    return 0


def _check_writable(path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
