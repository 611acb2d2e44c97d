"""`proximo hybrid`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from proximo.cli.imports import uncollected
from proximo.recipes.hybrid_fields import FIELDS, FLAGS, HINTS, REQUIRED, SWITCHES

EXAMPLE = """example:
  proximo hybrid --dataset mujoco --env walker2d --names expert-v0 \\
    --hparam_bc Walker2d-v4-bc-large --hparam_hybrid Walker2d-v4-hybrid --seed 42

Killed at any moment, the same command goes on where it was."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    hybrid = commands.add_parser(
        "hybrid",
        parents=[common],
        help="clone demonstrations, then train on with them",
        description="Clone recorded behaviour, take the best checkpoint, and train PPO from there on fresh and "
        "recorded steps together.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    hybrid.add_argument(
        "items", nargs="*", default=[], metavar="key=value", help=FIELDS["settings"].metadata["help"]
    )
    for name, flag in FLAGS.items():
        spellings = dict.fromkeys([flag, flag.replace("_", "-")])
        meaning = FIELDS[name].metadata["help"]
        default = FIELDS[name].default
        if name in SWITCHES:
            hybrid.add_argument(*spellings, action="store_true", help=meaning)
        elif HINTS[name] == list[str]:
            hybrid.add_argument(
                *spellings, nargs="+", metavar="NAME", help=meaning, required=name in REQUIRED
            )
        elif name in REQUIRED:
            hybrid.add_argument(*spellings, metavar="NAME", help=meaning, required=True)
        else:
            shown = f"{meaning} (default: {default})" if default is not None else meaning
            hybrid.add_argument(*spellings, metavar="X", help=shown)
    hybrid.set_defaults(run=_hybrid)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What was given explicitly, as values."""
    from proximo.config import text

    options = {name: getattr(args, name) for name in FLAGS if hasattr(args, name)}
    items = list(args.items)
    for name, value in options.items():
        if isinstance(value, str) and HINTS[name] in (int, float):
            options[name] = text.parse(value, FLAGS[name], lines=False)
        elif isinstance(value, list):
            # `--names expert-v0 ppo.epochs=4`: settings may stand behind a list.
            items += [word for word in value if "=" in word]
            options[name] = [word for word in value if "=" not in word]
    return options | ({"settings": items} if items else {})


def _hybrid(args: argparse.Namespace) -> int:
    with uncollected():
        from proximo.recipes import hybrid

    ask = _ask if sys.stdin is not None and sys.stdin.isatty() else None
    result = hybrid.run(options_of(args), verbosity=args.verbosity, ask=ask)
    print("\n".join(result.lines))
    return 0


def _ask(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        # Ctrl-D: no answer.
        return ""
