"""`hparam.yml`: hyper-parameters by key in stable-baselines3's names, and how they combine with the options.

Proximo ships one; a file of that name in the working directory adds keys or puts its own in their place.
"""

from __future__ import annotations

import ast
import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proximo.config import lab_rules, overrides, text
from proximo.config.lab_keys import KEYS, LOOP, NET, PPO, Sheet
from proximo.config.registry import nearest
from proximo.errors import UserError
from proximo.recipes.hybrid_fields import BC, FIELDS, HYBRID, HybridConfig, check, in_entries, tidy

FILE = "hparam.yml"
SHIPPED = "hparam.yml of Proximo"
OPTION, DEFAULT = "options", "defaults"
LEFT_ALONE = ("ppo.normalize_reward", "ppo.prime_steps", "policy.normalize_obs", "policy.share_encoder")
"""Where an entry says nothing, these are as in Proximo."""
ACTING = (
    *("env.num_envs", "ppo.total_steps", "ppo.minibatch_size", "ppo.num_steps", "ppo.gamma", "ppo.clip"),
    *("ppo.epochs", "ppo.gae_lambda", "ppo.value_coef", "ppo.entropy_coef", "ppo.normalize_advantage"),
)
"""What cloning has no use for: nothing acts in it."""
CLONING_EPS = 1e-8
_NAMES = {"n_envs": "n_environments", "total_timesteps": f"{LOOP}.total_timesteps"} | {
    "n_timesteps": f"{LOOP}.total_timesteps"
}


@dataclass(frozen=True)
class Entry:
    """An entry as it is understood."""

    key: str
    source: str
    """Which file it is from."""
    data: dict[str, Any]
    """Settings of an experiment."""
    options: dict[str, Any]
    """Arguments of `proximo hybrid` that it gives."""
    unused: tuple[str, ...]
    """What it says that its stage has no use for."""


@dataclass(frozen=True)
class Resolved:
    """All arguments, where each came from, and the two entries."""

    config: HybridConfig
    origins: dict[str, str]
    bc: Entry
    hybrid: Entry
    replaced: tuple[str, ...] = field(default=())
    """Keys that the file in the working directory has instead of the shipped one."""

    def lines(self) -> Iterator[str]:
        """All values with their origins, in words."""
        values = {name: getattr(self.config, name) for name in FIELDS}
        for origin in dict.fromkeys([OPTION, *self.origins.values(), DEFAULT]):
            names = [name for name in FIELDS if self.origins.get(name, DEFAULT) == origin]
            shown = ", ".join(f"{name}={text.scalar(values[name])}" for name in names)
            if names:
                yield f"{origin}: {shown}"
        for stage, entry in (("clone", self.bc), ("hybrid", self.hybrid)):
            leaves = [(path, value) for path, value in overrides.leaves(entry.data) if value != {}]
            shown = ", ".join(f"{path}={text.scalar(value)}" for path, value in leaves)
            rest = f" (of no use here: {', '.join(entry.unused)})" if entry.unused else ""
            yield f"{stage}, from {entry.key} in {entry.source}: {shown}{rest}"
        for key in self.replaced:
            yield f"{key}: the entry in {FILE} here counts, not the one that Proximo ships"


def resolve(options: Mapping[str, Any], folder: Path = Path()) -> Resolved:
    """Defaults, then the entries' values, then the options. Raises UserError, one line per mistake."""
    chosen = tidy(options)
    HybridConfig(**chosen)
    table, sources, replaced = _table(folder)
    bc = _entry(table, sources, str(chosen["hparam_bc"]), BC)
    hybrid = _entry(table, sources, str(chosen["hparam_hybrid"]), HYBRID)
    values, origins = dict(chosen), dict.fromkeys(chosen, OPTION)
    for entry in (bc, hybrid):
        for name, value in entry.options.items():
            if name not in chosen:
                values[name], origins[name] = value, f"{entry.key} in {entry.source}"
    used = tuple(key for key in (bc.key, hybrid.key) if key in replaced)
    return Resolved(HybridConfig(**values), origins, bc, hybrid, used)


def _table(folder: Path) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Entries by key, the file of each, and the keys that were replaced."""
    shipped = importlib.resources.files("proximo.recipes") / "configs" / FILE
    table = _parsed(shipped.read_text(encoding="utf-8"), SHIPPED)
    sources = dict.fromkeys(table, SHIPPED)
    own = folder / FILE
    if not own.exists():
        return table, sources, []
    try:
        content = own.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{own}: cannot be read: {error}") from error
    added = _parsed(content, str(own))
    replaced = [key for key in added if key in table]
    return {**table, **added}, {**sources, **dict.fromkeys(added, str(own))}, replaced


def _parsed(content: str, name: str) -> dict[str, Any]:
    data = text.parse(content, name)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{name}: must be a mapping of keys, not {text.scalar(data)[:60]}")
    return data


def _entry(table: Mapping[str, Any], sources: Mapping[str, str], key: str, stage: str) -> Entry:
    if key not in table:
        title = {BC: "BC", HYBRID: "Hybrid"}[stage]
        raise UserError(
            f"{title} hparam key '{key}' not found in {FILE}{nearest(key, list(table))}; "
            f"add it to {FILE} in this folder, or take one of: {', '.join(sorted(table))}"
        )
    given, source = table[key], sources[key]
    if not isinstance(given, dict):
        raise UserError(f"{source}: {key}: must be a mapping of keys")
    known = in_entries(stage)
    other = in_entries(HYBRID if stage == BC else BC)
    options = tidy({name: value for name, value in given.items() if name in known and value is not None})
    rest = {name: value for name, value in given.items() if name not in (*known, *other)}
    sheet = Sheet(f"{source}: {key}", Path())
    _read(sheet, rest)
    lab_rules.algorithm(sheet)
    for ours, value in lab_rules.SB3_DEFAULTS.items():
        if ours not in LEFT_ALONE and overrides.get(sheet.data, ours) is None:
            sheet.assume(ours, value)
    problems = [*sheet.errors, *check(options)]
    if problems:
        raise UserError("\n".join(f"{sheet.source}: {line}" for line in problems))
    if not {f"{PPO}.policy", f"{NET}.features_extractor_class"} & set(sheet.given):
        # Proximo's choice by the observation is the same for vectors, and right for the rest too.
        sheet.data["policy"].pop("encoder")
    unused = [name for name in given if name in other]
    if stage == BC:
        if f"{NET}.optimizer_kwargs" not in sheet.given:
            # bc_coeff makes gradients small; Adam must not take them for nothing.
            sheet.data["ppo"]["adam_eps"] = CLONING_EPS
        unused += [path.rpartition(".")[2] for path in ACTING if _drop(sheet.data, path)]
    return Entry(key, source, sheet.data, options, tuple(unused))


def _drop(data: dict[str, Any], path: str) -> bool:
    section, _, key = path.partition(".")
    return data.get(section, {}).pop(key, None) is not None


def _read(sheet: Sheet, given: Mapping[str, Any]) -> None:
    """Put the entry's keys where the translator of stable-baselines3's names looks for them."""
    places = {name.rpartition(".")[2]: name for name in KEYS if name.startswith(f"{PPO}.")} | _NAMES
    nets = {name.rpartition(".")[2]: name for name in KEYS if name.startswith(f"{NET}.")}
    for key, value in given.items():
        if key == "policy_kwargs":
            for inner, setting in _mapping(sheet, key, value).items():
                written = f"{key}.{inner}"
                if inner in nets:
                    sheet.given[nets[inner]] = (written, setting)
                else:
                    sheet.errors.append(f"{written}: unknown key{nearest(inner, list(nets))}")
        elif key == "normalize":
            _normalize(sheet, value)
        elif key not in places:
            known = [*places, "policy_kwargs", "normalize", *in_entries(BC), *in_entries(HYBRID)]
            sheet.errors.append(f"{key}: unknown key{nearest(key, known)}")
        elif value is not None:
            sheet.given[places[key]] = (key, value)
    for path in (
        f"{LOOP}.total_timesteps",
        "n_environments",
        f"{PPO}.n_steps",
        f"{PPO}.batch_size",
        f"{PPO}.n_epochs",
    ):
        number = sheet.count(path)
        if path in sheet.given and number is not None:
            sheet.given[path] = (sheet.written(path), number)


def _normalize(sheet: Sheet, value: Any) -> None:
    kinds = value if isinstance(value, (dict, bool)) else _mapping(sheet, "normalize", value)
    both = {"norm_obs": value, "norm_reward": value} if isinstance(kinds, bool) else kinds
    for name, ours in (("norm_obs", "policy.normalize_obs"), ("norm_reward", "ppo.normalize_reward")):
        flag = both.get(name, True)
        if isinstance(flag, bool):
            overrides.put(sheet.data, ours, flag)
        else:
            sheet.errors.append(f"normalize.{name}: must be true or false")


def _mapping(sheet: Sheet, key: str, value: Any) -> dict[str, Any]:
    """A mapping, also where it is written as RL Baselines3 Zoo does: `"dict(net_arch=[64], …)"`."""
    if isinstance(value, str):
        try:
            value = _literal(ast.parse(value.strip(), mode="eval").body)
        except (ValueError, SyntaxError, RecursionError):
            value = None
    if isinstance(value, dict):
        return value
    sheet.errors.append(f"{key}: must be a mapping of keys, or text such as dict(net_arch=[64, 64])")
    return {}


def _literal(node: ast.expr) -> Any:
    """Numbers, texts, lists, `dict(…)` and dotted names (as text); ValueError for anything that would compute."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "dict"
        and not node.args
    ):
        return {str(word.arg): _literal(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return ast.unparse(node)
    return ast.literal_eval(node)
