"""Where rollouts come from besides the environments: demonstrations, and sources of the user's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from proximo.config.base import Count, Custom, Fraction, Node, NonNegative


class DemosConfig(Node):
    """Demonstrations: recorded episodes, of which every minibatch takes a share."""

    datasets: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Names of Minari data sets, or folders of such (`./folder`); several are combined."""
    other_env: bool = False
    """Take data of an environment of another name, too, if its spaces are the same."""
    mix_ratio: Fraction = 0.5
    """Share of each minibatch; 0: not read at all; 1: no environment is stepped, and steps count recorded rows."""
    mix_ratio_end: Fraction | None = None
    """The share moves to this in a straight line (default: it stays)."""
    until: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Part of the training after which `mix_ratio_end` is reached."""
    behavior: Literal["auto", "recorded", "cloned", "none"] = "auto"
    """Whose log-probabilities ratios are taken against: `recorded` ones, a `cloned` policy's, or `none` (ratio 1)."""
    clone: str | None = None
    """`behavior: cloned`: the run that stands for whoever recorded (default: `init_from`)."""
    rho_bar: NonNegative = 1.0
    """Cap of the ratio that weighs each temporal difference (V-trace's ρ)."""
    c_bar: NonNegative = 1.0
    """Cap of the ratios that later temporal differences pass through (V-trace's c)."""
    ood: bool = True
    """Weigh down actions outside the present policy's 95 % region; those of negative advantage do not count."""
    segment: Count | None = None
    """Consecutive steps of a piece (default: `ppo.num_steps`); 1, single rows, is enough where only cloning learns."""
    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the episodes, drawn by the seed, that is kept from training for validation."""

    @model_validator(mode="after")
    def _fits(self) -> DemosConfig:
        if self.clone is not None and self.behavior not in ("auto", "cloned"):
            raise ValueError(f"clone is for behavior: cloned, not {self.behavior}")
        alone = 1.0 in (self.mix_ratio, self.mix_ratio_end)
        if alone and self.mix_ratio_end not in (None, self.mix_ratio):
            raise ValueError("a share of 1 steps no environment, so it cannot move; begin or end below 1")
        return self


class CustomSource(Custom):
    """A source of rollouts of your own: a class made as `(experiment, spec)` that implements `core.types.Source`."""

    mix_ratio: Fraction = 0.5
    """Share of each minibatch."""
