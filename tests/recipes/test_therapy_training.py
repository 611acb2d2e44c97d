"""`proximo therapy`: trains, fills the places its users know, resumes bitwise from them, judges with equal clients."""

from __future__ import annotations

import csv
import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from proximo.cli import main as cli
from proximo.envs.therapy.octants import COMPLEMENT
from proximo.envs.therapy.parameters import Parameters
from proximo.envs.therapy.therapists import judge
from proximo.recipes.therapy_judge import Treats, agent_of
from proximo.recipes.therapy_places import COLUMNS
from proximo.runs import checkpoint
from proximo.runs.evaluation import evaluate

TRAIN = [
    *("therapy", "train", "--experiment-name", "small", "--patterns", "cold_stuck", "--threshold", "0.5"),
    *("--max-sessions", "20", "--total-timesteps", "512", "--n-envs", "4", "--steps-per-update", "64"),
    *("--batch-size", "32", "--n-epochs", "2", "--hidden-size", "8", "--save-freq", "128"),
    *("--eval-freq", "128", "--eval-episodes", "4", "--seed", "1", "eval.random_episodes=2"),
]
MORE = ["--shaping", "50", "--curriculum-start", "0.35", "--memory", "gru", "--lstm-hidden-size", "4"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert cli.main([*TRAIN, *MORE, "-q"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(original, tmp_path, monkeypatch):
    """A copy of what the training left, as the working directory."""
    shutil.copytree(original, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def rows(path="logs/small/small_progress.csv"):
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run():
    (found,) = Path("runs").glob("*/*")
    return found


def test_the_places_that_users_know(place):
    names = sorted(path.name for path in Path("models/small").iterdir())
    steps = [f"checkpoint_{step}" for step in (128, 256, 384, 512)]
    assert names == sorted([*steps, "config.yaml", "policy_best", "policy_final", "run.json"])
    final = checkpoint.load_part(Path("models/small/policy_final"), "policy")
    last = checkpoint.load_part(run() / "checkpoints" / "512", "policy")
    assert all(torch.equal(final[key], last[key]) for key in last)


def test_the_table_says_what_the_run_says(place):
    with Path("logs/small/small_progress.csv").open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    with (run() / "progress.csv").open(encoding="utf-8") as file:
        evaluated = [row for row in csv.DictReader(file) if row["eval/return_mean"]]
    found = rows()
    assert [row["epoch"] for row in found] == ["1", "2", "3", "4"]
    for row, true in zip(found, evaluated, strict=True):
        assert row["step"] == true["step"]
        for ours, theirs in (("train_reward_mean", "return_mean"), ("train_reward_std", "return_std")):
            assert float(row[ours]) == float(true[theirs])
        assert float(row["test_reward_mean"]) == float(true["eval/return_mean"])
        assert float(row["test_length_mean"]) == float(true["eval/length_mean"])
    events = [json.loads(line) for line in (run() / "events.jsonl").read_text("utf-8").splitlines()]
    returns = [event["returns"] for event in events if event["kind"] == "eval"]
    for row, values in zip(found, returns, strict=True):
        assert float(row["test_reward_std"]) == pytest.approx(np.std(values, ddof=1))
    durations = [float(row["duration"]) for row in found]
    assert durations == sorted(durations)
    assert durations[0] > 0


@pytest.mark.parametrize("name", ["models/small/checkpoint_256", "models/small/checkpoint_256.pth"])
def test_going_on_from_a_checkpoint_is_bitwise(place, name):
    names = ("models/small/policy_final", "models/small/checkpoint_384")
    before = [checkpoint.load_part(Path(name), "policy") for name in names]
    table = rows()
    # What the run itself no longer keeps comes back from the models' folder.
    shutil.rmtree(run() / "checkpoints" / "256", ignore_errors=True)
    for later in names:
        shutil.rmtree(later)
    assert cli.main(["therapy", "train", "--resume-from", name, "-q"]) == 0
    for later, policy in zip(names, before, strict=True):
        again = checkpoint.load_part(Path(later), "policy")
        assert all(torch.equal(policy[key], again[key]) for key in policy)
    timeless = [[{k: v for k, v in row.items() if k != "duration"} for row in t] for t in (table, rows())]
    assert timeless[0] == timeless[1]


def test_going_on_for_longer(place, capsys):
    words = ["therapy", "train", "--resume-from", "models/small/policy_final", "-q"]
    assert cli.main(words) == 2
    assert "give --total-timesteps more than 512" in capsys.readouterr().err
    assert cli.main([*words, "--total-timesteps", "640"]) == 0
    assert rows()[-1]["step"] == "640"
    assert "total_timesteps: 640" in Path("models/small/config.yaml").read_text("utf-8")
    assert cli.main(words) == 2


def test_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = ["--output-dir", "out", "--log-dir", "tables", "--runs-dir", "all"]
    assert cli.main([*TRAIN, *folders, "-q"]) == 0
    assert Path("out/policy_best/state.json").is_file()
    assert Path("tables/small/small_progress.csv").is_file()
    assert not any(Path(name).exists() for name in ("models", "logs", "runs"))
    assert cli.main(["therapy", "eval", "out", "--clients", "4"]) == 0


def test_the_same_name_again_replaces_the_places_but_no_run(place, capsys):
    shutil.copytree("models/small/policy_best", "models/small/checkpoint_7")
    Path("models/small/checkpoint_of_mine").mkdir()
    Path("models/small/notes.txt").write_text("mine")
    assert cli.main(TRAIN) == 0
    assert "an earlier training's files are replaced" in capsys.readouterr().out
    assert not Path("models/small/checkpoint_7").exists()
    assert Path("models/small/notes.txt").exists()
    assert Path("models/small/checkpoint_of_mine").exists()
    assert len(list(Path("runs").glob("*/*"))) == 2
    assert len(rows()) == 4


def test_an_agent_is_judged_as_the_environment_would(place):
    """The judge's own episode against the environment's, with the same clients."""
    agent = agent_of("small")
    clients = Parameters(**agent.experiment.env.kwargs)
    again = judge(Treats(agent), 30, clients)
    assert again.sessions.tolist() == judge(Treats(agent), 30, clients).sessions.tolist()
    wide = evaluate(agent.policy, agent.experiment.env, 200, 5)
    many = judge(Treats(agent), 200, clients)
    spread = 4 * np.std(wide.lengths) / np.sqrt(200) + 1e-9
    assert abs(np.mean(wide.lengths) - many.sessions.mean()) < 2 * spread


def test_one_agent_alone_and_in_a_batch_answers_alike(place):
    """With memory: the answer to a client does not depend on who else is treated."""
    agent = agent_of("models/small/policy_best")
    clients = Parameters(**agent.experiment.env.kwargs)
    together = judge(Treats(agent), np.arange(6), clients)
    for seed in range(6):
        alone = judge(Treats(agent), np.array([seed]), clients)
        assert alone.sessions[0] == together.sessions[seed]
        assert alone.complementary[0] == together.complementary[seed]


def test_the_course_of_complementarity_adds_up():
    result = judge("random", 50, Parameters(patterns=("cold_stuck",), threshold=0.5))
    assert result.treated[0] == 50
    assert result.treated.sum() == result.sessions.sum()
    assert result.complements.sum() == pytest.approx((result.complementary * result.sessions).sum())
    always = judge(lambda clients: COMPLEMENT[clients.action], 20)
    assert (always.complements == always.treated).all()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.paths = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        self.paths += tag == "path"


def test_compare_writes_one_page_and_json(place, capsys):
    words = ["therapy", "compare", "small", "--clients", "20", "--thresholds", "0.4", "0.5"]
    words += ["--therapists", "complement", "random", "--out", "out/page.html", "--json", "out.json"]
    assert cli.main([*words, "--patterns", "cold_stuck", "cold_warm", "--mechanisms", "bond_only"]) == 0
    assert "report: out/page.html" in capsys.readouterr().out
    records = json.loads(Path("out.json").read_text("utf-8"))
    assert len(records) == 2 * 3 * 3
    record = next(r for r in records if r["therapist"] == "random" and r["pattern"] == "cold_warm")
    clients = Parameters(patterns=("cold_warm",), mechanism="bond_only", threshold=0.4, max_sessions=20)
    seeds = np.arange(1_000_003, 1_000_023)
    mine, other = judge("random", seeds, clients), judge("complement", seeds, clients)
    assert record["success_rate"] == mine.success_rate
    mean, low, high = record["success_minus_complement"]
    assert mean == pytest.approx(mine.success_rate - other.success_rate)
    assert low <= mean <= high
    page = Page(Path("out/page.html").read_text("utf-8"))
    assert page.loads == []
    assert page.paths > 20


def test_eval_prints_json(place, capsys):
    assert cli.main(["therapy", "eval", "small", "--clients", "5", "--threshold", "0.4", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["therapist"] for record in records] == ["small", "complement"]
    assert {record["threshold"] for record in records} == {0.4}


def test_curves(place):
    assert cli.main(["therapy", "curves", "small", "--out", "c.html"]) == 0
    assert "small" in Path("c.html").read_text("utf-8")


MISTAKES = [
    (["train", "--config", "no.yaml"], "no.yaml: there is no such file"),
    (["train", "--threshold", "1.5"], "threshold must be a number in (0, 1], not 1.5"),
    (["train", "--threshold", "high"], "threshold='high': must be a number"),
    (["train", "--patterns", "cold_stuc"], "did you mean cold_stuck?"),
    (["train", "--mechanism", "bond"], "is none of bond_only"),
    (["train", "--treshold", "0.5"], "--treshold"),
    (["train", "--resume-from", "nothing"], "there is no checkpoint nothing"),
    (["train", "--resume-from", "model.pth"], "pickle"),
    (["train", "--resume-from", "models/small/policy_best", "--seed", "5"], "keeps its seed (1)"),
    (["train", "--resume-from", "models/small/policy_best", "--shaping", "0"], "cannot be taken out"),
    (["eval", "nothing"], "there is no run nothing"),
    (["eval", "small", "--clients", "0"], "--clients 0: must be a whole number of at least 1"),
    (["compare", "--thresholds", "2"], "threshold must be a number in (0, 1], not 2"),
    (["compare", "--thresholds", "high"], "--thresholds high: must be a number"),
    (["compare", "--patterns", "cold"], "'cold' is none of cold_stuck"),
    (["compare", "--mechanisms", "bond"], "'bond' is none of bond_only"),
    (["compare", "--therapists", "complment"], "did you mean complement?"),
    (["compare", "--against", "small"], "--against small: is none of complement"),
    (["compare", "small", "small"], "small: is named twice"),
    (["compare", "small", "--clients", "2", "--out", "models"], "--out models: is a folder"),
    (["curves", "nothing"], "there is no run nothing"),
]


@pytest.mark.parametrize(
    ("words", "line"), MISTAKES, ids=lambda given: " ".join(given)[:60].replace("/", "-")
)
def test_a_mistake_is_one_line(place, capsys, words, line):
    torch.save({}, "model.pth")
    assert cli.main(["therapy", *words, "-q"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ")
    assert line in said


@pytest.mark.parametrize("file", ["models/mine/config.yaml", "logs/mine/mine_progress.csv"])
def test_files_of_somebody_else_are_not_replaced(tmp_path, monkeypatch, capsys, file):
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(parents=True)
    Path(file).write_text("precious")
    assert cli.main(["therapy", "train", "--experiment-name", "mine", "-q"]) == 2
    assert "is not of a training of Proximo" in capsys.readouterr().err
    assert Path(file).read_text() == "precious"
    assert not Path("runs").exists()


def test_agents_that_see_other_histories(place, capsys):
    words = [*TRAIN, "--experiment-name", "short", "env.kwargs.history_pairs=10", "-q"]
    assert cli.main(words) == 0
    assert cli.main(["therapy", "compare", "small", "short", "--clients", "2", "-q"]) == 2
    assert "short: was trained with another history_pairs than small" in capsys.readouterr().err


def test_one_client_has_no_interval(place):
    words = ["therapy", "compare", "small", "--clients", "1", "--json", "one.json", "-q"]
    assert cli.main(words) == 0
    assert json.loads(Path("one.json").read_text("utf-8"))[0]["success_minus_complement"][1] is None


def test_a_run_that_is_gone(place, capsys):
    shutil.rmtree("runs")
    assert cli.main(["therapy", "eval", "small", "--clients", "2"]) == 0
    capsys.readouterr()
    assert cli.main(["therapy", "train", "--resume-from", "models/small/policy_best", "-q"]) == 2
    assert "is gone" in capsys.readouterr().err


def test_it_learns_from_the_sparse_reward(tmp_path, monkeypatch):
    """The committed settings in small: 60,000 sessions, judged with clients that it never had."""
    monkeypatch.chdir(tmp_path)
    small = ["--n-envs", "128", "--steps-per-update", "2048", "--batch-size", "256", "--hidden-size", "32"]
    easy = ["--patterns", "cold_stuck", "--threshold", "0.5", "--max-sessions", "40", "--seed", "1"]
    quick = ["--total-timesteps", "60000", "--learning-rate", "0.003"]
    soon = ["--curriculum-episodes", "100", "--perception-episodes", "100"]
    rare = [
        "--eval-freq",
        "1000000",
        "--save-freq",
        "1000000",
        "--eval-episodes",
        "10",
        "eval.random_episodes=2",
    ]
    words = ["therapy", "train", "--config", "configs/learn.yaml", *small, *easy, *quick, *soon, *rare, "-q"]
    assert cli.main(words) == 0
    agent = Treats(agent_of("models/learn/policy_final"))
    clients = Parameters(**agent.agent.experiment.env.kwargs)
    learnt, random, complement = (judge(who, 300, clients) for who in (agent, "random", "complement"))
    assert random.success_rate < 0.4
    assert learnt.success_rate > 0.85
    assert learnt.success_rate > complement.success_rate - 0.1
