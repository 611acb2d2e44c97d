"""The time line of a run."""

import subprocess
import sys

import pytest

from proximo.config.experiment import Experiment
from proximo.config.load import load_experiment
from proximo.envs import winners
from proximo.launch import resume, train
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


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_training_does_not_import_pytorchs_compiler(tmp_path, engine):
    """Its import costs as much as all of PyTorch's: a second before anything happens."""
    code = (
        "import sys; from proximo import Experiment, train;"
        f"train(Experiment(env={{'id': 'CartPole-v1'}}, engine={engine!r}, runs_dir={str(tmp_path)!r},"
        " ppo={'total_steps': 2000, 'epochs': 1}, eval={'num_evals': 1, 'episodes': 2}), verbosity=-1);"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_was_chosen_is_written_into_the_run_and_not_chosen_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = Experiment(
        env={"id": "CartPole-v1", "num_envs": 2},
        ppo={"num_steps": 16, "minibatch_size": 16, "total_steps": 64},
        eval={"num_evals": 0},
        runs_dir=str(tmp_path / "runs"),
    )
    assert (given.env.backend, given.engine) == ("auto", "auto")
    run = train(given, verbosity=-1).run
    written = load_experiment(run / "experiment.yaml")
    assert written.env.backend == "batch"
    assert written.engine in ("native", "eager")
    assert written.threads == 1
    winners.remember(given.env, "vector")
    resume(run, ["ppo.total_steps=128"], verbosity=-1)
    assert load_experiment(run / "experiment.yaml").env.backend == "batch"
    fresh = train(given, verbosity=-1).run
    assert load_experiment(fresh / "experiment.yaml").env.backend == "vector"
