"""Environments and parts that go wrong, each in the one way that it is asked for."""

import os
import signal
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from proximo.policies.encoders import BaseFeaturesExtractor


class Steady(gym.Env):
    """Nothing wrong: two numbers seen, two actions, ten steps."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        return self._obs(), float(action), False, self.t >= 10, {}

    def _obs(self):
        return np.array([self.t / 10, self.np_random.uniform()], np.float32)


class Wide(Steady):
    """Steady with another observation space."""

    observation_space = spaces.Box(-10, 10, (5,), np.float32)

    def _obs(self):
        return np.zeros(5, np.float32)


class BadReward(Steady):
    """From step 3 of every episode on the reward is `value`."""

    def __init__(self, value=None):
        self.value = np.array([1.0, 2.0]) if value == "array" else value

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, self.value if self.t >= 3 else reward, terminated, truncated, info


class BadObs(Steady):
    """From step `at` of every episode on the observation is not what the space says."""

    def __init__(self, how="nan", at=3):
        self.how, self.at = how, at

    def _obs(self):
        if self.t < self.at:
            return super()._obs()
        return {
            "nan": np.array([0, np.nan], np.float32),
            "inf": np.array([0, np.inf], np.float32),
            "shape": np.zeros(3, np.float32),
            "one": np.zeros(1, np.float32),
            "number": 0.5,
            "none": None,
            "text": "left",
            "dict": {"obs": np.zeros(2, np.float32)},
        }[self.how]


class BadStep(Steady):
    """`step` or `reset` returns something other than Gymnasium asks for."""

    def __init__(self, how="four"):
        self.how = how

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        if self.how == "reset_bare":
            return obs
        if self.how == "reset_none":
            return None
        return (obs, None) if self.how == "info" else (obs, info)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.how == "four":
            return obs, reward, terminated, info
        if self.how == "nothing":
            return None
        if self.how == "flag":
            return obs, reward, np.array([False, True]), truncated, info
        return obs, reward, terminated, truncated, None if self.how == "info" else info


class BadSpace(Steady):
    """Spaces that no policy of ours acts in or sees."""

    def __init__(self, which="dict"):
        self.action_space = {
            "dict": spaces.Dict({"x": spaces.Discrete(2)}),
            "tuple": spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))),
            "integers": spaces.Box(0, 5, (2,), np.int64),
            "none": None,
        }.get(which, Steady.action_space)
        if which == "text":
            self.observation_space = spaces.Text(5)
        if which == "empty":
            self.observation_space = spaces.Dict({})
        if which == "no_obs":
            self.observation_space = None


class OutOfRange(Steady):
    """A Discrete observation beyond its space."""

    observation_space = spaces.Discrete(3)

    def _obs(self):
        return 7 if self.t == 4 else 1


class LacksKey(Steady):
    """A Dict observation without one of its keys."""

    observation_space = spaces.Dict({"near": spaces.Discrete(3), "far": spaces.Discrete(3)})

    def _obs(self):
        return {"near": 1, "far": 1} if self.t < 4 else {"near": 1}


class NoneAllowed(Steady):
    """At step 5 the mask forbids every action."""

    observation_space = spaces.Dict({"x": Steady.observation_space, "action_mask": spaces.MultiBinary(2)})

    def _obs(self):
        return {"x": super()._obs(), "action_mask": np.full(2, self.t != 5, np.int8)}


class Raises(Steady):
    """Raises in `where` (init, reset, step, close); in step only after `after` steps and while `flag` exists."""

    def __init__(self, where="step", after=3, flag=None):
        self.where, self.after, self.flag, self.steps = where, after, flag, 0
        self._maybe("init")

    def reset(self, *, seed=None, options=None):
        self._maybe("reset")
        return super().reset(seed=seed)

    def step(self, action):
        self.steps += 1
        if self.steps > self.after and (self.flag is None or Path(self.flag).exists()):
            self._maybe("step")
        return super().step(action)

    def close(self):
        self._maybe("close")

    def _maybe(self, moment):
        if moment == self.where:
            raise ValueError("the roof\nfell in")


class Exits(Steady):
    """Calls `sys.exit` in a step."""

    def step(self, action):
        raise SystemExit(0)


class Interrupts(Steady):
    """The user presses Ctrl-C `times` times in step `after`."""

    def __init__(self, times=1, after=20):
        self.times, self.after, self.steps = times, after, 0

    def step(self, action):
        self.steps += 1
        if self.steps == self.after:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


class Drawn(Steady):
    """Steady with a picture, or with what `how` says instead."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, how="", render_mode=None):
        self.how, self.render_mode = how, render_mode

    def render(self):
        if self.how == "raise":
            raise RuntimeError("no\nbrush")
        return np.zeros((16, 16) if self.how == "flat" else (16, 16, 3), np.uint8)


class NotAnEnv:
    """No environment."""


class BadEncoder(BaseFeaturesExtractor):
    """Fails as `how` says."""

    def __init__(self, observation_space, features_dim=8, how="width"):
        if how == "init":
            raise ValueError("no\nweights")
        if how != "super":
            super().__init__(observation_space, features_dim)
        self.how = how
        self.layer = torch.nn.Linear(2, features_dim)
        self.calls = 0

    def forward(self, observations):
        self.calls += 1
        if self.how == "width":
            return self.layer(observations)[:, :3]
        if self.how == "text":
            return "features"
        if self.how == "raise" or (self.how == "late" and self.calls > 20):
            raise ArithmeticError("the layers\nmelted")
        if self.how == "nan":
            return self.layer(observations) * float("nan")
        return self.layer(observations)


class BadReturn:
    """A reward term; fails as `how` says."""

    def __init__(self, how="raise"):
        self.how = how

    def __call__(self, rollout):
        if self.how == "raise":
            raise ZeroDivisionError("division\nby zero")
        return {
            "shape": rollout.reward[0],
            "none": None,
            "nan": rollout.reward * float("nan"),
            "update": rollout.reward,
            "state": rollout.reward,
        }[self.how]

    def update(self, rollout):
        if self.how == "update":
            raise KeyError("novelty")

    def state_dict(self):
        return {"f": print} if self.how == "state" else {}


class BadLoss:
    """A loss term; fails as `how` says."""

    def __init__(self, how="raise"):
        self.how = how

    def __call__(self, output, batch):
        if self.how == "raise":
            raise AttributeError("no\nlogits")
        value = next(iter(output.values.values()))
        return {"rows": value, "none": None, "nan": value.mean() * float("nan"), "number": 1.0}[self.how]


class BadHook:
    """Raises at the moment `when`, from the second update on."""

    def __init__(self, when="after_update"):
        self.when, self.updates = when, 0

    def after_update(self, training, metrics):
        self.updates += 1
        if self.when == "metric":
            metrics["mine"] = "high"
        self._maybe("after_update")

    def after_record(self, training, metrics):
        self._maybe("after_record")

    def state_dict(self):
        self._maybe("state_dict")
        return {}

    def load_state_dict(self, state):
        pass

    def _maybe(self, moment):
        if moment == self.when and self.updates > 1:
            raise LookupError("no\nsuch shelf")


class BadTracker:
    """Raises at the moment `when`."""

    def __init__(self, when="scalars"):
        self.when = when
        self._maybe("init")

    def start(self, run, experiment, resume_step):
        self._maybe("start")

    def scalars(self, step, values):
        self._maybe("scalars")

    def video(self, step, path):
        pass

    def artifact(self, path):
        self._maybe("artifact")

    def close(self, status):
        self._maybe("close")

    def _maybe(self, moment):
        if moment == self.when:
            raise ConnectionError("the server\nhung up")


class BadSource:
    """A source of rollouts that has none."""

    name = "mine"
    fresh, off_policy = False, True

    def __init__(self, experiment, spec):
        pass

    def collect(self, policy):
        raise EOFError("no more\ndemonstrations")

    def correct(self, comparison):
        raise NotImplementedError


not_a_class = 3
