"""The command line: finds the command, calls it, turns errors into one line and an exit code.

Nothing here may import torch or gymnasium: commands import what they need when they run.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from proximo.cli import agents, bench, config, demos, doctor, envs, hybrid, runs, therapy, training
from proximo.errors import ProximoError, RunError, UserError, in_one_line, out_of_memory

EXAMPLES = """examples:
  proximo train CartPole-v1
  proximo train BipedalWalker-v3 ppo.total_steps=2e6 seed=1
  proximo train my_experiment.yaml seeds=5 jobs=2
  proximo resume runs/CartPole-v1/ppo-20260101-120000
  proximo eval runs/CartPole-v1/ppo-20260101-120000 --episodes 100
  proximo play runs/CartPole-v1/ppo-20260101-120000 --video out.mp4

Settings are written as key=value; `proximo config explain CartPole-v1` lists them all."""

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line, like every other."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each leaves its function in `run`."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-v", "--verbose", action="count", help="more output")
    common.add_argument("-q", "--quiet", action="store_true", help="only warnings and the result")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = _Parser(
        prog="proximo",
        description="Train, resume, evaluate and play PPO agents on any Gymnasium environment.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for group in (training, agents, runs, envs, therapy, demos, hybrid, bench, doctor, config):
        group.add_commands(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives back 0, 1 (failed while running), 2 (bad request) or 130 (interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        return _explained(words)
    except ProximoError as error:
        return _report(error, debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (such as `head`) is gone; nothing more can be written, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _explained(words: list[str]) -> int:
    """Run a command line; what nobody foresaw (a bug of ours or of the user's) becomes one line too."""
    try:
        return _run(words)
    except (ProximoError, BrokenPipeError):
        raise
    except Exception as error:
        text = in_one_line(error)
        if out_of_memory(error):
            cure = "make env.num_envs, ppo.num_steps, ppo.minibatch_size or the networks (policy.*) smaller"
            raise RunError(f"out of memory; {cure} ({text})") from error
        raise RunError(f"{text} (unexpected; --debug shows where)") from error


def _run(words: list[str]) -> int:
    parser = build_parser()
    _check_command(words, parser)
    args, rest = parser.parse_known_args(words)
    if args.version:
        from importlib.metadata import version

        print(f"proximo {version('proximo')}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    args.verbosity = -1 if getattr(args, "quiet", False) else getattr(args, "verbose", 0)
    _take_rest(args, rest)
    code: int = args.run(args)
    return code


def _take_rest(args: argparse.Namespace, rest: list[str]) -> None:
    # argparse ends a list of words at the first option: `train X --untuned seed=1` leaves `seed=1` over.
    for word in rest:
        if word.startswith("-") and "=" in word and hasattr(args, "items"):
            raise UserError(f"{word}: settings are written without dashes: {word.lstrip('-')}")
        if word.startswith("-") or not hasattr(args, "items"):
            raise UserError(f"{word}: unknown argument (see `proximo {args.command} --help`)")
        args.items = [*args.items, word]


def _check_command(words: list[str], parser: argparse.ArgumentParser) -> None:
    known = list(_commands(parser))
    first = next((word for word in words if not word.startswith("-")), None)
    if first is None or first in known:
        return
    if first.endswith((".yaml", ".yml")) or "-v" in first or ":" in first:
        raise UserError(f"{first}: name a command first: proximo train {first}")
    near = difflib.get_close_matches(first, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(known)}"
    raise UserError(f"{first}: no such command; {hint}")


def _commands(parser: argparse.ArgumentParser) -> dict[str, Any]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def _report(error: ProximoError, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    for line in str(error).splitlines() or [type(error).__name__]:
        print(f"error: {line}", file=sys.stderr)
    return error.exit_code
