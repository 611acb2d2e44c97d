"""Experiments written for other pipelines, translated into ours; the translation is shown, never silent.

The one dialect so far is that of a lab that trains with stable-baselines3 (docs/lab.md).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proximo.config import lab_keys, lab_rules, overrides
from proximo.config.experiment import Experiment
from proximo.config.lab_keys import Sheet
from proximo.errors import UserError

SIGNS = ("experiment", "environment", "training")
"""Two of these at the top of a file, and none of our own keys, are the lab's dialect."""


@dataclass(frozen=True)
class Translation:
    """An experiment as it was understood."""

    data: dict[str, Any]
    """The experiment in our keys, yet to be validated."""
    origins: dict[str, str]
    """Per dotted path of ours, where its value came from."""
    lines: tuple[str, ...]
    """The translation in words, a line per key."""
    verbosity: int | None
    """How loud the file wants the training to be (-1 quiet, 0, 1 verbose)."""
    play: dict[str, Any]
    """What `proximo play` of this file shows: `experiment` and `pretrained_model`."""
    items: tuple[str, ...]
    """The settings of the command line that are in our keys; those in the file's own were applied."""


def translate(
    data: Mapping[str, Any], source: str, folder: Path, items: Sequence[str] = ()
) -> Translation | None:
    """The translation of a foreign experiment; None where `data` is in our own keys.

    `folder` is that of the file: names in it are looked for beside it. `items` are settings of the command
    line, in our keys or in the file's. Raises `UserError` with one line per mistake.
    """
    if not is_lab(data):
        return None
    tree = copy.deepcopy(dict(data))
    theirs = [item for item in items if item.partition("=")[0].partition(".")[0] in lab_keys.TOP_LEVEL]
    for item in theirs:
        overrides.apply(tree, item)
    sheet = Sheet(source or "lab file", folder)
    sheet.read(tree)
    lab_rules.translate(sheet)
    if sheet.errors:
        raise UserError("\n".join(f"{sheet.source}: {line}" for line in sheet.errors))
    head = f"{sheet.source}: written for stable-baselines3 and the lab's pipeline; read as"
    return Translation(
        sheet.data,
        sheet.origins,
        (head, *(f"  {line}" for line in sheet.lines())),
        lab_rules.verbosity(sheet),
        {key: sheet.get(f"play.{key}") for key in ("experiment", "pretrained_model")},
        tuple(item for item in items if item not in theirs),
    )


def is_lab(data: Mapping[str, Any]) -> bool:
    """Whether these are the lab's top-level keys rather than ours."""
    return sum(key in data for key in SIGNS) >= 2 and not any(key in data for key in Experiment.model_fields)
