"""An environment, a reward and a loss that bring out every metric."""

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces


class Telling(gym.Env):
    """Four steps; tells whether it went well and how much it cost."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    cost = 0.5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.good = 0, 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        self.good += int(action)
        info = {"is_success": self.good > 2, "cost": self.cost * self.good} if self.t == 4 else {}
        return self._obs(), float(action), self.t == 4, False, info

    def _obs(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


class Continuous(Telling):
    """The same with a number as action."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def step(self, action):
        return super().step(action[0] > 0)


class Surprise:
    """A second reward."""

    def __call__(self, rollout):
        return torch.ones_like(rollout.reward)


def smooth(output, batch):
    return output.values["task"].square().mean()


class Smooth:
    """A loss of one's own."""

    def __call__(self, output, batch):
        return smooth(output, batch)
