"""A value warm start, and a clone that explores less, in whole trainings."""

import json

import pytest
import torch

from proximo import Experiment, train
from proximo.errors import UserError
from proximo.runs import checkpoint


def small(env_id, tmp_path, **rest):
    return Experiment(
        env={"id": env_id, "num_envs": 4},
        policy={"hidden_sizes": (16,)},
        ppo={"num_steps": 32, "minibatch_size": 32, "epochs": 4, "total_steps": 640, "prime_steps": 0},
        checkpoint={"every": 128, "keep": 50},
        eval={"num_evals": 0},
        runs_dir=str(tmp_path),
        **rest,
    )


def policies(run):
    return [checkpoint.load_part(folder, "policy") for folder in checkpoint.checkpoints(run)]


@pytest.mark.parametrize("engine", ["eager", "native"])
def test_only_the_critic_moves_in_whole_rollouts(engine, tmp_path, capsys):
    run = train(small("Pendulum-v1", tmp_path, warm_start_steps=130, engine=engine)).run
    said = capsys.readouterr().out
    assert "value warm start: 256 steps, 130 rounded up to whole rollouts" in said
    first, second, third = policies(run)[:3]
    moved = {
        name: (not torch.equal(first[name], second[name]), not torch.equal(second[name], third[name]))
        for name in first
        if name.startswith(("actor", "critic", "value", "head"))
    }
    assert len(moved) == 9
    for name, (during, after) in moved.items():
        assert during == name.startswith(("critic", "value")), name
        assert after, name
    seen = "normalizer.standardizers.on_obs.moments.count"
    assert [float(one[seen]) for one in (first, second, third)] == [0.0, 0.0, 128.0]
    events = map(json.loads, (run / "events.jsonl").read_text(encoding="utf-8").splitlines())
    (told,) = [event for event in events if event["kind"] == "warm_start"]
    assert f"explained variance {told['before']:.3f} before, {told['after']:.3f} after" in said


def test_statistics_are_still_primed(tmp_path):
    """Priming comes before: without it the critic would learn from raw observations."""
    experiment = small("Pendulum-v1", tmp_path, warm_start_steps=256)
    primed = experiment.ppo.model_copy(update={"prime_steps": 64})
    run = train(experiment.model_copy(update={"ppo": primed})).run
    counts = [float(one["normalizer.standardizers.on_obs.moments.count"]) for one in policies(run)]
    assert counts[:2] == [64.0, 64.0]
    assert counts[-1] > 64.0


def test_without_a_critic(tmp_path):
    with pytest.raises(ValueError, match=r"ppo\.value_coef=0 there is no critic"):
        Experiment(env={"id": "CartPole-v1"}, ppo={"value_coef": 0.0}, warm_start_steps=100)


def test_exploring_less(tmp_path):
    clone = train(small("Pendulum-v1", tmp_path)).run
    narrow = train(small("Pendulum-v1", tmp_path, init_from=str(clone), log_std_subtract=0.7)).run
    before = policies(clone)[-1]["head.log_std"]
    after = policies(narrow)[0]["head.log_std"]
    # One update lies between.
    torch.testing.assert_close(after, before - 0.7, atol=0.05, rtol=0.0)


def test_choices_have_no_deviation(tmp_path):
    with pytest.raises(UserError, match=r"log_std_subtract=0\.7: a policy of choices has no deviation"):
        train(small("CartPole-v1", tmp_path, log_std_subtract=0.7))
