"""Small environments whose every number can be foretold."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counter(gym.Env):
    """Observation: [first, steps taken]; ends after `length` steps; reward = action. `first` comes from the seed."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, length=3, gain=1.0, start=0, render_mode=None):
        self.length, self.gain, self.render_mode = length, gain, render_mode
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Discrete(3, start=start)
        self._buffer = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._buffer[:] = self.np_random.integers(1000), 0
        return self._buffer, {}

    def step(self, action):
        self._buffer[1] += 1
        done = bool(self._buffer[1] >= self.length)
        info = {"is_success": bool(action == 2), "level": self._buffer[1], "text": "x"} if done else {}
        return self._buffer, float(action) * self.gain, done, False, info

    def render(self):
        return np.full((4, 4, 3), int(self._buffer[1]), np.uint8)


class Copying(Counter):
    """Returns a new array each time (gymnasium's SAME_STEP keeps a reference to the last one over the reset)."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return obs.copy(), info

    def step(self, action):
        obs, *rest = super().step(action)
        return (obs.copy(), *rest)


class Configured(Counter):
    """Has a `configure` of its own."""

    def configure(self, length, gain=1.0):
        if length < 1:
            raise ValueError("too\nshort")
        self.length, self.gain = length, gain


class Defaulting(Counter):
    """Has a `configure` that sets a default where it is given nothing."""

    def configure(self, length=3):
        self.length = length


class Nested(gym.Env):
    """Dict in Dict with a Tuple, an image, a Discrete and a mask that forbids action t mod 3."""

    observation_space = spaces.Dict(
        {
            "a": spaces.Dict({"b": spaces.Box(-1, 1, (2,), np.float32), "c": spaces.Discrete(5, start=2)}),
            "t": spaces.Tuple((spaces.MultiBinary(2), spaces.Box(0, 255, (3, 3, 1), np.uint8))),
            "action_mask": spaces.Box(0, 1, (3,), np.int8),
        }
    )
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        return self._obs(), 0.0, False, self.t >= 4, {}

    def _obs(self):
        mask = np.ones(3, np.int8)
        mask[self.t % 3] = 0
        return {
            "a": {"b": np.array([0.5, self.t / 10], np.float32), "c": 2 + self.t % 5},
            "t": (np.array([1, 0], np.int8), np.full((3, 3, 1), self.t, np.uint8)),
            "action_mask": mask,
        }


class InfoMasked(Counter):
    """Gives its mask in `info`."""

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return obs, {"action_mask": self._mask()}

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "action_mask": self._mask()}

    def _mask(self):
        mask = np.zeros(3, np.int8)
        mask[int(self._buffer[1]) % 3] = 1
        return mask


class StrictMask(InfoMasked):
    """Insists on its mask."""

    def step(self, action):
        assert self._mask()[action], "the mask does not allow this"
        return super().step(action)


class Broken(Counter):
    """Goes wrong in step 2, in the way that `how` says."""

    def __init__(self, how="raise"):
        super().__init__(length=5)
        self.how = how

    def reset(self, *, seed=None, options=None):
        if self.how == "reset":
            raise OSError("no\nfloor")
        obs, info = super().reset(seed=seed)
        return (np.zeros(3), info) if self.how == "shape" else (obs, info)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if obs[1] == 2:
            if self.how == "raise":
                raise ValueError("the\nroof fell in")
            if self.how == "reward":
                reward = float("nan")
            if self.how == "none":
                reward = None
            if self.how == "obs":
                obs = np.array([np.inf, 0.0])
            if self.how == "info":
                info = {"level": "high"}
            if self.how == "tuple":
                return obs, reward, terminated, info
        return obs, reward, terminated, truncated, info


class Forgetful(Counter):
    """Does not repeat itself: a hidden counter over all resets."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        Forgetful.resets += 1
        obs[0] = Forgetful.resets
        return obs, info


class Savable(gym.Env):
    """A random walk that is not a function of seed and actions, but can save itself."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.rng = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        self.x = float(self.rng.normal())
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += float(self.rng.normal())
        return np.array([self.x], np.float32), self.x, False, False, {}

    def state_dict(self):
        state = self.rng.bit_generator.state
        return {"x": self.x, "state": str(state["state"]["state"]), "inc": str(state["state"]["inc"])}

    def load_state_dict(self, state):
        self.x = state["x"]
        full = self.rng.bit_generator.state
        full["state"] = {"state": int(state["state"]), "inc": int(state["inc"])}
        full["has_uint32"], full["uinteger"] = 0, 0
        self.rng.bit_generator.state = full


class Multi(gym.Env):
    """MultiDiscrete, MultiBinary or Box actions; returns in `obs` what it was given."""

    def __init__(self, kind="multi"):
        self.action_space = {
            "multi": spaces.MultiDiscrete([2, 3]),
            "binary": spaces.MultiBinary(2),
            "box": spaces.Box(-2, 2, (2, 1), np.float64),
            "dict": spaces.Dict({"x": spaces.Discrete(2)}),
            "integers": spaces.Box(0, 9, (2,), np.int64),
        }[kind]
        self.observation_space = spaces.Box(-9, 9, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert action.dtype == self.action_space.dtype
        assert action.shape == self.action_space.shape
        obs = np.array(action, np.float32).reshape(2)
        action[:] = 0
        return obs, 0.0, False, False, {}


class Words(gym.Env):
    observation_space = spaces.Text(5)
    action_space = spaces.Discrete(2)


class Plain:
    """No environment at all."""


class Bonus(gym.RewardWrapper):
    def __init__(self, env, amount=10.0):
        super().__init__(env)
        self.amount = amount

    def reward(self, reward):
        return reward + self.amount


class NoMode(gym.vector.VectorEnv):
    """A vector environment that does not say how it resets."""

    metadata = {}

    def __init__(self, num_envs=2):
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = spaces.Box(-1, 1, (num_envs, 1), np.float32)
        self.action_space = spaces.MultiDiscrete([2] * num_envs)


gym.register("EnvToysCounter-v0", entry_point=Counter, max_episode_steps=2)


class Burner(Counter):
    """Costs `work` rounds of arithmetic a step, the same each time."""

    def __init__(self, work=1000, length=50, reset_work=0):
        super().__init__(length=length)
        self.work, self.reset_work = work, reset_work

    def reset(self, *, seed=None, options=None):
        self._burn(self.reset_work)
        return super().reset(seed=seed)

    def step(self, action):
        self._burn(self.work)
        return super().step(action)

    def _burn(self, rounds):
        value = 1
        for _ in range(rounds):
            value = value * 1103515245 + 12345 & 0x7FFFFFFF
        return value


class Deadly(Counter):
    """In step 2, half of the episodes: raises, or ends its process; `how` says in which way.

    With `victim`, a file that holds an episode's first number, only in that episode, and only once.
    """

    def __init__(self, how="raise", length=5, victim=None):
        super().__init__(length=length)
        self.how, self.victim = how, victim

    def step(self, action):
        obs, *rest = super().step(action)
        if obs[1] == 2 and self._is_due(str(int(obs[0]))):
            if self.how == "raise":
                raise ValueError("the\nroof fell in")
            if self.how == "exit":
                os._exit(3)
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "segfault": signal.SIGSEGV}[self.how])
        return obs, *rest

    def _is_due(self, number):
        if self.victim is None:
            return self.np_random.random() < 0.5
        chosen = Path(self.victim)
        if not chosen.exists() or chosen.read_text() != number:
            return False
        chosen.unlink()
        return True


class Telling(Counter):
    """Tells about its process in the observation: has it PyTorch, which id has it."""

    def step(self, action):
        _, *rest = super().step(action)
        return np.array([float("torch" in sys.modules), os.getpid()]), *rest


class ResetAhead(Burner):
    """Wants spares."""

    metadata = {"reset_ahead": True}


class Counting(Counter):
    """Its first number is how often this very object was reset."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.resets += 1
        obs[0] = self.resets
        return obs, info
