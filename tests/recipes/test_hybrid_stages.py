"""The pipeline's experiments: what an epoch of cloning is, and settings that it cannot have."""

import pytest
import torch
from gymnasium.spaces import Box

from proximo.config.experiment import EnvConfig
from proximo.demos.dataset import Dataset
from proximo.errors import UserError
from proximo.recipes.hybrid_fields import HybridConfig
from proximo.recipes.hybrid_hparam import resolve
from proximo.recipes.hybrid_places import Clones
from proximo.recipes.hybrid_stages import clone_experiment

LENGTHS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


def data():
    ends = torch.zeros(sum(LENGTHS), dtype=torch.bool)
    ends[torch.tensor(LENGTHS).cumsum(0) - 1] = True
    return Dataset(
        obs={"obs": torch.zeros(sum(LENGTHS), 3)},
        action=torch.zeros(sum(LENGTHS), 1),
        reward=torch.zeros(sum(LENGTHS)),
        terminated=ends,
        truncated=torch.zeros_like(ends),
        final_obs={"obs": torch.zeros(len(LENGTHS), 3)},
        action_space=Box(-2.0, 2.0, (1,)),
    )


def cloning(tmp_path, *settings):
    options = {
        **{"dataset": "toy", "env": "pendulum", "names": ["few-v0"], "settings": list(settings)},
        **{"hparam_bc": "default_bc", "hparam_hybrid": "default", "num_bc_epochs": 4},
    }
    resolved = resolve(options)
    assert isinstance(resolved.config, HybridConfig)
    clones = Clones(tmp_path, "few-v0")
    return clone_experiment(resolved.config, resolved.bc, data(), EnvConfig(id="Pendulum-v1"), clones, {})


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_an_epoch_is_a_pass_whatever_is_held_out(share, tmp_path):
    """Held-out episodes are of unequal length: a count of rows for another share ends in the middle of a pass."""
    experiment = cloning(tmp_path, f"bc.demos.data.holdout={share}")
    train, _ = data().split(share, experiment.seed)
    assert experiment.demos["data"].holdout == share
    assert experiment.ppo.total_steps == 4 * train.rows
    assert experiment.checkpoint.every == train.rows


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("bc.seed=4", "bc.seed=4: is an option here: --seed 4"),
        ("bc.ppo.total_steps=100", "bc.ppo.total_steps: follows from --num_bc_epochs"),
        ("bc.ppo.num_steps=100", "bc.ppo.num_steps: follows from --num_bc_epochs"),
        ("bc.demos.data.segment=8", "bc.demos.data.segment: follows from --num_bc_epochs"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(setting, said, tmp_path):
    with pytest.raises(UserError, match=f"^{said}"):
        cloning(tmp_path, setting)
