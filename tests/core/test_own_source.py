"""A user's source of rollouts: engines read its memory, so other types than rollouts have are refused by name."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from proximo import Experiment
from proximo.build import build
from proximo.core.own_source import OwnSource
from proximo.core.timer import Timer
from proximo.core.types import Correction
from proximo.errors import RunError, UserError


class Source:
    name, fresh, off_policy = "mine", False, True

    def __init__(self, rollout, **changed):
        self.rollout = replace(rollout, **changed)
        self.correction = Correction()

    def collect(self, policy):
        return self.rollout

    def correct(self, comparison):
        return self.correction


@pytest.fixture(scope="module", params=["CartPole-v1", "Pendulum-v1"])
def made(request):
    experiment = Experiment(
        env={"id": request.param, "num_envs": 2}, ppo={"num_steps": 4, "minibatch_size": 4}
    )
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    return SimpleNamespace(spec=built.env.spec, rollout=built.collector.collect(built.policy))


def test_what_fits_passes_under_the_name_of_the_settings(made):
    source = OwnSource("expert", Source(made.rollout), made.spec)
    assert (source.fresh, source.off_policy) == (False, True)
    assert source.collect(None).source == "expert"
    assert source.correct(None) == Correction()


@pytest.mark.parametrize("column", ["reward", "logp_behavior", "action"])
def test_other_types_are_refused(made, column):
    wrong = torch.int32 if column == "action" else torch.float64
    given = getattr(made.rollout, column).to(wrong)
    source = OwnSource("expert", Source(made.rollout, **{column: given}), made.spec)
    shown = str(wrong).removeprefix("torch.")
    with pytest.raises(RunError, match=rf"sources\.expert: {column} is {shown}, must be (float32|int64)"):
        source.collect(None)


def test_a_correction_of_another_type_is_refused(made):
    inner = Source(made.rollout)
    inner.correction = Correction(rho=made.rollout.reward.double())
    with pytest.raises(RunError, match=r"sources\.expert: rho is float64, must be float32"):
        OwnSource("expert", inner, made.spec).correct(None)


def test_a_choice_that_does_not_exist_is_refused():
    experiment = Experiment(
        env={"id": "CartPole-v1", "num_envs": 2}, ppo={"num_steps": 4, "minibatch_size": 4}
    )
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    rollout = built.collector.collect(built.policy)
    action = rollout.action.clone()
    action[1, 1] = 2
    source = OwnSource("expert", Source(rollout, action=action), built.env.spec)
    with pytest.raises(RunError, match=r"sources\.expert: the action 2 is none of 0 to 1"):
        source.collect(None)


class Fresh:
    fresh, off_policy = True, False

    def __init__(self, experiment, spec):
        pass


def test_fresh_rows_beside_the_environments_are_refused():
    experiment = Experiment(
        env={"id": "CartPole-v1"}, sources={"more": {"type": f"{__file__}:Fresh", "mix_ratio": 0.5}}
    )
    with pytest.raises(UserError, match=r"sources\.more: .* must say fresh = False"):
        build(experiment, torch.device("cpu"), Timer(), lambda line: None)
