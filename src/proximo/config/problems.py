"""Mistakes in a configuration as one line each: path, value, what is allowed, the nearest key."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from proximo.config import schema, text
from proximo.config.experiment import Experiment, Node

ABSENT: Any = object()

ALIASES = {
    "n_steps": "ppo.num_steps",
    "horizon": "ppo.num_steps",
    "batch_size": "ppo.minibatch_size",
    "n_epochs": "ppo.epochs",
    "num_epochs": "ppo.epochs",
    "update_epochs": "ppo.epochs",
    "clip_range": "ppo.clip",
    "clip_coef": "ppo.clip",
    "clip_param": "ppo.clip",
    "clip_range_vf": "ppo.value_clip",
    "ent_coef": "ppo.entropy_coef",
    "vf_coef": "ppo.value_coef",
    "total_timesteps": "ppo.total_steps",
    "timesteps": "ppo.total_steps",
    "steps": "ppo.total_steps",
    "lr": "ppo.learning_rate",
    "lambda": "ppo.gae_lambda",
    "lam": "ppo.gae_lambda",
    "n_envs": "env.num_envs",
    "n_environments": "env.num_envs",
    "env_id": "env.id",
    "environment": "env",
    "net_arch": "policy.hidden_sizes",
    "activation_fn": "policy.activation",
    "use_sde": "policy.head.type=gsde",
    "trackers": "track",
    "loggers": "track",
    "use_wandb": "track",
    "checkpoint_freq": "checkpoint.every",
    "save_freq": "checkpoint.every",
    "n_eval_episodes": "eval.episodes",
    "device_name": "device",
    "torch_threads": "threads",
}
"""Names that other libraries use for our keys."""


def lines(error: ValidationError, data: Any) -> list[tuple[str, str]]:
    """`(path, line)` per mistake, without the name of the file; `data` is what was validated."""
    return [_line(item, data) for item in error.errors(include_url=False)]


def _line(item: Any, data: Any) -> tuple[str, str]:
    kind, context = item["type"], item.get("ctx", {})
    path, value, annotation, unknown = locate(item["loc"], data)
    if kind == "value_error":
        message = str(context["error"])
        return path, f"{path}: {message}" if path and not message.startswith(path) else message
    if kind == "extra_forbidden" or unknown:
        return path, f"{path}: {_unknown(path, annotation)}"
    if kind == "missing":
        return path, f"{path}: is required{_example(path)}"
    shown = path if value is ABSENT else f"{path}={_short(value)}"
    return path, f"{shown}: {_demand(path, kind, context, value, annotation, item['msg'])}"


def locate(loc: tuple[int | str, ...], data: Any) -> tuple[str, Any, Any, bool]:
    """`(dotted path, value there, annotation there, key is unknown)` of a pydantic location.

    Pydantic's location also holds the tags of unions, which are no keys; the annotations tell them apart.
    For an unknown key the annotation is that of the node it stands in.
    """
    annotation: Any = Experiment
    path: list[str] = []
    value = data
    for key in loc:
        variants = schema.nodes(annotation)
        inner = schema.element(annotation)
        if len(variants) > 1:
            annotation = next(node for node in variants if schema.tag(node) == key)
            continue
        if key == "[key]":
            break
        path.append(str(key))
        value = _child(value, key)
        if variants:
            if key not in variants[0].model_fields:
                return ".".join(path), value, variants[0], True
            annotation = variants[0].model_fields[str(key)].annotation
        elif inner is not None:
            annotation = inner[1]
    return ".".join(path), value, annotation, False


def _child(value: Any, key: int | str) -> Any:
    if isinstance(value, dict):
        return value.get(key, ABSENT)
    if isinstance(value, (list, tuple)) and isinstance(key, int) and key < len(value):
        return value[key]
    return ABSENT


def _short(value: Any) -> str:
    shown = (
        text.scalar(value)
        if isinstance(value, (str, int, float, bool, list, dict, type(None)))
        else repr(value)
    )
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _example(path: str) -> str:
    return " (for example env.id: CartPole-v1)" if path in ("env", "env.id") else ""


def _demand(path: str, kind: str, context: dict[str, Any], value: Any, annotation: Any, message: str) -> str:
    bounds = {
        "greater_than": ("gt", "greater than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "at most"),
    }
    if kind in bounds:
        key, words = bounds[kind]
        return f"must be {words} {schema.number(context[key])}"
    if kind == "literal_error":
        options = [part.strip(" '") for part in context["expected"].replace(" or ", ", ").split(",")]
        return f"must be one of {', '.join(options)}{_close(str(value), options)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _variant(annotation, value, short=path.startswith("track."))
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        node = schema.nodes(annotation)
        if len(node) > 1:
            return _variant(annotation, value, short=path.startswith("track."))
        keys = f" with the keys {_listed(list(node[0].model_fields))}" if node else ""
        return f"must be a mapping{keys}"
    if kind == "string_pattern_mismatch":
        if "[^:]+:" in context["pattern"]:
            return "must be a class, named as module:Class or path/to/file.py:Class"
        return (
            "must start with a letter or digit and hold only letters (a to z), digits, spaces and . _ + @ -"
        )
    if path in _LISTS and kind in ("tuple_type", "list_type"):
        return f"must be a list, such as {_LISTS[path]}"
    return _SIMPLE.get(kind, message[:1].lower() + message[1:])


_NUMBER, _WHOLE = "must be a number", "must be a whole number"
_LIST = "must be a list, such as [64, 64]"
_LISTS = {
    "track": "[tensorboard]",
    "env.info": "[speed]",
    "env.wrappers": "[{name: TimeAwareObservation}]",
}
_SIMPLE = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text (in quotes, if it looks like a number)",
    "string_too_short": "must not be empty",
    "tuple_type": _LIST,
    "list_type": _LIST,
}


def _variant(annotation: Any, value: Any, short: bool = False) -> str:
    tags = [schema.tag(node) for node in schema.nodes(annotation)]
    names = [t for t in tags if t != "custom"]
    own = " or a class of your own as module:Class" if "custom" in tags else ""
    if isinstance(value, str) and value and short:
        value = {"type": value}
    given = value.get("type") if isinstance(value, dict) else value
    if not isinstance(value, dict):
        return f"must be a mapping with a type: {', '.join(names)}{own}"
    close = _close(str(given), names) if given is not None else ""
    return f"its type must be one of {', '.join(names)}{own}{close}"


def _listed(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 12 else [*names[:12], "…"])


def _close(word: str, known: list[str]) -> str:
    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[found[0]]}?" if found else ""


def _unknown(path: str, node: type[Node]) -> str:
    parent, _, key = path.rpartition(".")
    siblings = list(node.model_fields)
    where = suggest(key, parent, siblings)
    if where == path:
        owners = sorted({f.variant for f in schema.walk() if _same(f.path, path) and f.variant})
        return f"unknown key for type {schema.tag(node)}; it belongs to type {' or '.join(owners)}"
    if where:
        return f"unknown key; did you mean {where}?"
    return f"unknown key; {parent or 'the file'} has {_listed(siblings)}"


def _same(pattern: str, path: str) -> bool:
    left, right = pattern.split("."), path.split(".")
    return len(left) == len(right) and all(a == b or a[0] == "<" for a, b in zip(left, right, strict=True))


def suggest(key: str, parent: str, siblings: list[str]) -> str:
    """The path that an unknown key under `parent` most likely means, or an empty string.

    The same name elsewhere in the tree comes first, then what other libraries call it, then a slip of the
    pen here, then one elsewhere.
    """
    path = f"{parent}.{key}" if parent else key
    fields = list(schema.walk())
    if any(_same(field.path, path) for field in fields):
        return path
    plain = sorted({f.path for f in fields if "<" not in f.path}, key=lambda p: (p.count("."), len(p)))
    for candidate in plain:
        if candidate.rpartition(".")[2] == key:
            return candidate
    if key.lower() in ALIASES:
        return ALIASES[key.lower()]
    near = difflib.get_close_matches(key.lower(), siblings, n=1, cutoff=0.6)
    if near:
        return f"{parent}.{near[0]}" if parent else near[0]
    leaves = {candidate.rpartition(".")[2]: candidate for candidate in reversed(plain)}
    far = difflib.get_close_matches(key.lower(), list(leaves), n=1, cutoff=0.75)
    return leaves[far[0]] if far else ""
