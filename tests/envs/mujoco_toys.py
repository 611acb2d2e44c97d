"""MuJoCo environments for tests/envs/test_threads.py, apart because they need mujoco to be imported."""

import gymnasium as gym
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv


class Stumbling(HopperEnv):
    """Raises at the observation that `left` counts down to, once."""

    left = -1

    def _get_obs(self):
        Stumbling.left -= 1
        if Stumbling.left == 0:
            raise ArithmeticError("stumbled")
        return super()._get_obs()


class Pushed(HopperEnv):
    """A wind that nobody but its step knows of."""

    def step(self, action):
        self.data.xfrc_applied[1, 0] = 50.0
        return super().step(action)


class Doubling(gym.ActionWrapper):
    def action(self, action):
        return action / 2


class Looking(gym.ObservationWrapper):
    """Passes actions on as they are, but might do anything to the simulation."""

    def observation(self, observation):
        return observation


class Sloped(HopperEnv):
    """Its own reset and simulation constants, Gymnasium's own step."""

    def reset_model(self):
        self.model.opt.gravity[0] = -1.0
        return super().reset_model()
