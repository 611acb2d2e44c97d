"""YAML as Proximo reads and writes it: YAML 1.2 numbers and booleans, no duplicate keys, no tags, no pickle.

PyYAML follows YAML 1.1, where `1e-4` is a string, `no` is false and `2024-01-01` a date. Here `1e-4` and
`2e6` are numbers, only `true` and `false` are booleans, and dates stay text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from proximo.errors import UserError

_INT = re.compile(r"^[-+]?[0-9][0-9_]*$|^0x[0-9a-fA-F]+$")
_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_RESOLVERS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), "~nN"),
    ("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("tag:yaml.org,2002:int", _INT, "-+0123456789"),
    ("tag:yaml.org,2002:float", _FLOAT, "-+.0123456789"),
    ("tag:yaml.org,2002:merge", re.compile(r"^<<$"), "<"),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars that refuses duplicate keys and keys that are not text."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, str) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} must be text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice in the same mapping",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, 16) if "x" in text else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever YAML 1.1 or 1.2 would read as something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Single quotes fold line breaks and what counts as one (NEL, U+2028).
    style = None if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _quoted)

for _tag, _regexp, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, _regexp, [*_first, *([""] if "null" in _tag else [])])
    _Dumper.add_implicit_resolver(_tag, _regexp, list(_first))


def parse(text: str, where: str, *, lines: bool = True) -> Any:
    """The value of a YAML document; raises `UserError` with `where` and (if `lines`) the line of it."""
    try:
        value = _Loader(text).get_single_data()
        _count(value)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark is not None and lines else ""
        raise UserError(f"{where}{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UserError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{where}: not valid YAML: {error}") from error
    return value


MAX_VALUES = 100_000


def _count(value: Any, seen: int = 0) -> int:
    # Aliases can make a small file endless.
    if seen > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        seen = _count(item, seen + 1)
    return seen


_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_TEXT = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))
"""Words that YAML reads as something else."""


def scalar(value: Any) -> str:
    """A value as YAML on one line, as it would be typed after `key: `."""
    # What nearly every value is, and PyYAML takes a hundred times as long for.
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if type(value) is int:
        return str(value)
    if type(value) is str and _WORD.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...").strip()
