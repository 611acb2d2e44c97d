"""`proximo config show|schema|explain`."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    config = commands.add_parser("config", parents=[common], help="show, explain or check a configuration")
    verbs = config.add_subparsers(dest="verb", metavar="show|schema|explain", required=True)
    show = verbs.add_parser("show", parents=[common], help="the whole configuration as YAML")
    _source(show, "settings")
    show.add_argument("--comments", action="store_true", help="with the meaning of each field")
    show.set_defaults(run=_show)
    explain = verbs.add_parser(
        "explain", parents=[common], help="every field, its value, where that came from and what it means"
    )
    _source(explain, "settings, or keys to show only these (such as ppo.clip)")
    explain.set_defaults(run=_explain)
    schema = verbs.add_parser(
        "schema", parents=[common], help="JSON Schema of the configuration, for editors"
    )
    schema.add_argument("source", nargs="?", help=argparse.SUPPRESS)
    schema.set_defaults(run=_schema)


def _source(parser: argparse.ArgumentParser, items: str) -> None:
    parser.add_argument("source", help="an environment's id or a YAML file")
    parser.add_argument("items", nargs="*", default=[], metavar="key=value", help=items)
    parser.add_argument(
        "--untuned", action="store_true", help="plain defaults even where tuned settings exist"
    )


def _show(args: argparse.Namespace) -> int:
    from proximo.config.load import dump_experiment, load_experiment

    experiment = load_experiment(args.source, args.items, untuned=args.untuned)
    print(dump_experiment(experiment, comments=args.comments), end="")
    return 0


def _explain(args: argparse.Namespace) -> int:
    from proximo.config.load import explain, load_traced

    settings = [item for item in args.items if "=" in item]
    keys = [item for item in args.items if "=" not in item]
    print(explain(load_traced(args.source, settings, untuned=args.untuned), keys), end="")
    return 0


def _schema(args: argparse.Namespace) -> int:
    from proximo.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
