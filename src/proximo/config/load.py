"""From a YAML file, an environment's id or a mapping, and dotted overrides, to a checked `Experiment`."""

from __future__ import annotations

import copy
import importlib.resources
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proximo.config import dialects, problems, schema, text
from proximo.config.dialects import Translation
from proximo.config.experiment import CONFIG_VERSION, Experiment, Node
from proximo.config.overrides import apply, forget, get, leaves, put
from proximo.errors import UserError

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Per version, the function that turns a mapping of that version into one of the next."""

DEFAULT, OVERRIDE, COMMAND_LINE = "default", "override", "command line"


@dataclass(frozen=True)
class Loaded:
    """An experiment and where each of its values came from."""

    experiment: Experiment
    origins: dict[str, str]
    """Per dotted path that was given: `tuned settings of ID`, the file's name, or `override`."""
    tuned: str | None
    """Id of the environment whose tuned settings were used."""
    translation: Translation | None = None
    """How a file in another pipeline's keys was understood."""

    def origin(self, path: str) -> str:
        """Where the value at `path` came from; `default` where nobody gave it."""
        return _origin(self.origins, path)


def _origin(origins: Mapping[str, str], path: str) -> str:
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return DEFAULT


def load_experiment(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, untuned: bool = False
) -> Experiment:
    """A checked experiment from a YAML file, an environment's id (with its tuned settings) or a mapping.

    `overrides` are `path.to.key=value` with the value in YAML. Raises `UserError` with one line per mistake.
    """
    return load_traced(source, overrides, untuned=untuned).experiment


def load_traced(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, untuned: bool = False
) -> Loaded:
    """As `load_experiment`, and says where each value came from."""
    data, origin, tuned = _read(source, untuned)
    foreign = dialects.translate(data, origin, _folder(source), overrides)
    if foreign is not None:
        data, overrides = foreign.data, foreign.items
    data = _migrate(data, origin)
    origins = dict.fromkeys((path for path, _ in leaves(data)), origin)
    origins |= foreign.origins if foreign is not None else {}
    raw: dict[str, str] = {}
    for item in overrides:
        path, typed = apply(data, item)
        forget(origins, path)
        origins.update(dict.fromkeys((leaf for leaf, _ in leaves(get(data, path), path)), OVERRIDE))
        raw[path] = typed
    if isinstance(source, str) and raw.get("env.id", source) != source and origins.get("env.id") == OVERRIDE:
        raise UserError(
            f"env.id={raw['env.id']}: name the environment as the first argument instead of {source}"
        )
    file = origin if tuned is None and origin != COMMAND_LINE else ""
    return Loaded(_validate(data, origins, raw, file), origins, tuned, foreign)


def _folder(source: str | Path | Mapping[str, Any]) -> Path:
    return Path() if isinstance(source, Mapping) else Path(source).expanduser().parent


def _read(source: str | Path | Mapping[str, Any], untuned: bool) -> tuple[dict[str, Any], str, str | None]:
    if isinstance(source, Mapping):
        return copy.deepcopy(dict(source)), "", None
    name = str(source)
    if not name.strip():
        raise UserError(
            "no experiment is named; give a YAML file or an environment's id, such as CartPole-v1"
        )
    path = Path(source).expanduser()
    if isinstance(source, Path) or path.suffix.lower() in (".yaml", ".yml") or path.is_file():
        return _read_file(path, name), name, None
    if path.is_dir():
        raise UserError(
            f"{name}: is a folder; give a YAML file or an environment's id (a run is continued by resume)"
        )
    found = None if untuned else tuned_file(name)
    if found is None:
        return {"env": {"id": name}}, COMMAND_LINE, None
    data = _mapping(text.parse(found.read_text(encoding="utf-8"), found.name), found.name)
    return data, f"tuned settings of {name}", name


def _read_file(path: Path, name: str) -> dict[str, Any]:
    if path.is_dir():
        raise UserError(f"{name}: is a folder, not a YAML file")
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{name}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not a text file") from error
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from error
    return _mapping(text.parse(content, name), name)


def _mapping(data: Any, name: str) -> dict[str, Any]:
    if data is None:
        raise UserError(f"{name}: is empty; the smallest experiment is `env: {{id: CartPole-v1}}`")
    if not isinstance(data, dict):
        raise UserError(f"{name}: must be a mapping of keys, not {text.scalar(data)[:60]}")
    return data


def tuned_file(env_id: str) -> Traversable | None:
    """The tuned settings that Proximo ships for this environment."""
    file = importlib.resources.files("proximo.config") / "tuned" / f"{env_id.replace('/', '_')}.yaml"
    return file if file.is_file() else None


def tuned_ids() -> list[str]:
    """Ids of the environments that have tuned settings."""
    folder = importlib.resources.files("proximo.config") / "tuned"
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    names = [file for file in files if file.name.endswith(".yaml")]
    return [text.parse(file.read_text(encoding="utf-8"), file.name)["env"]["id"] for file in names]


def _migrate(data: dict[str, Any], name: str) -> dict[str, Any]:
    version = data.get("version", CONFIG_VERSION)
    if isinstance(version, int) and version > CONFIG_VERSION:
        raise UserError(
            f"{name}: version {version} is newer than this Proximo ({CONFIG_VERSION}); update Proximo"
        )
    while isinstance(version, int) and version in MIGRATIONS:
        data = MIGRATIONS[version](data)
        version = data["version"]
    return data


def _validate(data: dict[str, Any], origins: dict[str, str], raw: dict[str, str], file: str) -> Experiment:
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        if _as_text(error, data, raw):
            return _validate(data, origins, {}, file)
        found = problems.lines(error, data)
    else:
        found = list(_booleans(data, experiment))
        if not found:
            return experiment
    raise UserError("\n".join(_prefix(_origin(origins, path), file) + line for path, line in found))


def _prefix(origin: str, file: str) -> str:
    name = file if origin == DEFAULT else origin
    return "" if name in (OVERRIDE, COMMAND_LINE, "") else f"{name}: "


def _as_text(error: ValidationError, data: dict[str, Any], raw: dict[str, str]) -> bool:
    """Whether an override such as `name=7`, wanted as text, was put back as typed."""
    changed = False
    for item in error.errors(include_url=False):
        path = problems.locate(item["loc"], data)[0]
        if item["type"] == "string_type" and path in raw and get(data, path) is not None:
            put(data, path, raw[path])
            changed = True
    return changed


def _booleans(data: dict[str, Any], experiment: Experiment) -> Iterator[tuple[str, str]]:
    # Pydantic takes true for the number 1.
    for path, value in leaves(data):
        if isinstance(value, bool) and not isinstance(get(experiment, path), bool):
            yield path, f"{path}={text.scalar(value)}: must be a number"


def dump_experiment(experiment: Experiment, *, comments: bool = False) -> str:
    """The whole tree as YAML, every value written out; with `comments`, each field is explained."""
    return "".join(_emit(experiment, "", comments))


def _emit(node: Any, indent: str, comments: bool) -> Iterator[str]:
    docs = type(node).model_fields if isinstance(node, Node) else {}
    items = ((name, getattr(node, name)) for name in docs) if docs else node.items()
    for key, value in items:
        note = f"  # {docs[key].description}" if comments and key in docs and docs[key].description else ""
        if isinstance(value, Node) or (
            isinstance(value, dict) and any(isinstance(v, Node) for v in value.values())
        ):
            yield f"{indent}{text.scalar(key)}:{note}\n"
            yield from _emit(value, f"{indent}  ", comments)
        else:
            yield f"{indent}{text.scalar(key)}: {text.scalar(_plain(value))}{note}\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        return value.model_dump(mode="json")
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def explain(loaded: Loaded, only: Sequence[str] = ()) -> str:
    """Every field with its value, its origin and its meaning; `only` keeps what lies under these paths."""
    rows = list(schema.values(loaded.experiment))
    kept = [row for row in rows if not only or any(row[0] == p or row[0].startswith(f"{p}.") for p in only)]
    if not kept:
        key = only[0].rpartition(".")[2]
        near = problems.suggest(key, only[0].rpartition(".")[0], [path for path, _, _ in rows])
        raise UserError(f"{only[0]}: no such key{f'; did you mean {near}?' if near else ''}")
    known = {field.path: field for field in schema.walk()}
    out = []
    for path, value, doc in kept:
        # A `type` only selects among its parent's alternatives, so the parent explains it.
        field = known.get(path.removesuffix(".type"))
        meaning = doc or (field.doc if field else "")
        allowed = f" [{field.allowed.removeprefix('a mapping; type: ')}]" if field else ""
        out.append(f"{path}: {text.scalar(_plain(value))}  ({loaded.origin(path)})\n    {meaning}{allowed}\n")
    return "".join(out)
