"""Where clones are kept: `bc_checkpoints/<dataset>/<env>/`, a table, an index and the checkpoints of each.

The index stores each epoch's file beside its loss, so that the best one is never guessed from a file's name.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from proximo.errors import UserError
from proximo.recipes.hybrid_fields import HybridConfig
from proximo.runs.files import replace_file, writing
from proximo.runs.log import jsonable

ROOT = Path("bc_checkpoints")
COLUMNS = ("epoch", "train_loss", "val_loss")


@dataclass(frozen=True)
class Epoch:
    """One pass over the data."""

    epoch: int
    train_loss: float
    val_loss: float
    file: str | None = None
    """The checkpoint's file name; None where this epoch was not kept."""


@dataclass
class Index:
    """All that is known of a clone."""

    made: dict[str, Any]
    """What it was made with and of: settings, data, networks."""
    run: str
    """The folder of its training."""
    finished: bool = False
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        """The kept epoch of lowest validation loss, the earliest of equals; None before the first."""
        kept = [epoch for epoch in self.epochs if epoch.file is not None and math.isfinite(epoch.val_loss)]
        return min(kept, key=lambda epoch: (epoch.val_loss, epoch.epoch)) if kept else None


class Clones:
    """The places of one clone."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.index_file = folder / f"{name}_index.json"
        self.metrics_file = folder / f"{name}_metrics.csv"

    @classmethod
    def of(cls, config: HybridConfig) -> Clones:
        """Those of a pipeline."""
        return cls(ROOT / config.dataset / config.env, config.clone)

    def file(self, epoch: int, loss: float) -> Path:
        """Where the checkpoint of an epoch lies, `loss` being that of training."""
        return self.folder / f"{self.name}_epoch{epoch} with avg loss {loss:.4f}.zip"

    def index(self) -> Index | None:
        """What was written last; None where there is nothing. Raises: UserError for a damaged file."""
        try:
            content = json.loads(self.index_file.read_text(encoding="utf-8"))
            epochs = [_epoch(**row) for row in content["epochs"]]
            found = Index(dict(content["made"]), str(content["run"]), bool(content["finished"]), epochs)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.index_file}: cannot be read ({error}); clone anew with --force_bc_retrain"
            ) from error
        if any(epoch.file is not None and Path(epoch.file).name != epoch.file for epoch in epochs):
            raise UserError(
                f"{self.index_file}: names a file outside its folder; clone anew with --force_bc_retrain"
            )
        return found

    def write(self, index: Index) -> None:
        """The index, and the table of losses."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        rows = [COLUMNS, *((e.epoch, repr(e.train_loss), repr(e.val_loss)) for e in index.epochs)]
        replace_file(self.metrics_file, "".join(",".join(map(str, row)) + "\n" for row in rows))
        replace_file(self.index_file, json.dumps(jsonable(asdict(index)), indent=1) + "\n")

    def clear(self) -> None:
        """Remove what an earlier clone of this name left here."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.index_file.unlink(missing_ok=True)
            self.metrics_file.unlink(missing_ok=True)
        self.tidy(set())

    def tidy(self, kept: set[str]) -> None:
        """Remove checkpoints of this name that are not among these."""
        own = re.compile(re.escape(self.name) + r"_epoch\d+ with avg loss [-+.\w]+\.zip")
        with writing(self.folder):
            for path in list(self.folder.glob("*.zip")):
                if own.fullmatch(path.name) and path.name not in kept:
                    path.unlink(missing_ok=True)

    def best(self) -> tuple[Path, Epoch]:
        """The best checkpoint. Raises: UserError saying what is missing, in the words of the first pipeline."""
        if not self.folder.is_dir():
            raise UserError(f"No BC checkpoint available: {self.missing()}; clone first, without --skip_bc")
        if not self.metrics_file.is_file() or not self.rows():
            raise UserError(
                f"No metrics CSV files found in {self.folder} for {self.name}; clone first, without --skip_bc"
            )
        index = self.index()
        best = None if index is None else index.best
        if best is None or best.file is None:
            raise UserError(
                f"No BC checkpoint available: {self.index_file} names none; clone anew with --force_bc_retrain"
            )
        path = self.folder / best.file
        if not path.is_file():
            raise UserError(
                f"No BC checkpoint available: {path}, the best one, is gone; clone anew with --force_bc_retrain"
            )
        return path, best

    def holds(self, index: Index) -> bool:
        """Whether the best checkpoint is there."""
        best = index.best
        return best is not None and best.file is not None and (self.folder / best.file).is_file()

    def rows(self) -> list[dict[str, str]]:
        """The table of losses as it is on disk."""
        with self.metrics_file.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def missing(self) -> str:
        """The notice of a first run."""
        return f"BC checkpoint dir not found: {self.folder}"


def _epoch(epoch: int, train_loss: float | None, val_loss: float | None, file: str | None) -> Epoch:
    # JSON has no nan.
    train, valid = (math.nan if loss is None else float(loss) for loss in (train_loss, val_loss))
    return Epoch(epoch, train, valid, file)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two clones were made with differently, in words."""
    names = dict.fromkeys([*now, *then])
    return [
        f"{name} {_said(then, name)}, now {_said(now, name)}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _said(made: Mapping[str, Any], name: str) -> str:
    return json.dumps(made[name]) if name in made else "unset"
