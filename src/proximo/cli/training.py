"""`proximo train` and `proximo resume`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proximo.cli.imports import uncollected
from proximo.errors import UserError

if TYPE_CHECKING:
    from proximo.launch import Result


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    train = commands.add_parser(
        "train",
        parents=[common],
        help="train an agent",
        description="Train on an environment (with its tuned settings, if it has any) or after a YAML file.",
    )
    train.add_argument("source", help="an environment's id, module:Class, or a YAML file")
    train.add_argument(
        "items",
        nargs="*",
        default=[],
        metavar="key=value",
        help="settings; seeds=5 jobs=2 trains five seeds, two at a time",
    )
    train.add_argument(
        "--untuned", action="store_true", help="plain defaults even where tuned settings exist"
    )
    train.add_argument("--result", type=Path, metavar="FILE", help="also write the result to this JSON file")
    train.set_defaults(run=_train)
    resume = commands.add_parser(
        "resume",
        parents=[common],
        help="continue a run from its last checkpoint",
        description="Continue a run as if it had never stopped; ppo.total_steps=… makes it longer.",
    )
    resume.add_argument("path", help="the run's folder, a checkpoint inside it, or a beginning of its name")
    resume.add_argument("items", nargs="*", default=[], metavar="key=value", help="settings to change")
    resume.add_argument("--result", type=Path, metavar="FILE", help="also write the result to this JSON file")
    resume.set_defaults(run=_resume)


def _train(args: argparse.Namespace) -> int:
    from proximo.cli import seeds
    from proximo.config.load import load_traced

    _check_writable(args.result)
    plan, items = seeds.split(args.items)
    loaded = load_traced(args.source, items, untuned=args.untuned)
    told: list[str] = []
    if args.verbosity >= 0:
        if loaded.tuned:
            told.append(f"settings: tuned for {loaded.tuned} (--untuned for plain defaults)")
        if loaded.translation is not None:
            told += loaded.translation.lines
        print("".join(f"{line}\n" for line in told), end="", flush=True)
    if args.verbosity == 0 and loaded.translation is not None:
        # Such a file may also say how loud to be, which options overrule.
        args.verbosity = loaded.translation.verbosity or 0
    if plan is not None:
        return seeds.run(plan, loaded.experiment, args.source, items, _flags(args), told)
    with uncollected():
        from proximo.launch import train

    return _finish(train(loaded.experiment, verbosity=args.verbosity), args.result)


def _flags(args: argparse.Namespace) -> list[str]:
    """The options that the process of each seed takes over."""
    loudness = ["--quiet"] if args.verbosity < 0 else ["--verbose"] * args.verbosity
    return [*loudness, *(["--untuned"] if args.untuned else [])]


def _resume(args: argparse.Namespace) -> int:
    with uncollected():
        from proximo.launch import resume

    _check_writable(args.result)
    return _finish(resume(args.path, args.items, verbosity=args.verbosity), args.result)


def _check_writable(file: Path | None) -> None:
    # Before hours of training, not after them.
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK)):
        raise UserError(f"--result {file}: cannot be written there")


def _finish(result: Result, file: Path | None) -> int:
    if file is not None:
        values = {
            "run": str(result.run),
            "step": result.step,
            "return_mean": result.return_mean,
            "status": result.status,
        }
        file.write_text(json.dumps(values) + "\n", encoding="utf-8")
    print(result.summary, flush=True)
    return 0
