"""Recording a trained agent: its log-probabilities are those of its own policy, its actions those it took."""

from pathlib import Path

import pytest
import torch

from proximo import Experiment, train
from proximo.agent import load
from proximo.config.load import load_experiment
from proximo.demos.minari import environment, load_demos
from proximo.errors import UserError
from proximo.recipes.demos import agent_demonstrator, environment_of, record_demos

for module in ("minari", "h5py", "pyarrow"):
    pytest.importorskip(module, reason="needs pip install 'proximo[demos]'")

TOYS = str(Path(__file__).parents[1] / "toys.py")
NAME = "toy/agent-v0"


def trained(folder, env_id, **policy):
    experiment = Experiment(
        env={"id": env_id, "num_envs": 2},
        policy={"hidden_sizes": (8,), **policy},
        ppo={"num_steps": 64, "minibatch_size": 64, "total_steps": 512, "learning_rate": 0.01},
        eval={"num_evals": 0},
        runs_dir=str(folder / "runs"),
    )
    return str(train(experiment).run)


def recorded(run, episodes=11, **options):
    config, who = agent_demonstrator(run, options.pop("seed", 0), options.pop("items", ()), **options)
    lines = []
    return record_demos(config, who, NAME, episodes, 0, say=lines.append, overwrite=True)


def log_probabilities(run, data):
    """Recomputed episode by episode, the memory carried from step to step."""
    policy = load(run).policy
    first = torch.cumsum(data.lengths, 0) - data.lengths
    out = []
    for start, length in zip(first.tolist(), data.lengths.tolist(), strict=True):
        obs, action = data.take(torch.arange(start, start + length))
        begins = torch.zeros(length, 1, dtype=torch.bool)
        begins[0] = True
        rows = policy.normalize({key: entry[:, None] for key, entry in obs.items()})
        output = policy.compute(rows, policy.initial_state(1), begins)
        out.append(output.dist.log_prob(action[:, None])[:, 0])
    return torch.cat(out).detach()


@pytest.mark.parametrize(
    ("env", "policy", "form"),
    [
        ("CartPole-v1", {}, "environment"),
        (f"{TOYS}:ContinuousIdentity", {"head": {"type": "gaussian"}}, "unclipped"),
        (f"{TOYS}:ContinuousIdentity", {"head": {"type": "squashed_gaussian"}}, "squashed"),
        (f"{TOYS}:ContinuousIdentity", {"head": {"type": "gsde"}}, "unclipped"),
        (f"{TOYS}:MaskedRecall", {"memory": {"type": "gru"}}, "environment"),
        ("Taxi-v3", {}, "environment"),
    ],
)
def test_log_probabilities_are_the_policys_own(env, policy, form, tmp_path):
    run = trained(tmp_path, env, **policy)
    made = recorded(run)
    data = load_demos([NAME])
    assert (data.episodes, data.form) == (11, form)
    assert data.returns.tolist() == pytest.approx(made.summary.returns, abs=1e-4)
    torch.testing.assert_close(data.logp, log_probabilities(run, data), atol=1e-5, rtol=1e-5)
    assert environment(data) == load(run).experiment.env


@pytest.mark.parametrize("head", ["gaussian", "squashed_gaussian"])
def test_the_form_of_the_environment_is_what_it_took(head, tmp_path):
    run = trained(tmp_path, f"{TOYS}:ContinuousIdentity", head={"type": head, "log_std_init": 0.5})
    recorded(run)
    data = load_demos([NAME])
    changed = data.in_environment_form()
    rows = torch.arange(data.rows)
    import minari

    took = torch.cat([torch.from_numpy(episode.actions) for episode in minari.load_dataset(NAME)])
    torch.testing.assert_close(changed.take(rows)[1], took)
    assert took.abs().max() <= 1.0
    assert bool((data.take(rows)[1].abs() > 1).any()) == (head == "gaussian")
    assert (changed.logp is None) == (head == "gaussian")


def test_mixed_heads_meet_in_the_form_of_the_environment(tmp_path):
    for number, head in enumerate(["gaussian", "squashed_gaussian"]):
        run = trained(tmp_path / head, f"{TOYS}:ContinuousIdentity", head={"type": head})
        config, who = agent_demonstrator(run, 0)
        record_demos(config, who, f"toy/{number}-v0", 2, 0, say=lambda line: None)
    lines = []
    data = load_demos(["toy/0-v0", "toy/1-v0"], say=lines.append)
    assert data.form == "environment"
    assert data.take(torch.arange(data.rows))[1].abs().max() <= 1.0
    assert data.logp is None
    assert len(lines) == 1


def test_the_mode_has_no_log_probability(tmp_path):
    run = trained(tmp_path, f"{TOYS}:ContinuousIdentity")
    recorded(run, deterministic=True)
    data = load_demos([NAME])
    assert (data.logp, data.form) == (None, "environment")


def test_seeds_repeat(tmp_path):
    run = trained(tmp_path, "CartPole-v1")
    first = recorded(run, seed=1).summary.returns
    assert recorded(run, seed=1).summary.returns == first
    assert recorded(run, seed=2).summary.returns != first


def test_the_environment_can_be_changed_and_nothing_else(tmp_path):
    run = trained(tmp_path, "CartPole-v1")
    recorded(run, items=["env.max_episode_steps=7"], episodes=3)
    data = load_demos([NAME])
    assert data.lengths.max() <= 7
    assert environment(data).max_episode_steps == 7
    with pytest.raises(UserError, match=r"ppo\.gamma=1: only settings of the environment"):
        agent_demonstrator(run, 0, ["ppo.gamma=1"])
    assert environment_of(run, ["env.max_episode_steps=7"]).max_episode_steps == 7
    assert environment_of("CartPole-v1") == load_experiment("CartPole-v1").env


def test_an_environment_that_the_agent_does_not_know_is_refused(tmp_path):
    run = trained(tmp_path, "Pendulum-v1")
    flat = "env.wrappers=[{name: FrameStackObservation, kwargs: {stack_size: 2}}]"
    with pytest.raises(UserError, match=r"not trained on this observation: obs of shape \(2, 3\)"):
        recorded(run, items=[flat])
    with pytest.raises(
        UserError, match=r"the agent acts in Box\(-2.0, 2.0.*this environment in Box\(-1.0, 1.0"
    ):
        recorded(run, items=["env.wrappers=[{name: RescaleAction, kwargs: {min_action: -1, max_action: 1}}]"])


def test_an_environment_is_no_run():
    with pytest.raises(UserError, match="CartPole-v1 is an environment, not a run: say who acts there"):
        agent_demonstrator("CartPole-v1", 0)
    with pytest.raises(UserError, match="nowhere"):
        agent_demonstrator("nowhere", 0)
