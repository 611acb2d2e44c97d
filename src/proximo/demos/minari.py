"""Data sets in Minari's formats (HDF5 and Arrow) as one `Dataset`: read, checked, combined, mapped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from pydantic import ValidationError

from proximo.config.experiment import EnvConfig
from proximo.demos import fetch, store
from proximo.demos.dataset import Dataset, Form
from proximo.demos.fits import base_name
from proximo.demos.mapped import Columns, mapped
from proximo.demos.pieces import Episode, Part, pieces
from proximo.envs.spaces import Leaf, check_action_space, mask_leaf, observation_leaves
from proximo.errors import UserError, in_one_line, out_of_memory


def load_demos(names: Sequence[str], *, download: bool = True, say: Callable[[str], None] = print) -> Dataset:
    """The data sets of these names, one after the other; what is not on disk is downloaded.

    Raises: UserError for a data set that is neither on disk nor reachable, damaged, empty, not finite, with actions
    outside its action space, or that does not fit the first one.
    """
    if not names:
        raise UserError("name at least one data set of demonstrations, such as mujoco/walker2d/medium-v0")
    store.require_minari()
    parts = [_part(name) for name in (fetch.ensure(name, download=download, say=say) for name in names)]
    for part in parts[1:]:
        _check_alike(parts[0], part, say)
    form = parts[0].form if len({part.form for part in parts}) == 1 else "environment"
    columns, notes = mapped([part.path for part in parts], lambda into: _fill(into, parts, form), say)
    logp = columns["logp"].clone()
    known = ~torch.isnan(logp)
    if bool(known.any()) and not bool(known.all()):
        say(
            f"demonstrations: {int((~known).sum()):,} of {len(known):,} steps have no log-probability; none is used"
        )
    leaves: dict[str, Leaf] = {leaf.key: leaf for leaf in parts[0].leaves}
    obs_spaces = {key: leaves[key].space for key in leaves}
    if notes["mask"] is not None:
        leaf = mask_leaf(
            notes["mask"], columns[f"obs:{notes['mask']}"][0].numpy(), parts[0].action_space, parts[0].name
        )
        obs_spaces[leaf.key] = leaf.space
    return Dataset(
        obs={key: columns[f"obs:{key}"] for key in obs_spaces},
        action=columns["action"],
        reward=columns["reward"].clone(),
        terminated=columns["terminated"].clone(),
        truncated=columns["truncated"].clone(),
        final_obs={key: columns[f"final:{key}"] for key in obs_spaces},
        logp=logp if bool(known.all()) else None,
        form=form,
        stored=form,
        names=tuple(part.name for part in parts),
        env=parts[0].env,
        obs_spaces=obs_spaces,
        action_space=parts[0].action_space,
    )


def _part(name: str) -> Part:
    said = store.metadata(name)
    path = store.folder(name) / "data"
    episodes = said.get("total_episodes", 0)
    if not isinstance(episodes, int) or episodes < 1:
        raise UserError(f"data set {name} is empty: record or download it again")
    # Minari would otherwise make the environment, whatever code its metadata name.
    if not all(isinstance(said.get(key), str) for key in ("observation_space", "action_space")):
        raise UserError(f"data set {name} does not say its spaces: download a version that Minari 0.5 wrote")
    from minari.dataset.minari_storage import MinariStorage

    try:
        storage = MinariStorage.read(path)
    except Exception as error:
        raise _damaged(name, error) from error
    obs_space, action_space = storage.observation_space, storage.action_space
    check_action_space(action_space, name)
    env, form = _origin(said)
    leaves = observation_leaves(obs_space, name)
    return Part(name, path, obs_space, action_space, storage, episodes, env, form, leaves)


def _damaged(name: str, error: Exception) -> UserError:
    if out_of_memory(error):
        raise error
    return UserError(
        f"data set {name} cannot be read ({in_one_line(error)}): it is damaged or cut short; "
        "download or record it again"
    )


def _origin(said: dict[str, Any]) -> tuple[EnvConfig | None, Form]:
    """Environment and form of the recorded log-probabilities."""
    own = said.get("proximo")
    if isinstance(own, dict):
        try:
            env = EnvConfig.model_validate(own.get("env"))
        except ValidationError:
            env = None
        form = own.get("form")
        known: dict[Any, Form] = {"unclipped": "unclipped", "squashed": "squashed"}
        return env, known.get(form, "environment")
    identity = store.env_id(said)
    if identity is None:
        return None, "environment"
    spec = json.loads(said["env_spec"])
    kwargs = {k: v for k, v in (spec.get("kwargs") or {}).items() if k != "render_mode"}
    return EnvConfig(id=identity, kwargs=kwargs), "environment"


def environment(dataset: Dataset) -> EnvConfig:
    """The environment that a data set was recorded in.

    Raises: UserError where it is unknown, or names a file of code in a data set that was not recorded here.
    """
    where = ", ".join(dataset.names) or "the demonstrations"
    if dataset.env is None:
        raise UserError(f"{where}: no environment is recorded; set env.id")
    named = [dataset.env.id, *(wrapper.name for wrapper in dataset.env.wrappers)]
    for name in named:
        # Data that were downloaded must not choose which file is executed.
        if ".py:" in name and not (dataset.names and store.is_own(dataset.names[0])):
            raise UserError(
                f"{where}: recorded elsewhere, in {name}, which is a file of code; set env yourself"
            )
    return dataset.env


def _check_alike(first: Part, other: Part, say: Callable[[str], None]) -> None:
    both = f"data sets {first.name} and {other.name} do not fit each other"
    if first.env is not None and other.env is not None and first.env.id != other.env.id:
        if base_name(first.env.id) != base_name(other.env.id):
            raise UserError(f"{both}: one is of {first.env.id}, the other of {other.env.id}")
        say(f"demonstrations: {first.name} is of {first.env.id}, {other.name} of {other.env.id}")
    for what, a, b in (
        ("observations", first.obs_space, other.obs_space),
        ("actions", first.action_space, other.action_space),
    ):
        if a != b:
            raise UserError(f"{both}: the {what} of one are {a}, of the other {b}")


def _fill(into: Columns, parts: list[Part], form: Form) -> dict[str, Any]:
    masks: set[str | None] = set()
    for part in parts:
        for episode in _episodes(part, form):
            masks.add(episode.mask)
            if len(masks) > 1:
                raise UserError(
                    f"data set {part.name}: only some episodes hold an action mask; record it again"
                )
            for name, rows in episode.columns.items():
                into.add(name, rows)
    return {"mask": masks.pop()}


def _episodes(part: Part, form: Form) -> Iterator[Episode]:
    mask_key = EnvConfig(id=part.name).mask_key if part.env is None else part.env.mask_key
    found = _read(part)
    for number, raw in enumerate(found):
        yield pieces(raw, part, form, mask_key, f"data set {part.name}, episode {number}")


def _read(part: Part) -> Iterator[dict[str, Any]]:
    """Minari's own reading, one episode after the other, with its failures in one line."""
    read = 0
    try:
        for episode in part.storage.get_episodes(range(part.total_episodes)):
            yield episode
            read += 1
    except UserError:
        raise
    except Exception as error:
        raise _damaged(part.name, error) from error
    if read != part.total_episodes:
        raise UserError(
            f"data set {part.name} holds {read} of its {part.total_episodes} episodes: download or record it again"
        )
