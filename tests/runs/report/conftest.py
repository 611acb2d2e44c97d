"""Run folders as training leaves them, without training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proximo.config.experiment import Experiment
from proximo.runs.run import Run


@pytest.fixture
def make(tmp_path) -> Callable[..., Path]:
    """Make a finished run of twelve updates; `rows`, `evals` and any setting can be changed."""

    def build(seed=0, rows=12, name="base", env="CartPole-v1", evals=True, **changes) -> Path:
        run = Run.create(
            Experiment(
                **{"env": {"id": env}, "runs_dir": str(tmp_path / "runs"), "name": name, "seed": seed}
                | changes
            )
        )
        run.set_status("running")
        progress = run.progress(["return_mean"])
        for i in range(1, rows + 1):
            row = {
                "step": 1000 * i,
                "return_mean": 10.0 * i + seed,
                "steps_per_second": 500.0,
                "entropy": 0.7 / i,
            }
            row |= {"policy_loss": -0.01 / i, "value_loss": 1.0 / i, "kl": 0.01, "clip_fraction": 0.1}
            row |= {"explained_variance": 1 - 1 / i, "time/act": 0.5, "time/env": 0.5, "time/learn": 1.0}
            if evals and i % 4 == 0:
                mean = 20.0 * i + seed
                row |= {"eval/return_mean": mean, "eval/return_low": mean - 5, "eval/return_high": mean + 5}
            progress.write(row)
        if evals and rows:
            result = {"return_mean": 20.0 * rows + seed, "return_ci95": [20.0 * rows - 5, 20.0 * rows + 5]}
            result |= {"random_return_mean": 22.5, "verdict": "better than a random policy", "seconds": 0.1}
            run.event("result", 1000 * rows, result)
        run.set_status("finished", step=1000 * rows)
        run.close()
        return run.path

    return build
