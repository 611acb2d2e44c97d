"""Flat YAML files of the therapy client's trainings, and how files and options combine: an explicit option wins."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proximo.config import text
from proximo.config.registry import nearest
from proximo.errors import UserError
from proximo.recipes.therapy_fields import FIELDS, FLAGS, TrainingConfig, check, tidy
from proximo.runs.files import replace_file, writing

DEFAULT, OPTION = "default", "option"
SHIPPED = "configs"
"""`configs/<name>.yaml` that is not in the working directory is looked for among the files Proximo ships."""


@dataclass(frozen=True)
class Resolved:
    """A configuration, where each value came from, and what an option overruled."""

    config: TrainingConfig
    origins: dict[str, str]
    """Per field: `default`, `option`, or the file's name."""
    overruled: dict[str, Any]
    """What the file said where an option said otherwise."""

    def lines(self) -> Iterator[str]:
        """All values with their origins, in words."""
        shown = {name: f"{name}={text.scalar(value)}" for name, value in asdict(self.config).items()}
        for origin in dict.fromkeys([*self.origins.values(), DEFAULT]):
            names = [name for name in FIELDS if self.origins.get(name, DEFAULT) == origin]
            title = {DEFAULT: "defaults", OPTION: "options"}.get(origin, origin)
            if names:
                yield f"{title}: {', '.join(shown[name] for name in names)}"
        for name, value in self.overruled.items():
            yield f"{FLAGS.get(name, name)} wins over the file's {name}={text.scalar(value)}"


def resolve(file: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Resolved:
    """Defaults, then the file's values, then the options given. Raises UserError, one line per mistake."""
    given = {} if file is None else _read(Path(file))
    return combine(given, str(file), options or {})


def resolve_over(base: TrainingConfig, file: str | Path | None, options: Mapping[str, Any]) -> Resolved:
    """As `resolve`, with the values of an earlier training instead of the defaults."""
    given = {} if file is None else _read(Path(file))
    earlier = {name: value for name, value in asdict(base).items() if name not in given}
    resolved = combine({**earlier, **given}, str(file), options)
    origins = {
        name: "the training resumed" if name in earlier else where for name, where in resolved.origins.items()
    }
    origins |= dict.fromkeys(options, OPTION)
    return Resolved(resolved.config, origins, {k: v for k, v in resolved.overruled.items() if k in given})


def combine(given: Mapping[str, Any], source: str, options: Mapping[str, Any]) -> Resolved:
    """As `resolve` with the file's values already read; `source` is the file's name."""
    chosen = tidy(options)
    problems = [f"{FLAGS.get(line.partition('=')[0], '')} {line}".strip() for line in check(chosen)]
    if problems:
        raise UserError("\n".join(problems))
    origins = dict.fromkeys(given, source) | dict.fromkeys(chosen, OPTION)
    values = {**given, **chosen}
    if "settings" in given and "settings" in chosen:
        values["settings"] = [*given["settings"], *chosen["settings"]]
    different = {
        name: given[name]
        for name in chosen
        if name in given and name != "settings" and given[name] != chosen[name]
    }
    return Resolved(TrainingConfig(**values), origins, different)


def load_config(path: str | Path) -> TrainingConfig:
    """The configuration in a flat YAML file. Raises UserError for what is missing, unknown or out of range."""
    return resolve(path).config


def save_config(config: TrainingConfig, path: str | Path) -> None:
    """Write a configuration as flat YAML, every value written out. Raises RunError where it cannot."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(f"{name}: {text.scalar(value)}\n" for name, value in asdict(config).items()))


def get_default_config() -> TrainingConfig:
    """The defaults."""
    return TrainingConfig()


def _read(path: Path) -> dict[str, Any]:
    content = _text(path)
    data = text.parse(content, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a mapping of keys, not {text.scalar(data)[:60]}")
    if "env" in data:
        raise UserError(f"{path}: is an experiment, not a flat therapy configuration: proximo train {path}")
    unknown = [f"{path}: {key}: unknown key{nearest(key, list(FIELDS))}" for key in data if key not in FIELDS]
    known = tidy({key: value for key, value in data.items() if key in FIELDS})
    problems = unknown + [f"{path}: {line}" for line in check(known)]
    if problems:
        raise UserError("\n".join(problems))
    return known


def _text(path: Path) -> str:
    shipped = importlib.resources.files("proximo.recipes") / SHIPPED / path.name
    try:
        if not path.exists() and path.parts[:-1] == (SHIPPED,) and shipped.is_file():
            print(f"{path}: not here, so the one that Proximo ships is read")
            return shipped.read_text(encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
