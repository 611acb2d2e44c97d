"""Small environments for what only processes of their own bring about."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import gymnasium as gym
import numpy as np
from env_toys import Counter
from gymnasium import spaces


class Smooth(gym.Env):
    """Keeps the action that it was given and dislikes change."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.before = np.zeros(2, np.float32)
        return self.before, {}

    def step(self, action):
        change, self.before = action - self.before, action
        return change, -float((change**2).sum()), False, False, {}


class Parent(Counter):
    """Starts a program that reads the file `held` to its end, hands down what it can, and kills its own process."""

    def __init__(self, held):
        super().__init__()
        self.held = held

    def step(self, action):
        with open(self.held) as file:
            subprocess.Popen(["cat"], stdin=file, close_fds=False)
        os.kill(os.getpid(), signal.SIGKILL)


class Closing(Counter):
    """Leaves a file named after its process in `folder` when it is closed; action 1 never ends, action 2 raises."""

    def __init__(self, folder):
        super().__init__(length=9)
        self.folder = folder

    def step(self, action):
        if action == 1:
            signal.pause()
        if action == 2:
            raise ValueError("the roof fell in")
        return super().step(action)

    def close(self):
        Path(self.folder, str(os.getpid())).touch()
