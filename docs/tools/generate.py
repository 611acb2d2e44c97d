"""Writes the generated pages of the documentation: the configuration and the command line.

    python docs/tools/generate.py            write them
    python docs/tools/generate.py --check    exit 1 where a page is not what would be written

The strings under the fields of `Experiment` and in the argument parser are the only sources.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from proximo.cli.main import EXAMPLES, build_parser
from proximo.config import schema, text
from proximo.config.experiment import Experiment, Node

DOCS = Path(__file__).resolve().parent.parent
NOTE = "<!-- Written by docs/tools/generate.py; edit the strings it reads, not this page. -->\n\n"
CONFIG_HEAD = """# Configuration

Every key of an experiment: in a YAML file, as `key=value` on the command line, or as arguments of `Experiment` in
Python. Paths are joined with dots: `ppo.clip=0.1`. Only `env.id` is required. Unknown keys are refused, with the
nearest known one. Each line below gives the key, its default and what is allowed.

`proximo config explain CartPole-v1` prints the same with the values that an experiment really has and where each
came from; `proximo config schema` prints the JSON Schema.

"""
CLI_HEAD = """# Command line

Every command takes the options at the end of this page. The exit code is 0, 1 (failed while running), 2 (a request
that cannot be carried out) or 130 (interrupted). An error is one line on standard error that begins with `error:`.

"""


def config_page() -> str:
    """The configuration reference as Markdown."""
    seen: dict[tuple[type[Node], ...], str] = {}
    return NOTE + CONFIG_HEAD + "".join(_node(Experiment, "", 1, seen)).rstrip() + "\n"


def _node(node: type[Node], path: str, level: int, seen: dict[tuple[type[Node], ...], str]) -> Iterator[str]:
    later: list[tuple[str, FieldInfo]] = []
    for name, field in node.model_fields.items():
        if _children(field):
            later.append((name, field))
        yield _bullet(name, field, f"{path}{name}")
    yield "\n"
    for name, field in later:
        yield from _section(field, f"{path}{name}", level + 1, seen)


def _section(
    field: FieldInfo, path: str, level: int, seen: dict[tuple[type[Node], ...], str]
) -> Iterator[str]:
    children = tuple(_children(field))
    inner = schema.element(field.annotation)
    full = path if inner is None else f"{path}.{inner[0]}"
    yield f"{'#' * min(level, 4)} `{full}`\n\n"
    if children in seen:
        yield f"The same as [`{seen[children]}`](#{_anchor(seen[children])}).\n\n"
        return
    seen[children] = full
    if len(children) == 1:
        yield _doc(children[0]) + "\n\n"
        yield from _node(children[0], f"{full}.", level, seen)
        return
    for child in children:
        tag = schema.tag(child)
        shown = "module:Class" if tag == "custom" else tag
        yield f"**`type: {shown}`** – {_doc(child)}\n\n"
        lines = [_bullet(n, f, f"{full}.{n}") for n, f in child.model_fields.items() if n != "type"]
        yield "".join(lines) + ("\n" if lines else "")


def _children(field: FieldInfo) -> list[type[Node]]:
    inner = schema.element(field.annotation)
    return schema.nodes(field.annotation if inner is None else inner[1])


def _bullet(name: str, field: FieldInfo, path: str) -> str:
    default = field.get_default()
    if default is schema.REQUIRED:
        given = "**required**"
    elif isinstance(default, Node) and "type" not in type(default).model_fields:
        given = ""
    else:
        given = f"`{text.scalar(_plain(default))}`"
    facts = " · ".join(part for part in (given, schema.allowed(field).replace("|", "\\|")) if part)
    meaning = field.description or (_doc(_children(field)[0]) if len(_children(field)) == 1 else "")
    return f"- **`{name}`** · {facts}" + (f"  \n  {meaning}\n" if meaning else "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        return value.model_dump(mode="json", exclude_defaults=False)
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _doc(node: type[Node]) -> str:
    return " ".join((node.__doc__ or "").split())


def _anchor(path: str) -> str:
    return "".join(c for c in path.lower() if c.isalnum() or c in "_-")


def cli_page() -> str:
    """The command line reference as Markdown."""
    parser = build_parser()
    common = {action.dest for action in parser._actions} - {"command", "version"}
    parts = [NOTE, CLI_HEAD, "```text\n", EXAMPLES.removeprefix("examples:\n"), "\n```\n\n"]
    parts += _commands(parser, "proximo", 2, common)
    shared = [a for a in parser._actions if a.option_strings]
    parts += ["## Options of every command\n\n", *map(_argument, shared)]
    return "".join(parts).rstrip() + "\n"


def _commands(parser: argparse.ArgumentParser, name: str, level: int, common: set[str]) -> Iterator[str]:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for verb, child in action.choices.items():
            own = [a for a in child._actions if a.dest not in common and a.help != argparse.SUPPRESS]
            words = [_usage(a) for a in own if not isinstance(a, argparse._SubParsersAction)]
            nested = any(isinstance(a, argparse._SubParsersAction) for a in own)
            yield f"{'#' * level} {name} {verb}\n\n"
            described = child.description or helps.get(verb, "")
            yield f"{described[:1].upper()}{described[1:].removesuffix('.')}.\n\n"
            if not nested:
                yield f"```text\n{' '.join([name, verb, *words])}\n```\n\n"
                lines = [_argument(a) for a in own]
                yield "".join(lines) + ("\n" if lines else "")
            yield from _commands(child, f"{name} {verb}", level + 1, common)


def _usage(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.option_strings:
        word = action.option_strings[0] + ("" if action.nargs == 0 else f" {shown}")
        return f"[{word}]"
    many = {"*": f"[{shown} …]", "+": f"{shown} [{shown} …]", "?": f"[{shown}]"}
    return many.get(str(action.nargs), shown)


def _argument(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    if not action.option_strings:
        return f"- `{shown}` – {action.help}\n"
    names = ", ".join(action.option_strings)
    return f"- `{names}{'' if action.nargs == 0 else f' {shown}'}` – {action.help}\n"


PAGES = {"reference/configuration.md": config_page, "reference/command-line.md": cli_page}


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page differs")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, content = DOCS / name, page()
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != content):
            stale.append(name)
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)}: run python docs/tools/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
