"""A hook that evaluates once training has ended, with as many episodes as one asks for."""

from __future__ import annotations

from typing import Any

from proximo.errors import UserError
from proximo.runs.evaluation import evaluate
from proximo.runs.hook import HookedTraining
from proximo.runs.randomness import preserved_randomness


class FinalEvaluation:
    """Plays `episodes` after the last update, prints the return, writes the event `evaluation`."""

    name = "evaluation"

    def __init__(self, episodes: int) -> None:
        if episodes < 1:
            raise UserError(f"hooks.evaluation.kwargs.episodes={episodes}: must be at least 1")
        self.episodes = episodes

    def after_record(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Does nothing before the end, nor when a signal ended it (the run will go on)."""
        if not training.finishing or training.interrupted:
            return
        config = training.experiment.eval
        with training.timer.phase("eval"), preserved_randomness():
            result = evaluate(
                training.policy,
                training.experiment.env,
                self.episodes,
                config.seed,
                config.mode != "stochastic",
                training.device,
            )
        values: dict[str, Any] = result.as_dict()
        training.run.event("evaluation", training.step, values)
        low, high = result.return_ci95
        spread = (
            f", 95 % interval {low:.2f} to {high:.2f}" if self.episodes > 1 else "; one episode says little"
        )
        training.say(
            f"evaluation after training: return {result.return_mean:.2f} (episodes: {self.episodes}{spread})"
        )
