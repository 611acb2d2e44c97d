"""Small environments that a correct PPO must learn in seconds, each needing one thing to work."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Identity(gym.Env):
    """Reward 1 for naming the observed digit. Needs: the right observation beside the right action."""

    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(4)

    def __init__(self, length=16):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.shown = int(self.np_random.integers(4))
        return self.shown, {}

    def step(self, action):
        reward = float(action == self.shown)
        self.t += 1
        self.shown = int(self.np_random.integers(4))
        return self.shown, reward, False, self.t >= self.length, {}


class ContinuousIdentity(Identity):
    """Minus the squared distance to the observed number."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def _draw(self):
        self.shown = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.shown

    def reset(self, *, seed=None, options=None):
        gym.Env.reset(self, seed=seed)
        self.t = 0
        return self._draw(), {}

    def step(self, action):
        reward = -float((action[0] - self.shown[0]) ** 2)
        self.t += 1
        return self._draw(), reward, False, self.t >= self.length, {}


class Bandit(gym.Env):
    """One step; arm 2 pays most. Needs: termination without a bootstrap."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), (0.0, 0.5, 1.0)[action], True, False, {}


class Delayed(gym.Env):
    """The first action decides the reward five steps later. Needs: credit over time."""

    observation_space = spaces.Box(0, 1, (6,), np.float32)
    action_space = spaces.Discrete(2)

    def _obs(self):
        obs = np.zeros(6, np.float32)
        obs[self.t] = 1.0
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.first = 0, 0
        return self._obs(), {}

    def step(self, action):
        if self.t == 0:
            self.first = int(action)
        self.t += 1
        done = self.t == 5
        return self._obs(), float(done and self.first == 1), done, False, {}


class Recall(gym.Env):
    """The digit shown at the start must be named three steps later. Needs: memory, reset with the episode."""

    observation_space = spaces.Box(0, 1, (4,), np.float32)
    action_space = spaces.Discrete(3)

    def _obs(self):
        obs = np.zeros(4, np.float32)
        if self.t == 0:
            obs[self.digit] = 1.0
        obs[3] = float(self.t == 3)
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.digit = 0, int(self.np_random.integers(3))
        return self._obs(), {}

    def step(self, action):
        reward = float(self.t == 3 and int(action) == self.digit)
        self.t += 1
        return self._obs(), reward, self.t == 4, False, {}


class Masked(gym.Env):
    """Six actions of which the mask allows two; the higher one pays. A forbidden action raises."""

    observation_space = spaces.Dict(
        {"hint": spaces.Box(0, 1, (6,), np.float32), "action_mask": spaces.MultiBinary(6)}
    )
    action_space = spaces.Discrete(6)

    def _obs(self):
        self.allowed = np.sort(self.np_random.choice(6, 2, replace=False))
        mask = np.zeros(6, np.int8)
        mask[self.allowed] = 1
        return {"hint": mask.astype(np.float32), "action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        if action not in self.allowed:
            raise ValueError(f"action {action} is forbidden")
        reward = float(action == self.allowed[1])
        self.t += 1
        return self._obs(), reward, False, self.t >= 8, {}


class MaskedRecall(Recall):
    """Recall with a Dict observation and one action always forbidden."""

    observation_space = spaces.Dict(
        {"seen": spaces.Box(0, 1, (4,), np.float32), "action_mask": spaces.MultiBinary(4)}
    )
    action_space = spaces.Discrete(4)

    def _obs(self):
        return {"seen": super()._obs(), "action_mask": np.array([1, 1, 1, 0], np.int8)}


class Chain(gym.Env):
    """A corridor of 12 cells that pays only at its end: chance hardly ever gets there."""

    observation_space = spaces.Discrete(12)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.t = 0, 0
        return self.at, {}

    def step(self, action):
        # The right move changes from cell to cell; a wrong one leads back to the start.
        self.at = self.at + 1 if action == self.at % 3 else 0
        self.t += 1
        done = self.at == 11
        return self.at, float(done), done, self.t >= 24, {}


class Picture(gym.Env):
    """Shows where a bright square is; pays for saying whether it is on the left."""

    observation_space = spaces.Box(0, 255, (40, 36, 1), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._draw(), {}

    def step(self, action):
        reward = float(action == (self.column < 18))
        self.count += 1
        return self._draw(), reward, self.count >= 8, False, {}

    def _draw(self):
        self.column = int(self.np_random.integers(32))
        picture = np.zeros((40, 36, 1), np.uint8)
        picture[8:16, self.column : self.column + 4] = 200
        return picture
