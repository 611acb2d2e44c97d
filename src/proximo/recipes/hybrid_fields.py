"""The arguments of `proximo hybrid`, with the names, defaults and meaning of its first users' pipeline.

Nothing heavy is imported here: the command line reads names and help texts from `HybridConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from proximo.errors import UserError
from proximo.recipes.flat import number_problem, tidied

BOTH, BC, HYBRID = "both", "bc", "hybrid"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*")
_MANY = 2**31 - 1


def _set(
    default: Any, meaning: str, stage: str = BOTH, low: float | None = None, high: float | None = None
) -> Any:
    """A field: what it means, the stage whose hparam entry may give it, the range of a number."""
    metadata = {"help": meaning, "stage": stage, "low": low, "high": high}
    return field(default=default, metadata=metadata)


@dataclass
class HybridConfig:
    """All arguments of the pipeline; raises UserError, one line per mistake."""

    dataset: str = _set("", "kind of data set, such as mujoco")
    env: str = _set("", "environment in its name, such as walker2d, humanoid or ant")
    names: list[str] = field(
        default_factory=list,
        metadata={"help": "variants, such as expert-v0; several are combined", "stage": BOTH},
    )
    hparam_bc: str = _set("", "key in hparam.yml for behaviour cloning")
    hparam_hybrid: str = _set("", "key in hparam.yml for the hybrid")
    seed: int = _set(42, "every random number follows from it", BOTH, 0, _MANY)
    skip_bc: bool = _set(False, "always use the clone that is there; refused where there is none")
    force_bc_retrain: bool = _set(False, "clone anew even where there is a clone")
    num_bc_epochs: int = _set(50, "passes over the data in cloning", BC, 1, 1_000_000)
    bc_batch_size: int = _set(128, "rows per optimiser step in cloning", BC, 1, _MANY)
    bc_coeff: float = _set(0.005, "factor of the cloning loss, in both stages", HYBRID, 0.0, 1e6)
    warm_start_steps: int = _set(
        100, "environment steps in which only the critic learns; rounded up to rollouts", HYBRID, 0, 10**12
    )
    log_interval: int = _set(10, "epochs between the lines that cloning prints", BC, 1, _MANY)
    save_every_epochs: int = _set(
        5, "epochs between the clone's checkpoints; the best is always kept", BC, 1, _MANY
    )
    mix_ratio: float = _set(0.5, "share of recorded rows in the hybrid's minibatches", HYBRID, 0.0, 1.0)
    rho_bar: float = _set(1.0, "V-trace: cap of rho", HYBRID, 0.0, 1e6)
    c_bar: float = _set(0.95, "V-trace: cap of c", HYBRID, 0.0, 1e6)
    log_std_subtract: float = _set(0.0, "lower the cloned policy's log_std by this", HYBRID, 0.0, 100.0)
    device: str = _set("auto", "where networks live: auto, cpu, cuda or mps")
    save_file: str | None = _set(None, "the result's file (default: hybrid_ppo_ENV_TIME.zip)")
    scratch: list[str] = field(
        default_factory=list,
        metadata={"help": "runs of PPO without demonstrations, for the report", "stage": BOTH},
    )
    settings: list[str] = field(
        default_factory=list,
        metadata={"help": "settings of the hybrid (ppo.…); of the clone with bc. in front", "stage": BOTH},
    )

    def __post_init__(self) -> None:
        problems = check(vars(self))
        if self.skip_bc and self.force_bc_retrain:
            problems.append("--skip_bc and --force_bc_retrain exclude each other; keep one")
        if problems:
            raise UserError("\n".join(problems))

    @property
    def data_sets(self) -> list[str]:
        """Names of the data sets in full: `mujoco/walker2d/expert-v0`."""
        return [f"{self.dataset}/{self.env}/{name}" for name in self.names]

    @property
    def clone(self) -> str:
        """What the clone's files are called."""
        return "_".join(self.names)


FIELDS = {entry.name: entry for entry in fields(HybridConfig)}
HINTS = get_type_hints(HybridConfig)
REQUIRED = ("dataset", "env", "names", "hparam_bc", "hparam_hybrid")
SWITCHES = ("skip_bc", "force_bc_retrain")
FLAGS = {name: f"--{name}" for name in FIELDS if name != "settings"}
"""The option of the command line for each field; dashes are as good as underscores."""


def in_entries(stage: str) -> list[str]:
    """The arguments that an hparam entry of this stage (`bc` or `hybrid`) may give."""
    return [name for name, entry in FIELDS.items() if entry.metadata["stage"] == stage]


def check(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with these values, one line each."""
    return [line for name, value in given.items() if (line := _problem(name, value))]


def tidy(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same with 100.0 for a whole number as 100 and 1 for a number as 1.0."""
    return {name: tidied(HINTS[name], value) for name, value in given.items()}


def _problem(name: str, value: Any) -> str:
    hint, said = HINTS[name], f"--{name} {value}"
    if hint is bool:
        return "" if isinstance(value, bool) else f"{said}: must be true or false"
    if name == "device":
        known = ("auto", "cpu", "cuda", "mps")
        return "" if value in known else f"{said}: must be one of {', '.join(known)}"
    if name in ("dataset", "env", "names"):
        parts = value if isinstance(value, list) else [value]
        for part in parts:
            if not isinstance(part, str) or not _PART.fullmatch(part):
                example = {"dataset": "mujoco", "env": "walker2d", "names": "expert-v0"}[name]
                return f"--{name} {part!r}: must be one part of a data set's name, such as {example}"
        if name == "names" and len(set(parts)) < max(1, len(parts)):
            return "--names: give each variant once, and at least one"
        return ""
    if hint in (str, str | None):
        good = isinstance(value, str) and value.strip()
        return "" if good or value is None else f"--{name}: must be a name"
    if hint == list[str]:
        return ""
    return number_problem(said, value, hint is int, FIELDS[name].metadata)
