"""The experiments of the pipeline's two stages: cloning from the data alone, and the hybrid that goes on from it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gymnasium.spaces import Box

from proximo.config import overrides
from proximo.config.experiment import EnvConfig, Experiment, PolicyConfig
from proximo.config.load import load_experiment
from proximo.demos.dataset import Dataset
from proximo.errors import UserError
from proximo.recipes import hybrid_hooks
from proximo.recipes.hybrid_fields import HybridConfig
from proximo.recipes.hybrid_hparam import Entry
from proximo.recipes.hybrid_places import Clones

NAME = "data"
"""Under which the demonstrations stand in `demos`, and the cloning term in `losses`."""
CLONING = "cloning"
HOLDOUT = 0.1
MINIBATCHES = 64
"""Of an update in cloning: how often progress is shown, and how much of the data is in memory at a time."""
SEQUENCE = 32
"""Steps of a piece where the policy has a memory and `ppo.sequence_length` says nothing."""
BOTH = ("env", "policy", "engine", "threads", "precision", "runs_dir")
"""Settings that hold for both stages; the others are the hybrid's, and with `bc.` in front the clone's."""
LOADED = ("head.log_std_init", "ortho_init")
"""What of a policy only decides the weights that a loaded clone replaces."""
OF_OPTIONS = ("seed", "device")
OF_EPOCHS = ("ppo.total_steps", "ppo.num_steps", f"demos.{NAME}.segment")
"""What of cloning follows from its number of epochs and batch size."""


IN_PLAN = {
    "mix_ratio": f"demos.{NAME}.mix_ratio",
    "rho_bar": f"demos.{NAME}.rho_bar",
    "c_bar": f"demos.{NAME}.c_bar",
    "bc_coeff": f"losses.{CLONING}.weight",
    "log_std_subtract": "log_std_subtract",
    "warm_start_steps": "warm_start_steps",
}
"""Where an argument stands in the hybrid's experiment; a setting may say otherwise there."""


def for_clone(config: HybridConfig) -> list[str]:
    """The settings of the command line that are the clone's."""
    return [item for stage, item in _settings(config) if stage in ("bc", "both")]


def for_hybrid(config: HybridConfig) -> list[str]:
    """The settings of the command line that are the hybrid's."""
    return [item for stage, item in _settings(config) if stage in ("hybrid", "both")]


def _settings(config: HybridConfig) -> Iterator[tuple[str, str]]:
    for item in config.settings:
        own = item.removeprefix("bc.")
        head = own.partition("=")[0].partition(".")[0]
        if head in OF_OPTIONS:
            raise UserError(f"{item}: is an option here: --{head} {item.partition('=')[2]}")
        if own != item:
            yield "bc", own
        else:
            yield ("both" if head in BOTH else "hybrid"), item


def clone_experiment(
    config: HybridConfig,
    entry: Entry,
    data: Dataset,
    env: EnvConfig,
    clones: Clones,
    made: Mapping[str, Any],
) -> Experiment:
    """Behaviour cloning: the same trainer with nothing but recorded rows and the cloning term."""
    tree = clone_tree(config, entry, data, env)
    ppo, policy = tree["ppo"], tree["policy"]
    piece = 1
    if policy.get("memory", {}).get("type", "none") != "none":
        piece = ppo.setdefault("sequence_length", SEQUENCE)
    batch = ppo["minibatch_size"]
    # As the settings have it, for an epoch is exactly one pass.
    train_rows = data.split(tree["demos"][NAME]["holdout"], tree["seed"])[0].rows
    # A pass in updates of the same size, of whole pieces, and at least a minibatch.
    updates = -(-train_rows // (MINIBATCHES * batch))
    rows = max(-(-train_rows // updates), batch)
    ppo["num_steps"] = -(-rows // piece) * piece
    ppo["total_steps"] = train_rows * config.num_bc_epochs
    tree["demos"][NAME]["segment"] = piece
    tree["checkpoint"] = {"every": train_rows, "keep": 1} | tree.get("checkpoint", {})
    kept = {
        "folder": str(clones.folder),
        "name": clones.name,
        "epochs": config.num_bc_epochs,
        "save_every": config.save_every_epochs,
        "log_interval": config.log_interval,
        "made": dict(made),
        "loss": CLONING,
    }
    tree["hooks"] = {"epochs": {"type": f"{hybrid_hooks.__name__}:Epochs", "kwargs": kept}} | tree.get(
        "hooks", {}
    )
    return load_experiment(tree)


def clone_tree(config: HybridConfig, entry: Entry, data: Dataset, env: EnvConfig) -> dict[str, Any]:
    """What of it decides the weights, but for the seed and the number of epochs."""
    if not config.bc_coeff:
        raise UserError(
            "--bc_coeff 0: nothing would be cloned; to leave cloning out of the hybrid alone: "
            f"losses.{CLONING}.weight=0"
        )
    tree = copy.deepcopy(entry.data)
    tree["ppo"] = tree.get("ppo", {}) | {
        "surrogate": False,
        "value_coef": 0.0,
        "entropy_coef": 0.0,
        "epochs": 1,
        "minibatch_size": config.bc_batch_size,
    }
    tree |= {
        "name": _name("clone", config),
        "seed": config.seed,
        "device": config.device,
        "env": env.model_dump(mode="json") | {"num_envs": 1},
        "policy": _policy(entry, data),
        "demos": {
            NAME: {
                "datasets": config.data_sets,
                "mix_ratio": 1.0,
                "behavior": "none",
                "ood": False,
                "holdout": HOLDOUT,
            }
        },
        "losses": {CLONING: {"type": "cloning", "weight": config.bc_coeff}},
        "eval": {"num_evals": 0},
    }
    for item in for_clone(config):
        overrides.apply(tree, item)
    for path in OF_EPOCHS:
        if overrides.get(tree, path) is not None:
            raise UserError(f"bc.{path}: follows from --num_bc_epochs and --bc_batch_size")
    return tree


def hybrid_experiment(
    config: HybridConfig,
    entry: Entry,
    data: Dataset,
    env: EnvConfig,
    clone: str,
    board: str,
) -> Experiment:
    """Hybrid PPO from the clone, on fresh and recorded rows."""
    tree = copy.deepcopy(entry.data)
    tree |= {
        "name": _name("hybrid", config),
        "seed": config.seed,
        "device": config.device,
        "init_from": clone,
        "log_std_subtract": config.log_std_subtract,
        "warm_start_steps": 0 if config.mix_ratio == 1.0 else config.warm_start_steps,
        "env": env.model_dump(mode="json") | entry.data.get("env", {}),
        "policy": _policy(entry, data),
        "demos": {
            NAME: {
                "datasets": config.data_sets,
                "mix_ratio": config.mix_ratio,
                "rho_bar": config.rho_bar,
                "c_bar": config.c_bar,
            }
        },
        "losses": {CLONING: {"type": "cloning", "weight": config.bc_coeff}},
    }
    for item in for_hybrid(config):
        overrides.apply(tree, item)
    total = tree["ppo"]["total_steps"]
    if isinstance(total, (int, float)):
        # A kill loses a hundredth at most.
        tree["checkpoint"] = {"every": max(1, int(total) // 100)} | tree.get("checkpoint", {})
    tree["track"] = _with_board(tree.get("track", []), board)
    return load_experiment(tree)


def as_run(plan: Experiment) -> dict[str, Any]:
    """Arguments of the pipeline as the hybrid takes them, settings included."""
    return {name: overrides.get(plan, path) for name, path in IN_PLAN.items()}


def with_settings(entry: Entry, settings: Sequence[str]) -> dict[str, Any]:
    """An hparam entry's hyper-parameters with the settings of the command line over them."""
    tree = copy.deepcopy(entry.data)
    for item in settings:
        overrides.apply(tree, item)
    return tree


def check_same_networks(clone: PolicyConfig, plan: Experiment, name: str) -> None:
    """UserError where the hybrid cannot take over the clone's weights, or would understand them differently."""
    one, other = (dict(overrides.leaves(node.model_dump(mode="json"))) for node in (clone, plan.policy))
    names = dict.fromkeys([*one, *other])
    wrong = [path for path in names if path not in LOADED and one.get(path) != other.get(path)]
    if wrong:
        told = "; ".join(
            f"policy.{path} {one.get(path)} there, {other.get(path)} in the hybrid" for path in wrong
        )
        raise UserError(
            f"the clone of {name} has other networks than the hybrid: {told}; take keys that agree"
        )


def policy_of(entry: Entry, data: Dataset, settings: Sequence[str]) -> dict[str, Any]:
    """The policy's part of the tree, with the settings that belong to it."""
    tree: dict[str, Any] = {"policy": _policy(entry, data)}
    for item in settings:
        if item.startswith("policy."):
            overrides.apply(tree, item)
    return dict(tree["policy"])


def _policy(entry: Entry, data: Dataset) -> dict[str, Any]:
    policy: dict[str, Any] = copy.deepcopy(entry.data.get("policy", {}))
    if data.action_space is not None and not isinstance(data.action_space, Box):
        # A deviation is for continuous actions; the head follows from the action space.
        policy.pop("head", None)
    return policy


def _with_board(track: Any, board: str) -> list[Any]:
    wanted = list(track) if isinstance(track, Sequence) and not isinstance(track, str) else [track]
    kinds = [one.get("type") if isinstance(one, Mapping) else one for one in wanted]
    return wanted if "tensorboard" in kinds else [{"type": "tensorboard", "folder": board}, *wanted]


def _name(stage: str, config: HybridConfig) -> str:
    return f"{stage}-{config.env}-{config.clone}"[:100]
