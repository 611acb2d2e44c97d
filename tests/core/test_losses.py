"""Loss terms and advantages at their edges."""

from types import SimpleNamespace

import torch

from proximo.core.losses import CustomLoss
from proximo.core.ppo import normalize_rollout_advantages


class Counted:
    """A user's loss that remembers how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, output, batch):
        self.calls += 1
        return torch.zeros(())

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def test_the_state_of_a_users_loss_goes_into_the_checkpoint():
    first, second = CustomLoss("mine", 1.0, Counted()), CustomLoss("mine", 1.0, Counted())
    first(None, None)
    second.load_state_dict(first.state_dict())
    assert second.function.calls == 1
    assert not hasattr(CustomLoss("plain", 1.0, lambda output, batch: torch.zeros(())), "state_dict")


def entry(advantage, valid):
    rollout = SimpleNamespace(valid=torch.tensor(valid), fresh=True)
    return SimpleNamespace(advantage=torch.tensor(advantage), rollout=rollout)


def test_a_rollout_of_one_row_keeps_its_advantage():
    for data in ([entry([[3.0]], [[True]])], [entry([[3.0, 9.0]], [[True, False]])]):
        normalize_rollout_advantages(data)
        assert data[0].advantage[0, 0] == 3.0


def test_two_rows_are_standardised():
    data = [entry([[1.0, 3.0]], [[True, True]])]
    normalize_rollout_advantages(data)
    # By hand: mean 2, deviation √2 with n − 1.
    assert torch.allclose(data[0].advantage, torch.tensor([[-(0.5**0.5), 0.5**0.5]]))
