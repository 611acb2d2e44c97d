"""The curriculum moves when, and only when, success allows; it survives a resume; bad settings are one line."""

import csv
from types import SimpleNamespace

import pytest

from proximo import Experiment, load_experiment, train
from proximo.cli import main as cli
from proximo.config.experiment import CurriculumHook
from proximo.errors import RunError, UserError
from proximo.runs.curriculum import Curriculum


class Told:
    """Stands in for a training."""

    def __init__(self):
        self.step = 0
        self.ppo = SimpleNamespace(episodes=[])
        self.run = SimpleNamespace(event=lambda *given: None)
        self.set = []

    def configure(self, params):
        self.set.append(params)

    def say(self, text):
        pass


def hook(**settings):
    given = {"parameter": "threshold", "start": 0.5, "end": 0.9, "step": 0.1, "episodes": 10, "above": 0.7}
    return Curriculum("harder", CurriculumHook(**(given | settings)))


def update(curriculum, training, episodes, **metrics):
    training.ppo.episodes = [None] * episodes
    curriculum.after_update(training, metrics)
    return metrics


def test_it_waits_for_episodes_and_for_success():
    curriculum, training = hook(), Told()
    curriculum.at_start(training)
    assert training.set == [{"threshold": 0.5}]
    update(curriculum, training, 9, success_rate=1.0)
    assert curriculum.value == 0.5
    update(curriculum, training, 1, success_rate=0.69)
    assert curriculum.value == 0.5
    shown = update(curriculum, training, 0, success_rate=0.7)
    assert shown["curriculum/threshold"] == 0.5
    assert training.set[1:] == [{"threshold": 0.6}]
    update(curriculum, training, 9, success_rate=1.0)
    assert curriculum.value == 0.6
    for _ in range(10):
        update(curriculum, training, 10, success_rate=1.0)
    assert [params["threshold"] for params in training.set] == [0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"start": 3.0, "end": 1.0, "step": 0.75}, [3.0, 2.25, 1.5, 1.0]),
        ({"start": 10, "end": 25, "step": 10}, [10, 20, 25]),
    ],
)
def test_down_and_in_whole_numbers(settings, values):
    curriculum, training = hook(**settings), Told()
    curriculum.at_start(training)
    for _ in range(6):
        update(curriculum, training, 10, success_rate=1.0)
    found = [params["threshold"] for params in training.set]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_an_evaluation_decides_only_where_there_is_one():
    curriculum, training = hook(metric="eval/success_rate"), Told()
    update(curriculum, training, 10)
    assert curriculum.value == 0.5
    update(curriculum, training, 0, **{"eval/success_rate": 0.9})
    assert curriculum.value == 0.6


def test_a_metric_that_does_not_exist():
    with pytest.raises(RunError, match=r"hooks.harder.metric: .* 'sucess_rate'; did you mean success_rate"):
        update(hook(metric="sucess_rate"), Told(), 10, success_rate=1.0)


def test_it_goes_on_where_it_was():
    first, training = hook(), Told()
    update(first, training, 10, success_rate=1.0)
    update(first, training, 4, success_rate=1.0)
    second = hook()
    second.load_state_dict(first.state_dict())
    assert (second.value, second.waited) == (0.6, 4)


def test_in_a_training_it_reaches_the_clients_but_not_the_evaluation(tmp_path):
    experiment = Experiment(
        env={
            "id": "proximo/Therapy-v0",
            "num_envs": 2,
            "kwargs": {"max_sessions": 6, "threshold": 1.0, "patterns": ["complementary_perfect"]},
        },
        policy={"encoder": {"type": "therapy", "hidden_size": 4}, "hidden_sizes": []},
        ppo={"num_steps": 16, "minibatch_size": 32, "epochs": 1, "total_steps": 128, "prime_steps": 0},
        eval={"num_evals": 4, "episodes": 4, "random_episodes": 2},
        hooks={
            "harder": {
                "type": "curriculum",
                "parameter": "threshold",
                "start": 0.1,
                "end": 0.2,
                "episodes": 8,
                "step": 0.05,
            }
        },
        threads=1,
        runs_dir=str(tmp_path),
    )
    run = train(experiment, verbosity=-1).run
    with (run / "progress.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["curriculum/threshold"] for row in rows] == ["0.1", "0.15", "0.2", "0.2"]
    assert {row["success_rate"] for row in rows} == {"1.0"}
    assert {row["eval/success_rate"] for row in rows} == {"0.0"}


def test_bad_settings():
    def refused(**settings):
        given = {"type": "curriculum", "parameter": "length", "start": 0, "end": 1} | settings
        with pytest.raises(UserError) as caught:
            load_experiment({"env": {"id": "CartPole-v1"}, "hooks": {"harder": given}})
        return str(caught.value)

    assert "nothing to move" in refused(end=0)
    assert "hooks.harder.step" in refused(step=0)
    assert "hooks.harder.abve" in refused(abve=0.5)


def test_a_parameter_that_the_environment_does_not_have(tmp_path, capsys):
    words = ["train", "proximo/Therapy-v0", "-q", f"runs_dir={tmp_path}", "env.num_envs=1"]
    curriculum = "hooks.harder={type: curriculum, parameter: treshold, start: 0.1, end: 0.5}"
    assert cli.main([*words, curriculum]) == 2
    assert (
        "treshold: the therapy client has no such parameter; did you mean threshold?"
        in capsys.readouterr().err
    )
