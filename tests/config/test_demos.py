"""What the configuration of demonstrations refuses, in one line that names the cure."""

import pytest

from proximo.config.load import load_experiment
from proximo.errors import UserError

DATA = "demos.a.datasets=[x/y-v0]"
REFUSED = {
    "no names": (["demos.a.datasets=[]"], "demos.a.datasets"),
    "a share of 2": ([DATA, "demos.a.mix_ratio=2"], "demos.a.mix_ratio=2: must be at most 1"),
    "a share that is a word": ([DATA, "demos.a.mix_ratio=half"], "demos.a.mix_ratio=half: must be a number"),
    "more than everything": (
        [DATA, "demos.a.mix_ratio=0.7", "demos.b.datasets=[x/y-v0]"],
        "the shares of the sources (mix_ratio) add up to more than 1: a 0.7, b 0.5",
    ),
    "more than everything at the end": (
        [DATA, "demos.a.mix_ratio_end=0.9", "demos.b.datasets=[x/y-v0]"],
        "add up to more than 1: a 0.9, b 0.5",
    ),
    "a whole that moves": ([DATA, "demos.a.mix_ratio=1", "demos.a.mix_ratio_end=0"], "begin or end below 1"),
    "a sum that moves": (
        [DATA, "demos.a.mix_ratio_end=0.1", "demos.b.datasets=[x/y-v0]"],
        "they cannot move",
    ),
    "a clone for nothing": ([DATA, "demos.a.behavior=none", "demos.a.clone=run"], "not none"),
    "a name that is taken": (["demos.env.datasets=[x/y-v0]"], "the source 'env' exists already"),
    "overlap with nothing": ([DATA, "demos.a.mix_ratio=1", "ppo.overlap=true"], "nothing is collected"),
    "a warm start of nothing": (
        [DATA, "demos.a.mix_ratio=1", "warm_start_steps=9"],
        "no environment is stepped",
    ),
    "nothing that trains": (["ppo.surrogate=false"], "some loss must train the policy"),
    "nothing to clone": (["losses.clone.type=cloning"], "cloning needs demonstrations"),
    "a stop by nothing": (
        [DATA, "ppo.surrogate=false", "losses.clone.type=cloning", "ppo.target_kl=0.01"],
        "go by the surrogate's KL",
    ),
    "an old place": ([DATA, "mix_ratio=0.5"], "mix_ratio: unknown key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    settings, said = REFUSED[case]
    with pytest.raises(UserError) as error:
        load_experiment("CartPole-v1", settings)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_shares():
    experiment = load_experiment(
        "CartPole-v1",
        [
            DATA,
            "demos.a.mix_ratio=0.25",
            "demos.b={datasets: [z-v0], mix_ratio: 0}",
            "demos.c={datasets: [z-v0]}",
        ],
    )
    assert experiment.shares == {"a": 0.25, "c": 0.5}
    assert not experiment.from_data_alone
