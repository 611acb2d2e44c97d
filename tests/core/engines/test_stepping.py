"""Three ways through a rollout give the same rollout: reference, native step by step, everything in one call."""

import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.engines.native.in_place import IN_PLACE_STEPPING
from proximo.core.engines.native.library import INSTALL, library
from proximo.core.engines.native.stepping import NATIVE_STEPPING, FusedStepping
from proximo.core.stepping import TORCH_STEPPING
from proximo.core.timer import Timer

pytestmark = pytest.mark.skipif(library() is None, reason=f"the native kernels are not built: {INSTALL}")

FIELDS = (
    "action",
    "logp_behavior",
    "start",
    "reward",
    "terminated",
    "truncated",
    "valid",
    "final_t",
    "final_n",
)


def rollouts(env, backend, stepping, normalize=True):
    """Three rollouts with the statistics moving between them, copied."""
    experiment = Experiment(
        env={"id": env, "num_envs": 5, "backend": backend, "max_episode_steps": 23},
        policy={"normalize_obs": normalize},
        ppo={"num_steps": 40, "minibatch_size": 20},
        engine="native",
    )
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    built.collector.stepping = stepping(built.env)
    policy = built.ppo.parts.policy
    result = []
    for _ in range(3):
        rollout = built.collector.collect(policy)
        kept = {name: getattr(rollout, name).clone() for name in FIELDS}
        kept |= {
            f"{part}": getattr(rollout, part)["obs"].clone() for part in ("obs", "final_obs", "last_obs")
        }
        kept["last_start"] = rollout.last_start.clone()
        kept["episodes"] = torch.tensor([[e.return_, e.length] for e in rollout.episodes])
        result.append(kept)
        policy.observe(rollout)
    return result


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        for name, value in a.items():
            assert torch.equal(value, b[name]), name
    assert len(first[-1]["final_t"]) > 0


@pytest.mark.parametrize(
    "env", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Acrobot-v1", "MountainCar-v0"]
)
@pytest.mark.parametrize("normalize", [True, False])
def test_fused_is_step_by_step(env, normalize):
    reference = rollouts(env, "batch", lambda _: TORCH_STEPPING, normalize)
    assert_same(reference, rollouts(env, "batch", lambda _: NATIVE_STEPPING, normalize))
    assert_same(reference, rollouts(env, "batch", FusedStepping, normalize))


def test_native_steps_of_a_gymnasium_environment():
    reference = rollouts("CartPole-v1", "sync", lambda _: TORCH_STEPPING)
    assert_same(reference, rollouts("CartPole-v1", "sync", lambda _: NATIVE_STEPPING))


@pytest.mark.parametrize(
    ("env", "backend"),
    [
        ("CartPole-v1", "sync"),
        ("CartPole-v1", "vector"),
        ("Pendulum-v1", "sync"),
        ("Hopper-v5", "sync"),
        ("Hopper-v5", "threads"),
    ],
)
def test_steps_into_the_rollout_itself(env, backend):
    if env == "Hopper-v5":
        pytest.importorskip("mujoco", reason="needs the extra mujoco")
    assert_same(
        rollouts(env, backend, lambda _: TORCH_STEPPING), rollouts(env, backend, lambda _: IN_PLACE_STEPPING)
    )


def test_the_way_is_chosen_by_what_an_environment_can():
    sync, batch = (
        build(Experiment(env={"id": "CartPole-v1", "backend": backend}), torch.device("cpu"), Timer(), print)
        for backend in ("sync", "batch")
    )
    assert sync.collector.stepping is IN_PLACE_STEPPING
    assert isinstance(batch.collector.stepping, FusedStepping)
