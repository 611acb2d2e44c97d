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


class EveryOtherAnother(HopperEnv):
    """A body of its own for every second copy."""

    made = 0

    def _initialize_simulation(self):
        import mujoco

        EveryOtherAnother.made += 1
        model, data = super()._initialize_simulation()
        if EveryOtherAnother.made % 2 == 0:
            spec = mujoco.MjSpec.from_file(self.fullpath)
            spec.worldbody.add_body(name="stone").add_geom(size=[0.1, 0.1, 0.1])
            model = spec.compile()
            data = mujoco.MjData(model)
        return model, data
