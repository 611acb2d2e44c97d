"""Whether demonstrations belong to the environment that is trained on."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from gymnasium import spaces

from proximo.core.types import EnvSpec
from proximo.demos.dataset import Dataset
from proximo.errors import UserError


def check_fits(
    dataset: Dataset, spec: EnvSpec, where: str = "demonstrations", *, same_name: bool = True
) -> str | None:
    """A line to print where the data are of another version of the environment; None where all is the same.

    `where` is their place in the settings; `same_name` False lets data of any environment with the same spaces pass.
    Raises: UserError naming what differs: the environment, an observation, the actions' kind, shape or bounds.
    """
    recorded = None if dataset.env is None else dataset.env.id
    names = ", ".join(dataset.names) or "the data"
    shown = f"{where}: {names}" + ("" if recorded is None else f" (recorded in {recorded})")
    if same_name and recorded is not None and base_name(recorded) != base_name(spec.id):
        raise UserError(
            f"{shown}: data of another environment than {spec.id}; name others, or set other_env if they mean the same"
        )
    _check_obs(dataset, spec, shown)
    _check_actions(dataset, spec, shown)
    if recorded is not None and recorded != spec.id:
        return f"{shown}: training on {spec.id}, whose spaces are the same"
    return None


def base_name(env_id: str) -> str:
    """An environment's name without module, name space and version: `mine:ALE/Pong-v5` is `Pong`."""
    return re.sub(r"-v\d+$", "", env_id.rpartition(":")[2].rpartition("/")[2])


def _check_obs(dataset: Dataset, spec: EnvSpec, where: str) -> None:
    for key, space in spec.obs_spaces.items():
        if key not in dataset.obs:
            what = "action mask" if key == spec.mask_key else "observation"
            raise UserError(
                f"{where}: has no {what} {key!r}, as {spec.id} has (it has {', '.join(dataset.obs)})"
            )
        rows, wanted = dataset.obs[key], (space.shape or ())
        if tuple(rows.shape[1:]) != wanted:
            raise UserError(
                f"{where}: observation {key!r} has shape {tuple(rows.shape[1:])}, that of {spec.id} {wanted}; "
                "give env.kwargs and env.wrappers as in the recording"
            )
        held = str(rows.dtype).removeprefix("torch.")
        if np.dtype(held).kind != np.dtype(space.dtype).kind:
            raise UserError(f"{where}: observation {key!r} is {held}, that of {spec.id} {space.dtype}")


def _check_actions(dataset: Dataset, spec: EnvSpec, where: str) -> None:
    given, wanted = dataset.action_space, spec.action_space
    if given is None or _alike(given, wanted):
        return
    raise UserError(f"{where}: its actions are {given}, those of {spec.id} {wanted}; use data with the same")


def _alike(given: spaces.Space[Any], wanted: spaces.Space[Any]) -> bool:
    if isinstance(given, spaces.Box) and isinstance(wanted, spaces.Box):
        # Minari keeps bounds as decimal text, of whatever float type the environment has.
        return given.shape == wanted.shape and all(
            np.allclose(a, b, rtol=1e-6, atol=1e-6)
            for a, b in ((given.low, wanted.low), (given.high, wanted.high))
        )
    return bool(given == wanted)
