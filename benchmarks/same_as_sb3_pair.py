"""Proximo at a checkpoint, and the real Stable-Baselines3 put where it is (see same_as_sb3.py).

Both take one update at a time. Shapes: `T` steps, `N` environments, `D` numbers of an observation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
import torch
from stable_baselines3.common import policies
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor
from torch.nn.utils import vector_to_parameters
from versus_sb3 import EPOCHS, NORMALIZE, NUM_ENVS, NUM_STEPS, sb3_model

from proximo import Experiment
from proximo.build import Built, build
from proximo.core.engines.eager import Plan
from proximo.core.rng import integer_seed, permutation
from proximo.core.timer import Timer

Array = np.ndarray[Any, Any]

LIMIT = 200
"""Steps of an episode."""
CPU = torch.device("cpu")
NAMES = {
    "actor_layers.0": "mlp_extractor.policy_net.0",
    "actor_layers.2": "mlp_extractor.policy_net.2",
    "critic_layers.0": "mlp_extractor.value_net.0",
    "critic_layers.2": "mlp_extractor.value_net.2",
    "head.linear": "action_net",
    "value_heads.on_task": "value_net",
    "head": "",
}
"""Proximo's modules and Stable-Baselines3's; `head.log_std` is `log_std` there."""


class Ours:
    """Proximo, going on from a checkpoint."""

    def __init__(self, exp: Experiment, saved: dict[str, Any]) -> None:
        self.seed = exp.seed
        self.built = build(exp, CPU, Timer(), lambda line: None)
        slow = exp.model_copy(update={"engine": "eager"})
        self.twin = build(slow, CPU, Timer(), lambda line: None)
        self.parts = self.built.stateful()
        for name in ("policy", "optimizer", "stream.task"):
            self.parts[name].load_state_dict(saved[name])
        self.scale = self.parts["stream.task"].scaler
        self.scale.running.zero_()  # The environments begin anew.
        self.moments = self.built.policy.normalizer.by_key["obs"].moments
        self.batching = self.built.ppo.parts.batching
        self.last = watch(self.built)

    def iterate(self, prefixes: Sequence[int]) -> tuple[Any, list[Tensor], list[Tensor]]:
        """One update: its rollout, evaluated; orders of its rows; weights after so many epochs and after all."""
        self.before, drawn = self._state(), self.batching.drawn
        self.weights_before, self.moments_before = self.weights(), copy.deepcopy(self.moments)
        self.adam = list(self.before["optimizer"]["moments"].values())
        self.built.ppo.iterate()
        data, after, weights = self.last(), self._state(), []
        for epochs in prefixes:
            self._restore(self.before)
            weights.append(self._learnt(data, epochs))
        self._restore(after)
        rows = NUM_STEPS * NUM_ENVS
        orders = [permutation(self.batching.key, drawn + i, rows, CPU) for i in range(EPOCHS)]
        return data, orders, [*weights, self.weights()]

    def learn_in_float64(self, data: Any, prefixes: Sequence[int]) -> list[Tensor]:
        """The newest update again, by the eager engine; weights after so many epochs."""
        twin = self.twin.ppo.parts
        for name, part in self.twin.stateful().items():
            if name in self.before:
                part.load_state_dict(copy.deepcopy(self.before[name]))
        twin.policy.double()
        for moments in twin.optimizer.adam.state.values():
            moments.update({name: moment.double() for name, moment in moments.items() if name != "step"})
        units = twin.batching.units(data)
        units.fields = {name: field.double() for name, field in units.fields.items()}
        weights = []
        for done, epochs in pairwise((0, *prefixes)):
            plan = Plan(epochs - done)
            twin.engine.learn(twin.policy, twin.optimizer, twin.losses, twin.batching, [units], plan)
            weights.append(flat(twin.policy.parameters()))
        return weights

    def weights(self) -> Tensor:
        """All, one after the other."""
        return flat(self.built.policy.parameters())

    def _learnt(self, data: Any, epochs: int) -> Tensor:
        parts = self.built.ppo.parts
        units = [self.batching.units(data)]
        parts.engine.learn(parts.policy, parts.optimizer, parts.losses, self.batching, units, Plan(epochs))
        return self.weights()

    def _state(self) -> dict[str, Any]:
        names = ("policy", "optimizer", "batching")
        return {name: copy.deepcopy(self.parts[name].state_dict()) for name in names}

    def _restore(self, state: dict[str, Any]) -> None:
        for name, entry in state.items():
            self.parts[name].load_state_dict(entry)


class Theirs:
    """Stable-Baselines3, given what Proximo has before each update."""

    def __init__(self, env: str, ours: Ours) -> None:
        makers = [lambda i=i: Reseeded(env, ours.seed, i) for i in range(NUM_ENVS)]
        self.watched = Watched(DummyVecEnv(makers), **NORMALIZE)
        put(self.watched.obs_rms, ours.moments)
        put(self.watched.ret_rms, ours.scale.moments)
        self.scaled = VecNormalize(self.watched, training=False, **NORMALIZE)
        self.model = sb3_model(self.scaled, ours.seed)
        # This resets the environments; the number of steps is never reached.
        _, self.callback = self.model._setup_learn(10**9, None)
        named = dict(self.model.policy.named_parameters())
        self.parameters = [named[their_name(name)] for name, _ in ours.built.policy.named_parameters()]

    def collect(self, ours: Ours, actions: Tensor) -> Array:
        """Collect with our weights, scales and actions; the raw observations `[T, N, D]`."""
        put(self.scaled.obs_rms, ours.moments_before)
        put(self.scaled.ret_rms, ours.scale.moments)
        vector_to_parameters(ours.weights_before, self.parameters)
        model, given, raw = self.model, iter(actions), []
        model._last_obs = self.scaled.normalize_obs(self.scaled.old_obs)

        def forward(obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            raw.append(self.scaled.get_original_obs())
            action = next(given)
            value, logp, _ = model.policy.evaluate_actions(obs, action)
            return action, value, logp

        with patch.object(model.policy, "forward", forward):
            model.collect_rollouts(self.scaled, self.callback, model.rollout_buffer, NUM_STEPS)
        return np.stack(raw)

    def learn(self, ours: Ours, orders: Sequence[Tensor]) -> list[Tensor]:
        """The update, in the precision of the policy; the weights after each minibatch."""
        optimizer, weights = self.model.policy.optimizer, []
        kind = self.parameters[0].dtype
        vector_to_parameters(ours.weights_before.to(kind, copy=True), self.parameters)
        for parameter, moments in zip(self.parameters, ours.adam, strict=True):
            optimizer.state[parameter] = {
                name: moment.clone() if name == "step" else moment.to(kind, copy=True)
                for name, moment in moments.items()
            }
        # They count rows environment by environment, we step by step.
        rows = [(order % NUM_ENVS * NUM_STEPS + order // NUM_ENVS).numpy() for order in orders]

        def look(*_: Any) -> None:
            weights.append(flat(self.parameters))

        hook = optimizer.register_step_post_hook(look)
        with patch.object(np.random, "permutation", side_effect=rows):
            self.model.train()
        hook.remove()
        return weights

    def learn_in_float64(self, ours: Ours, data: Any, orders: Sequence[Tensor]) -> list[Tensor]:
        """The same from our rows, every number of them and of the policy in float64."""
        buffer, policy = self.model.rollout_buffer, self.model.policy
        given = {
            "observations": data.obs["obs"],
            "actions": data.rollout.action,
            "values": data.value["task"],
            "log_probs": data.logp_old,
            "advantages": data.advantage,
            "returns": data.target["task"],
        }
        vars(buffer).update({name: rows.double().numpy() for name, rows in given.items()})
        buffer.generator_ready = False
        policy.double()
        # It would make float32 of observations again.
        with patch.object(policies, "preprocess_obs", lambda obs, *_, **__: obs):
            weights = self.learn(ours, orders)
        policy.float()
        return weights


class Watched(VecNormalize):
    """Statistics as Stable-Baselines3 moves them, over rows that are passed on as they are."""

    def step_wait(self) -> Any:
        """Keeps what the statistics were before: with the rows that were acted on, and no other."""
        self.before = copy.deepcopy(self.obs_rms)
        return super().step_wait()

    def normalize_obs(self, obs: Any) -> Any:
        """As they are."""
        return obs

    def normalize_reward(self, reward: Any) -> Any:
        """As they are."""
        return reward


class Reseeded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begins its episodes with the seeds that Proximo's environment of the same place has."""

    def __init__(self, env: str, seed: int, place: int) -> None:
        super().__init__(gymnasium.make(env, max_episode_steps=LIMIT))
        self.seed, self.place, self.episode = seed, place, 0

    def reset(self, **_: Any) -> Any:
        """The next episode."""
        seed = integer_seed(self.seed, "env", self.place, self.episode)
        self.episode += 1
        return self.env.reset(seed=seed)


def watch(built: Built) -> Callable[[], Any]:
    """What gives the newest rollout as it was evaluated."""
    seen: list[Any] = []
    parts = built.ppo.parts

    def look(data: Sequence[Any]) -> None:
        seen[:] = [copy.deepcopy(data[0])]

    # The slot for transformations of advantages is shown all that learning is.
    parts.advantages = [*parts.advantages, look]
    return lambda: seen[0]


def flat(parameters: Iterable[Tensor]) -> Tensor:
    """A copy of all, one after the other, in whatever order they lie in memory."""
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def put(theirs: Any, moments: Any) -> None:
    """Give them our statistics."""
    theirs.mean, theirs.var = moments.mean.numpy().copy(), moments.var.numpy().copy()
    theirs.count = float(moments.count)


def their_name(name: str) -> str:
    """Of a parameter."""
    module, _, kind = name.rpartition(".")
    return f"{NAMES[module]}.{kind}".lstrip(".")
