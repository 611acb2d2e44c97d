"""`proximo therapy train|eval|compare|curves`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from proximo.cli.imports import uncollected
from proximo.errors import UserError
from proximo.recipes.therapy_fields import FIELDS, FLAGS, HINTS

AGENT = "a run, a checkpoint, models/NAME or a checkpoint in it, or an experiment's name"
SCRIPTED = ("complement", "random", "warm", "omniscient")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    group = commands.add_parser(
        "therapy",
        parents=[common],
        help="train and compare therapists of the simulated client",
        description="Train therapists of the simulated client, and compare them with scripted ones.",
    )
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_train(verbs, common)
    _add_eval(verbs, common)
    _add_compare(verbs, common)
    curves = verbs.add_parser(
        "curves",
        parents=[common],
        help="learning curves on one HTML page",
        description="Write one self-contained HTML page with the learning curves of trainings.",
    )
    curves.add_argument("items", nargs="+", metavar="training", help="a run, models/NAME, or a NAME")
    curves.add_argument("--out", type=Path, default=Path("curves.html"), metavar="FILE", help="the page")
    curves.set_defaults(run=_curves)


def _add_train(verbs: Any, common: argparse.ArgumentParser) -> None:
    train = verbs.add_parser(
        "train",
        parents=[common],
        help="train a therapist",
        description="Train a therapist from a flat YAML file, from options, or both: an option wins over the file.",
        argument_default=argparse.SUPPRESS,
    )
    train.add_argument("items", nargs="*", default=[], metavar="key=value", help="further settings (ppo.…)")
    train.add_argument("--config", type=Path, default=None, metavar="FILE", help="a flat YAML file")
    train.add_argument(
        "--resume-from",
        default=None,
        metavar="CHECKPOINT",
        help="go on from models/NAME/checkpoint_STEP, policy_best or policy_final",
    )
    for name, flag in FLAGS.items():
        meaning = FIELDS[name].metadata["help"]
        if HINTS[name] is bool:
            train.add_argument(flag, action=argparse.BooleanOptionalAction, help=meaning)
        elif HINTS[name] == list[str]:
            train.add_argument(flag, nargs="+", metavar="NAME", help=meaning)
        else:
            train.add_argument(flag, metavar="X", help=meaning)
    train.set_defaults(run=_train)


def _add_clients(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", default="200", metavar="N", help="clients of each kind (default 200)")
    parser.add_argument("--seed", default=None, metavar="S", help="seed of the first client")
    parser.add_argument("--max-sessions", default=None, metavar="N", help="sessions before an episode is cut")
    parser.add_argument("--entropy", default=None, metavar="X", help="temperature of the client's choice")
    parser.add_argument(
        "--stochastic", action="store_true", help="agents sample answers instead of taking the mode"
    )
    parser.add_argument(
        "--patterns", nargs="+", default=None, metavar="NAME", help="patterns (default: as the first agent’s)"
    )


def _add_eval(verbs: Any, common: argparse.ArgumentParser) -> None:
    evaluate = verbs.add_parser(
        "eval",
        parents=[common],
        help="how good a therapist is, beside the complementary one",
        description="Let a trained therapist and the always complementary one treat the same clients.",
    )
    evaluate.add_argument("agent", help=AGENT)
    _add_clients(evaluate)
    evaluate.add_argument("--mechanism", default=None, metavar="NAME", help="default: as trained")
    evaluate.add_argument("--threshold", default=None, metavar="X", help="default: as trained")
    evaluate.add_argument("--json", action="store_true", help="print JSON, a record per line")
    evaluate.set_defaults(run=_eval)


def _add_compare(verbs: Any, common: argparse.ArgumentParser) -> None:
    compare = verbs.add_parser(
        "compare",
        parents=[common],
        help="agents and scripted therapists with the same clients",
        description="Let agents and scripted therapists treat the same clients; write one self-contained HTML page.",
    )
    compare.add_argument("items", nargs="*", default=[], metavar="agent", help=AGENT)
    compare.add_argument(
        "--therapists",
        nargs="+",
        default=list(SCRIPTED),
        metavar="NAME",
        help=f"scripted ones (default: {' '.join(SCRIPTED)})",
    )
    _add_clients(compare)
    compare.add_argument(
        "--mechanisms", nargs="+", default=None, metavar="NAME", help="default: the first agent’s"
    )
    compare.add_argument(
        "--thresholds", nargs="+", default=None, metavar="X", help="default: the first agent’s"
    )
    compare.add_argument("--against", default="complement", metavar="NAME", help="default: complement")
    compare.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE", help="the page")
    compare.add_argument("--json", type=Path, default=None, metavar="FILE", help="also as JSON")
    compare.set_defaults(run=_compare)


def _train(args: argparse.Namespace) -> int:
    from proximo.config import text

    with uncollected():
        from proximo.recipes import therapy, therapy_config, therapy_places

    options = {name: getattr(args, name) for name in FLAGS if hasattr(args, name)}
    items = list(args.items)
    for name, value in options.items():
        if isinstance(value, str) and HINTS[name] not in (str, str | None):
            options[name] = text.parse(value, FLAGS[name], lines=False)
        elif isinstance(value, list):
            # `--patterns cold_stuck ppo.epochs=4`: settings may stand behind a list.
            items += [word for word in value if "=" in word]
            options[name] = [word for word in value if "=" not in word]
    if items:
        options["settings"] = items
    origin = None if args.resume_from is None else therapy_places.origin(args.resume_from)
    if origin is None:
        resolved = therapy_config.resolve(args.config, options)
    else:
        resolved = therapy_config.resolve_over(origin.config, args.config, options)
    if args.verbosity >= 0:
        print("".join(f"{line}\n" for line in resolved.lines()), end="", flush=True)
    if origin is None:
        result = therapy.start(resolved, verbosity=args.verbosity)
    else:
        result = therapy.go_on(origin, resolved, verbosity=args.verbosity)
    print(f"{result.summary}\nmodels: {resolved.config.models}\ncurves: {resolved.config.progress_file}")
    return 0


def _eval(args: argparse.Namespace) -> int:
    args.items, args.therapists, args.against = [args.agent], ["complement"], "complement"
    args.mechanisms = None if args.mechanism is None else [args.mechanism]
    args.thresholds = None if args.threshold is None else [args.threshold]
    _judge(args, print_json=args.json)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from proximo.recipes import therapy_report

    therapy_report.check_file("--out", args.out)
    therapy_report.check_file("--json", args.json)
    cells, clients, seed = _judge(args)
    if args.json is not None:
        from proximo.runs.files import replace_file

        replace_file(args.json, json.dumps(therapy_report.values(cells, args.against), indent=1) + "\n")
    print(f"report: {therapy_report.write(cells, args.against, args.out, clients, seed)}")
    return 0


def _judge(args: argparse.Namespace, *, print_json: bool = False) -> tuple[list[Any], int, int]:
    from proximo.recipes import therapy_judge, therapy_report

    clients = _number("--clients", args.clients, 1)
    seed = therapy_judge.FIRST_SEED if args.seed is None else _number("--seed", args.seed, 0)
    who = therapy_judge.therapists(args.items, args.therapists, stochastic=args.stochastic)
    if args.against not in who:
        raise UserError(f"--against {args.against}: is none of {', '.join(who)}")
    base, trained = therapy_judge.clients_of(who)
    for name in ("max_sessions", "entropy"):
        given = getattr(args, name)
        base |= {} if given is None else {name: _value(f"--{name.replace('_', '-')}", given)}
    thresholds = [_value("--thresholds", word) for word in args.thresholds or [str(trained.threshold)]]
    patterns, mechanisms = args.patterns or trained.patterns, args.mechanisms or [trained.mechanism]
    grid = therapy_judge.Grid(tuple(patterns), tuple(mechanisms), tuple(thresholds))
    grid.check(base)
    cells = []
    for cell in therapy_judge.cells(who, base, grid, clients, seed):
        cells.append(cell)
        if print_json:
            for record in therapy_report.values([cell], args.against):
                print(json.dumps(record))
        elif args.verbosity >= 0:
            print("\n".join(therapy_report.lines(cell, args.against)), flush=True)
    return cells, clients, seed


def _curves(args: argparse.Namespace) -> int:
    from proximo.recipes.therapy_places import run_of
    from proximo.runs.report import write_report

    print(f"curves: {write_report([run_of(name) for name in args.items], args.out)}")
    return 0


def _value(flag: str, word: str) -> Any:
    from proximo.config import text

    value = text.parse(word, flag, lines=False)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{flag} {word}: must be a number")
    return value


def _number(flag: str, word: str, least: int) -> int:
    value = _value(flag, word)
    if not float(value).is_integer() or value < least:
        raise UserError(f"{flag} {word}: must be a whole number of at least {least}")
    return int(value)
