"""`proximo demos record|info|list|download`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proximo.errors import UserError

if TYPE_CHECKING:
    from proximo.config.experiment import EnvConfig
    from proximo.demos.record import Demonstrator

NAME = "a data set, such as mujoco/walker2d/medium-v0"


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    group = commands.add_parser(
        "demos",
        parents=[common],
        help="record, download and examine demonstrations",
        description="Data sets of demonstrations, in Minari's format and folder.",
    )
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_record(verbs, common)
    info = verbs.add_parser(
        "info",
        parents=[common],
        help="what a data set holds",
        description="Show returns, lengths, spaces and whether log-probabilities were recorded.",
    )
    info.add_argument("names", nargs="+", metavar="NAME", help=f"{NAME}; several are combined")
    info.add_argument(
        "--json", action="store_true", help="print one JSON object, returns and lengths included"
    )
    info.set_defaults(run=_info)
    listing = verbs.add_parser(
        "list",
        parents=[common],
        help="the data sets on this disk",
        description="List the data sets on this disk.",
    )
    listing.add_argument("text", nargs="?", default="", help="only names that contain this")
    listing.add_argument("--json", action="store_true", help="print one JSON array")
    listing.set_defaults(run=_list)
    download = verbs.add_parser(
        "download",
        parents=[common],
        help="get data sets from Minari's collection",
        description="Download data sets that are not on this disk, from $MINARI_REMOTE or Minari's collection.",
    )
    download.add_argument("names", nargs="+", metavar="NAME", help=NAME)
    download.add_argument("--force", action="store_true", help="replace what is on this disk")
    download.set_defaults(run=_download)


def _add_record(verbs: Any, common: argparse.ArgumentParser) -> None:
    record = verbs.add_parser(
        "record",
        parents=[common],
        help="record a data set",
        description="Record whole episodes of a trained agent, a scripted policy or a person as a data set.",
    )
    record.add_argument("source", help="a run; with --policy also an environment's id or a YAML file")
    record.add_argument(
        "items", nargs="*", default=[], metavar="key=value", help="settings of the environment (env.…)"
    )
    record.add_argument("--dataset", required=True, metavar="NAME", help=f"its name: {NAME}")
    record.add_argument("--episodes", type=_count, default=100, metavar="N", help="episodes (default 100)")
    record.add_argument(
        "--policy",
        metavar="WHO",
        help="random, keyboard, a scripted therapist, or module:Class (default: the run's agent)",
    )
    record.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of episodes and actions (default 0)"
    )
    record.add_argument(
        "--deterministic", action="store_true", help="the agent takes the mode: no log-probabilities"
    )
    record.add_argument(
        "--min-return", type=float, metavar="R", help="keep only episodes with a return of at least R"
    )
    record.add_argument(
        "--checkpoint", choices=("best", "last"), help="of the run (default: best, else newest)"
    )
    keyboard = record.add_argument_group("a person at the keyboard (--policy keyboard)")
    keyboard.add_argument(
        "--keys",
        metavar="MAP",
        help="keys and actions, such as '{left: 0, right: 1, none: 2}'; with `none` time goes on by itself",
    )
    keyboard.add_argument(
        "--view", choices=("auto", "window", "terminal"), default="auto", help="where to play (default auto)"
    )
    keyboard.add_argument("--fps", type=float, metavar="X", help="steps a second (default: as it declares)")
    record.add_argument("--format", choices=("hdf5", "arrow"), default="hdf5", help="files (default hdf5)")
    record.add_argument("--overwrite", action="store_true", help="replace a data set of this name")
    record.add_argument("--json", action="store_true", help="print one JSON object")
    record.set_defaults(run=_record)


def _count(word: str) -> int:
    number = int(float(word)) if word.replace("e", "").replace(".", "").isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word}: must be a whole number of at least 1")
    return number


def _record(args: argparse.Namespace) -> int:
    from proximo.demos import store
    from proximo.recipes.demos import record_demos

    store.require_minari()
    store.check_name(args.dataset)
    config, who = _who(args)
    made = record_demos(
        config,
        who,
        args.dataset,
        args.episodes,
        args.seed,
        format_=args.format,
        overwrite=args.overwrite,
        min_return=-math.inf if args.min_return is None else args.min_return,
        say=_say(args),
    )
    summary = made.summary
    if args.json:
        kept = {"returns": summary.returns, "lengths": summary.lengths, "tried": summary.tried}
        print(json.dumps({"path": str(made.path), **kept}))
        return 0
    if summary.stopped:
        print(f"stopped: {len(summary.returns)} of {args.episodes} episodes were finished and are kept")
    elif args.min_return is not None:
        print(f"{len(summary.returns)} of {summary.tried} episodes reached a return of {args.min_return:g}")
    print(f"{args.dataset}: {len(summary.returns)} episodes, {summary.line()}")
    print(f"written: {made.path}")
    return 0


def _say(args: argparse.Namespace) -> Callable[[str], None]:
    if args.json or args.verbosity < 0:
        return lambda line: None
    return lambda line: print(line, flush=True)


def _who(args: argparse.Namespace) -> tuple[EnvConfig, Demonstrator]:
    """The environment and who acts in it."""
    from proximo.demos.scripted import KEYBOARD, scripted
    from proximo.recipes.demos import agent_demonstrator, environment_of

    if args.policy != KEYBOARD and (args.keys or args.fps or args.view != "auto"):
        raise UserError("--keys, --view and --fps are for --policy keyboard")
    if args.policy is None:
        return agent_demonstrator(
            args.source,
            args.seed,
            args.items,
            deterministic=args.deterministic,
            checkpoint=args.checkpoint,
            say=_say(args),
        )
    if args.deterministic or args.checkpoint:
        raise UserError("--deterministic and --checkpoint are about a run's agent: leave out --policy")
    config = environment_of(args.source, args.items)
    if args.policy == KEYBOARD:
        from proximo.demos.person import person

        return config, person(config, keys=args.keys, view=args.view, fps=args.fps)
    return config, scripted(args.policy, config, args.seed)


def _info(args: argparse.Namespace) -> int:
    from proximo.demos.info import describe
    from proximo.demos.minari import load_demos
    from proximo.runs.statistics import mean_ci95

    found = describe(load_demos(args.names, download=False, say=lambda line: None))
    low, high = mean_ci95(found["returns"])
    if args.json:
        print(json.dumps({**found, "return_ci95": None if found["episodes"] < 2 else [low, high]}))
        return 0
    for line in _table(found, (low, high)):
        print(line)
    return 0


def _table(found: dict[str, Any], interval: tuple[float, float]) -> list[str]:
    ends = f"{found['terminated']:,} terminated, {found['truncated']:,} truncated"
    spread = f"from {found['return_min']:.2f} to {found['return_max']:.2f}"
    if found["episodes"] > 1:
        spread = f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}, {spread}"
    words = {
        "environment": "",
        "unclipped": ", of actions before clipping",
        "squashed": ", of squashed actions",
    }
    known = found["log_probabilities"]
    rows = [
        ("environment", found["env"] or "not recorded"),
        ("recorded by", ", ".join(policy or "not recorded" for policy in found["policies"])),
        ("episodes", f"{found['episodes']:,} ({ends})"),
        ("steps", f"{found['steps']:,}"),
        ("return", f"{found['return_mean']:.2f}, {spread}"),
        ("length", f"{found['length_mean']:.1f} steps, from {found['length_min']} to {found['length_max']}"),
        *(("observation", f"{key}: {space}") for key, space in found["observations"].items()),
        ("actions", found["actions"]),
        ("log-probabilities", "recorded" + words[found["action_form"]] if known else "not recorded"),
        (
            "files",
            f"{', '.join(found['formats'])}; {found['bytes'] / 1e6:.1f} MB of observations and actions",
        ),
    ]
    return [", ".join(found["names"]), *(f"{name:<18}{value}" for name, value in rows)]


def _list(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from proximo.demos import store

    found = [each for each in store.local() if args.text in each.name]
    if args.json:
        print(json.dumps([asdict(each) for each in found]))
        return 0
    if not found:
        which = f" whose name contains {args.text!r}" if args.text else ""
        print(
            f"no data set{which} in {store.root()}; proximo demos record and proximo demos download make some"
        )
        return 0
    for each in found:
        print(
            f"{each.name}  {each.env_id or '?'}, {each.episodes:,} episodes, {each.steps:,} steps, {each.format}"
        )
    return 0


def _download(args: argparse.Namespace) -> int:
    from proximo.demos import store
    from proximo.demos.fetch import fetch

    for name in args.names:
        if store.present(store.check_name(name)) and not args.force:
            print(f"{name}: already in {store.root()} (--force replaces it)")
            continue
        print(f"{name}: {fetch(name, say=lambda line: print(line, flush=True))}")
    return 0
