"""The metric glossary is complete: every column of progress.csv is explained, and every entry occurs."""

import csv
import re
from pathlib import Path

import pytest
import torch

from proximo import Experiment, train

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
NAMES = {"<name>": "cost", "<stream>": "novelty", "<loss>": "smooth", "<demos>": "expert"}
"""What the placeholders of the glossary stand for in the trainings below."""
TINY = {"total_steps": 64, "num_steps": 16, "minibatch_size": 16, "epochs": 1, "prime_steps": 0}


def tiny(**parts):
    env = {"id": "glossary_parts:Telling", "num_envs": 2} | parts.pop("env", {})
    ppo = TINY | parts.pop("ppo", {})
    evaluation = {"num_evals": 1, "episodes": 2, "random_episodes": 2} | parts.pop("eval", {})
    return {"env": env, "ppo": ppo, "eval": evaluation, **parts}


RUNS = {
    "plain": tiny(env={"id": "CartPole-v1"}, ppo={"target_kl": 0.01}, eval={"num_evals": 0}),
    "memory and a continuous action": tiny(
        env={"id": "glossary_parts:Continuous"},
        policy={"memory": {"type": "gru", "size": 8}},
        ppo={"lr_schedule": "adaptive", "normalize_advantage": "rollout", "value_clip": 0.2},
        eval={"mode": "stochastic"},
    ),
    "streams, rewards, losses, info, both evaluations": tiny(
        env={"info": ["cost"]},
        streams={"novelty": {"episodic": False}},
        rewards={"surprise": {"type": "glossary_parts:Surprise", "stream": "novelty"}},
        losses={"smooth": {"type": "glossary_parts:Smooth"}},
        eval={"mode": "both"},
    ),
    "demonstrations": tiny(
        env={"id": "glossary_parts:Continuous"},
        demos={"expert": {"datasets": ["made/up/here-v0"]}},
        policy={"normalize_obs": False},
    ),
    "cloning": tiny(
        env={"id": "glossary_parts:Continuous"},
        demos={"expert": {"datasets": ["made/up/here-v0"], "mix_ratio": 1.0, "segment": 1, "holdout": 0.25}},
        losses={"smooth": {"type": "cloning"}},
        ppo={"surrogate": False},
        hooks={
            "epochs": {
                "type": "proximo.recipes.hybrid_hooks:Epochs",
                "kwargs": {
                    "folder": "clones",
                    "name": "x",
                    "epochs": 2,
                    "save_every": 1,
                    "log_interval": 1,
                    "made": {},
                    "loss": "smooth",
                },
            }
        },
    ),
    "a curriculum": tiny(hooks={"more": {"type": "curriculum", "parameter": "cost", "start": 0, "end": 1}}),
}


def glossary():
    text = PAGE.read_text(encoding="utf-8")
    entries = re.findall(r"^- \*\*`([^`]+)`\*\*", text, flags=re.MULTILINE)
    assert len(entries) == len(set(entries)), "an entry stands twice"
    return set(entries)


def filled_in(entry):
    for placeholder, name in NAMES.items():
        entry = entry.replace(placeholder, name)
    return entry


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """Columns of progress.csv, and those of them that ever had a value."""
    announced, seen = set(), set()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("place"))
        patch.setattr("proximo.demos.make.load_demos", lambda names, **rest: demonstrations())
        _train_all(tmp_path_factory, announced, seen)
    return announced, seen


def demonstrations():
    from proximo.demos.dataset import Dataset

    ends = torch.arange(32) % 4 == 3
    return Dataset(
        obs={"obs": torch.zeros(32, 2)},
        action=torch.zeros(32, 1),
        reward=torch.ones(32),
        terminated=ends,
        truncated=torch.zeros(32, dtype=torch.bool),
        final_obs={"obs": torch.zeros(8, 2)},
        logp=torch.full((32,), -1.0),
    )


def _train_all(tmp_path_factory, announced, seen):
    for experiment in RUNS.values():
        root = tmp_path_factory.mktemp("runs")
        run = train(Experiment.model_validate({**experiment, "runs_dir": str(root)}), verbosity=-1).run
        with (run / "progress.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                announced |= set(row)
                seen |= {name for name, value in row.items() if value}


def test_every_column_is_in_the_glossary(columns):
    known = {filled_in(entry) for entry in glossary()} | {"value_loss/task"}
    assert columns[0] <= known, f"not in the glossary: {sorted(columns[0] - known)}"


def test_every_entry_of_the_glossary_occurs(columns):
    known = {filled_in(entry) for entry in glossary()}
    assert known <= columns[1], f"never written: {sorted(known - columns[1])}"


def test_the_glossary_covers_what_the_code_announces():
    from proximo.core.timer import PHASES
    from proximo.runs.columns import COLUMNS

    assert {*COLUMNS, *(f"time/{phase}" for phase in PHASES)} <= glossary()
