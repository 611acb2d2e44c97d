"""The time line of a run."""

from proximo.config.experiment import Experiment
from proximo.launch import train
from proximo.runs import checkpoint


def test_a_run_shorter_than_its_priming_still_learns_and_is_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(
        env={"id": "CartPole-v1", "num_envs": 4},
        policy={"hidden_sizes": (8,)},
        ppo={"total_steps": 100, "prime_steps": 256, "num_steps": 16},
        eval={"num_evals": 0},
    )
    result = train(experiment, verbosity=-1)
    assert result.status == "finished"
    assert result.step == 256 + 64
    assert checkpoint.pointed(result.run, "last") is not None
