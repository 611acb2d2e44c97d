"""`proximo envs` and `proximo check-env`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from proximo.cli.doctor import missing
from proximo.errors import UserError

FAMILIES = {
    "proximo": ("proximo.envs", None),
    "classic_control": ("gymnasium.envs.classic_control", None),
    "toy_text": ("gymnasium.envs.toy_text", None),
    "box2d": ("gymnasium.envs.box2d", "box2d"),
    "mujoco": ("gymnasium.envs.mujoco", "mujoco"),
    "atari": ("ale_py", "atari"),
    "nethack": ("nle.", "nethack"),
    "minihack": ("minihack.", "nethack"),
}
"""Family → (beginning of its entry points, the extra it needs)."""
SHOWN = 16


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    envs = commands.add_parser(
        "envs",
        parents=[common],
        help="list the installed environments",
        description="List the installed Gymnasium environments by family; * marks tuned settings.",
    )
    envs.add_argument("text", nargs="?", default="", help="only ids that contain this")
    envs.set_defaults(run=_envs)
    check = commands.add_parser(
        "check-env",
        parents=[common],
        help="examine an environment",
        description="Examine spaces, dtypes, rewards, NaN, seeds, end flags, speed and the random return.",
    )
    check.add_argument("source", help="an environment's id, module:Class, or a YAML file")
    check.add_argument(
        "items", nargs="*", default=[], metavar="key=value", help="settings such as env.kwargs.size=5"
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=_check_env)


def _envs(args: argparse.Namespace) -> int:
    from proximo.config.load import tuned_ids

    tuned, lines = set(tuned_ids()), []
    for family, ids in installed().items():
        found = ids if args.text == family else [name for name in ids if args.text.lower() in name.lower()]
        extra = FAMILIES.get(family, ("", None))[1]
        lacking = missing(extra) if extra else []
        if lacking and args.text in ("", family):
            lines.append(f"{family}: not installed: pip install 'proximo[{extra}]'")
        elif found:
            tuned_first = sorted(found, key=lambda name: name not in tuned)
            shown = found if args.text or len(found) <= SHOWN else tuned_first[:SHOWN]
            more = len(found) - len(shown)
            names = [f"{name}*" if name in tuned else name for name in shown]
            tail = f" … and {more} more: proximo envs {family}" if more else ""
            lines.append(f"{family}: {', '.join(names)}{tail}")
    if not lines:
        raise UserError(f"no environment's id contains {args.text!r}; `proximo envs` lists the families")
    print("\n".join(lines))
    print("* tuned settings are included" if tuned else "no tuned settings are included")
    return 0


def installed() -> dict[str, list[str]]:
    """Registered Gymnasium ids by family; of several versions of an environment the newest."""
    import gymnasium

    if not missing("atari"):
        import ale_py  # noqa: F401  (registers its environments)
    from proximo.envs import nethack

    if nethack.installed():
        nethack.register()
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for spec in gymnasium.registry.values():
        if not isinstance(spec.entry_point, str):
            # Placeholders for environments that were removed; making one only raises.
            continue
        family = _family(spec.entry_point)
        key = (family, f"{spec.namespace}/{spec.name}")
        newest[key] = max(newest.get(key, (-1, "")), (spec.version or 0, spec.id))
    families: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for (family, _), (_, name) in sorted(newest.items()):
        families.setdefault(family, []).append(name)
    return families


def _family(entry_point: str) -> str:
    for name, (start, _) in FAMILIES.items():
        if entry_point.startswith(start):
            return name
    return entry_point.partition(":")[0].removeprefix("gymnasium.envs.").partition(".")[0]


def _check_env(args: argparse.Namespace) -> int:
    from proximo.config.load import load_experiment
    from proximo.envs.check import check_env

    report = check_env(load_experiment(args.source, args.items).env)
    print(json.dumps(report.as_dict()) if args.json else report)
    return 0 if report.ok else 1
