"""Recorded episodes: counts, pieces, selections, splits and the forms of an action."""

import dataclasses
import math

import gymnasium
import numpy as np
import pytest
import torch

from proximo.demos.dataset import Dataset
from proximo.errors import UserError

LENGTHS = (4, 1, 16, 21, 22)
ROWS = sum(LENGTHS)


def dataset(**changes):
    """Observation i is i, the observation after episode e is 1000 + e, and every step is worth its number."""
    ends = torch.tensor(LENGTHS).cumsum(0) - 1
    terminated = torch.zeros(ROWS, dtype=torch.bool)
    terminated[ends[:-1]] = True
    truncated = torch.zeros(ROWS, dtype=torch.bool)
    truncated[ends[-1]] = True
    number = torch.arange(ROWS, dtype=torch.float32)
    columns = {
        "obs": {"obs": number[:, None]},
        "action": torch.arange(ROWS) % 3,
        "reward": number,
        "terminated": terminated,
        "truncated": truncated,
        "final_obs": {"obs": 1000.0 + torch.arange(len(LENGTHS))[:, None]},
        "logp": -number,
    }
    return Dataset(**{**columns, **changes})


def test_counts():
    data = dataset()
    assert (data.rows, data.episodes) == (64, 5)
    assert data.lengths.tolist() == list(LENGTHS)
    assert data.returns.tolist() == [6, 4, 200, 651, 1155]
    assert data.return_mean == pytest.approx(403.2)
    assert data.start.nonzero()[:, 0].tolist() == [0, 4, 5, 21, 42]
    assert data.episode[[0, 3, 4, 5, 63]].tolist() == [0, 0, 1, 2, 4]


def test_pieces_have_the_shape_of_their_index():
    obs, action = dataset().take(torch.tensor([[5, 0], [63, 7], [7, 7]]))
    assert obs["obs"][..., 0].tolist() == [[5, 0], [63, 7], [7, 7]]
    assert action.tolist() == [[2, 0], [0, 1], [1, 1]]
    assert dataset().final(torch.tensor([4, 0]))["obs"].tolist() == [[1004], [1000]]


def test_a_selection_of_a_selection_keeps_rows_together():
    data = dataset().select(torch.tensor([3, 1, 0])).select(torch.tensor([1, 0]))
    assert data.lengths.tolist() == [1, 21]
    rows = torch.arange(data.rows)
    obs, action = data.take(rows)
    assert obs["obs"][:, 0].tolist() == [4, *range(21, 42)]
    assert action.tolist() == [n % 3 for n in [4, *range(21, 42)]]
    assert data.reward.tolist() == obs["obs"][:, 0].tolist()
    assert data.logp.tolist() == [-n for n in data.reward.tolist()]
    assert data.final(torch.arange(2))["obs"][:, 0].tolist() == [1001, 1003]


def test_a_split_is_by_episode_and_follows_its_seed():
    def held_out(seed, fraction=0.4):
        train, valid = dataset().split(fraction, seed)
        parts = [set(part.take(torch.arange(part.rows))[0]["obs"][:, 0].tolist()) for part in (train, valid)]
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == set(range(ROWS))
        assert sorted(train.lengths.tolist() + valid.lengths.tolist()) == sorted(LENGTHS)
        return valid.episodes, frozenset(parts[1])

    assert held_out(3) == held_out(3)
    assert len({held_out(seed) for seed in range(8)}) > 3
    assert held_out(0)[0] == 2
    assert held_out(0, 0.01)[0] == 1
    assert held_out(0, 0.99)[0] == 4


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_split_needs_a_share_of_the_data(fraction):
    with pytest.raises(UserError, match="between 0 and 1"):
        dataset().split(fraction, 0)


def test_one_episode_cannot_be_split():
    with pytest.raises(UserError, match="at least 2 episodes"):
        dataset().select(torch.tensor([0])).split(0.1, 0)


def test_squashed_actions_become_the_environments_with_their_density():
    space = gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([3, 1]))
    inside = torch.linspace(-1, 1, ROWS)[:, None].repeat(1, 2)
    data = dataset(action=inside, form="squashed", stored="squashed", action_space=space)
    assert torch.equal(data.take(torch.arange(ROWS))[1], inside)
    changed = data.in_environment_form()
    action = changed.take(torch.tensor([0, 63]))[1]
    assert action.tolist() == [[-1, 0], [3, 1]]
    # Half of the widths is 2 and 0.5: their product is 1.
    torch.testing.assert_close(changed.logp, data.logp)
    wide = gymnasium.spaces.Box(-3.0, 3.0, (2,))
    changed = dataclasses.replace(data, action_space=wide).in_environment_form()
    torch.testing.assert_close(changed.logp, data.logp - 2 * math.log(3))


def test_unclipped_actions_become_the_environments_without_a_density():
    space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action = torch.linspace(-4, 4, ROWS)[:, None]
    data = dataset(action=action, form="unclipped", stored="unclipped", action_space=space)
    changed = data.in_environment_form()
    assert changed.logp is None
    assert changed.take(torch.tensor([0, 63]))[1].tolist() == [[-1], [1]]
    assert changed.in_environment_form() is changed


def test_what_does_not_fit_is_refused():
    none = torch.zeros(0)
    with pytest.raises(UserError, match="empty"):
        dataset(reward=none, terminated=none.bool(), truncated=none.bool())
    with pytest.raises(UserError, match="must end its episode"):
        dataset(truncated=torch.zeros(ROWS, dtype=torch.bool))
    with pytest.raises(UserError, match="5 episodes end but 4 final observations"):
        dataset(final_obs={"obs": torch.zeros(4, 1)})
