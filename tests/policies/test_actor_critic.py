"""The whole policy: acting equals replaying, whatever is combined."""

import copy
import itertools

import pytest
import torch
from building import ACTIONS, MASKS, MIXED, SMALL, VECTOR, N, T, build, draw, noise, policy, rollout, spec
from gymnasium import spaces

from proximo.core.types import Obs, Policy, State
from proximo.policies.actor_critic import ActorCritic


def starts(seed: int = 5) -> torch.Tensor:
    start = torch.rand(T, N, generator=torch.Generator().manual_seed(seed)) < 0.15
    start[0] = torch.tensor([True, False, True, False])
    return start


@torch.no_grad()
def act_out(agent: ActorCritic, obs: Obs, start: torch.Tensor, state: State) -> tuple[torch.Tensor, ...]:
    draws = noise(agent, T, N, seed=2)
    actions, logps = [], []
    for t in range(T):
        act = agent.act({key: entry[t] for key, entry in obs.items()}, state, start[t], draws[t])
        state = act.state
        actions.append(act.action)
        logps.append(act.logp)
    return torch.stack(actions), torch.stack(logps), state


def begin(agent: ActorCritic) -> State:
    state = agent.initial_state(N)
    generator = torch.Generator().manual_seed(8)
    return {key: torch.randn(entry.shape, generator=generator) for key, entry in state.items()}


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
@pytest.mark.parametrize("action", ACTIONS)
def test_replay_gives_the_log_probabilities_of_acting(action: str, memory: str) -> None:
    for dict_obs, masked, share in itertools.product((False, True), (False, True), (False, True)):
        if masked and action not in MASKS:
            continue
        agent, env = build(
            action,
            MIXED if dict_obs else None,
            masked,
            memory={"type": memory, "size": 7} if memory != "none" else {"type": "none"},
            share_encoder=share,
            encoders={"camera": SMALL} if dict_obs else {},
        )
        obs, start, state = draw(env, T, N), starts(), begin(agent)
        actions, logps, last = act_out(agent, obs, start, state)
        normalized = agent.normalize(obs, agent.snapshot())
        output = agent.compute(normalized, state, start)
        torch.testing.assert_close(output.dist.log_prob(actions), logps, atol=1e-5, rtol=1e-5)
        none = torch.zeros(0, dtype=torch.long)
        nothing = {key: entry[0, :0] for key, entry in normalized.items()}
        values, _, after = agent.values(normalized, state, start, (none, none), nothing, none.bool())
        torch.testing.assert_close(values["task"], output.values["task"], atol=1e-5, rtol=1e-5)
        assert set(last) == set(state)
        for key, entry in after.items():
            torch.testing.assert_close(entry, last[key], atol=1e-5, rtol=1e-5)
        if masked:
            assert bool((output.dist.entropy() >= 0).all())


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_single_steps_and_sequences_agree(memory: str) -> None:
    agent, env = build("gaussian", memory={"type": memory, "size": 7})
    obs, start, state = draw(env, T, N), starts(), begin(agent)
    one = agent.forward({"obs": obs["obs"][0]}, state, start[0])
    many = agent.forward(obs, state, start)
    torch.testing.assert_close(one.values["task"], many.values["task"][0])
    torch.testing.assert_close(one.dist.mode(), many.dist.mode()[0])


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_sequences_cut_in_two_give_what_one_gives(memory: str) -> None:
    agent, env = build("gaussian", memory={"type": memory, "size": 7})
    obs, start, state = agent.normalize(draw(env, T, N)), starts(), begin(agent)
    whole = agent.compute(obs, state, start).values["task"]
    carried = state
    for t in range(5):
        carried = agent.act({"obs": obs["obs"][t]}, carried, start[t], None).state
    second = agent.compute({"obs": obs["obs"][5:]}, carried, start[5:]).values["task"]
    torch.testing.assert_close(second, whole[5:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_successors_are_seen_with_the_memory_after_their_step(memory: str, share: bool) -> None:
    agent, env = build("gaussian", memory={"type": memory, "size": 7}, share_encoder=share)
    obs, start, state = agent.normalize(draw(env, T, N)), starts(), begin(agent)
    t, n = torch.tensor([11, 2, 7, 11, 0]), torch.tensor([0, 3, 1, 2, 2])
    row_start = torch.tensor([False, False, False, True, False])
    row_obs = agent.normalize(draw(env, 5, seed=9))
    plain, _, _ = agent.values(obs, state, start, (t[:0], n[:0]), {"obs": row_obs["obs"][:0]}, row_start[:0])
    values, rows, _ = agent.values(obs, state, start, (t, n), row_obs, row_start)
    torch.testing.assert_close(values["task"], plain["task"])
    for i in range(5):
        # The same thing the long way: play the prefix, then put the successor behind it.
        prefix = {"obs": torch.cat([obs["obs"][: t[i] + 1, n[i]], row_obs["obs"][i : i + 1]])[:, None]}
        begins = torch.cat([start[: t[i] + 1, n[i]], row_start[i : i + 1]])[:, None]
        alone = {key: entry[n[i]][None] for key, entry in state.items()}
        expected = agent.compute(prefix, alone, begins).values["task"][-1, 0]
        torch.testing.assert_close(rows["task"][i], expected, atol=1e-5, rtol=1e-5)


def test_feed_forward_successors_are_plain_values() -> None:
    agent, env = build()
    obs, rows = agent.normalize(draw(env, T, N)), agent.normalize(draw(env, 3, seed=4))
    index = torch.tensor([0, 1, 2])
    values, row_values, state = agent.values(obs, {}, starts(), (index, index), rows, index > 1)
    torch.testing.assert_close(values["task"], agent.compute(obs, {}, starts()).values["task"])
    torch.testing.assert_close(row_values["task"], agent.compute(rows, {}, index > 1).values["task"])
    assert state == {}


def test_one_value_per_stream() -> None:
    env = spec(spaces.Discrete(2))
    agent = policy(env, streams=("task", "curiosity.rnd"))
    out = agent.compute(draw(env, 3), {}, torch.zeros(3))
    assert set(out.values) == {"task", "curiosity.rnd"}
    assert not torch.equal(out.values["task"], out.values["curiosity.rnd"])
    assert out.values["task"].shape == (3,)


def test_feed_forward_policies_take_any_leading_shape() -> None:
    agent, env = build()
    obs = draw(env, 2, 3)
    out = agent.compute(obs, {}, torch.zeros(()))
    assert out.values["task"].shape == (2, 3)
    assert out.dist.entropy().shape == (2, 3)


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_parameter_gets_a_gradient(action: str, memory: str) -> None:
    for share in (False, True):
        agent, env = build(
            action,
            MIXED,
            memory={"type": memory, "size": 7} if memory != "none" else {"type": "none"},
            share_encoder=share,
            encoder={"type": "resnet_mlp", "features_dim": 5},
            encoders={"camera": SMALL, "gear": {"type": "mlp", "hidden_sizes": [4]}},
            activation="ELU",
        )
        obs, start, state = agent.normalize(draw(env, T, N)), starts(), begin(agent)
        actions = act_out(agent, draw(env, T, N), start, state)[0]
        out = agent.compute(obs, state, start)
        (out.dist.log_prob(actions).square().mean() + out.values["task"].square().mean()).backward()
        for name, parameter in agent.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("share", [False, True])
def test_weights_and_statistics_travel_in_the_state_dict(share: bool) -> None:
    agent, env = build("gaussian", MIXED, memory={"type": "lstm", "size": 7}, share_encoder=share)
    agent.observe(rollout(agent, draw(env, T, N)))
    other = build("gaussian", MIXED, memory={"type": "lstm", "size": 7}, share_encoder=share)[0]
    state = agent.state_dict()
    assert len({entry.data_ptr() for entry in state.values()}) == len(state)
    other.load_state_dict(copy.deepcopy(state))
    obs, start = draw(env, N, seed=7), torch.zeros(N, dtype=torch.bool)
    ours = agent.act(obs, begin(agent), start, None)
    theirs = other.act(obs, begin(agent), start, None)
    assert torch.equal(ours.action, theirs.action)
    assert copy.deepcopy(agent).act(obs, begin(agent), start, None).action.equal(ours.action)


def test_the_same_seed_gives_the_same_parameters() -> None:
    first, second = policy(spec(VECTOR), seed=3).state_dict(), policy(spec(VECTOR), seed=3).state_dict()
    other = policy(spec(VECTOR), seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_initialisation_is_orthogonal_unless_switched_off() -> None:
    agent = policy(spec(spaces.Discrete(2)), hidden_sizes=(5, 5))
    weight = agent.actor_layers[0].weight
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(agent.head.linear.weight.norm(dim=1), torch.full((2,), 0.01))
    torch.testing.assert_close(agent.value_heads["on_task"].weight.norm(), torch.tensor(1.0))
    weight = policy(spec(spaces.Discrete(2)), hidden_sizes=(5, 5), ortho_init=False).actor_layers[0].weight
    assert not torch.allclose(weight @ weight.T, 2 * torch.eye(5), atol=1e-2)


def test_the_default_has_the_layers_of_the_field() -> None:
    torch.manual_seed(0)
    agent = policy(spec(spaces.Discrete(2), {"obs": spaces.Box(-9, 9, (4,))}), hidden_sizes=(64, 64))
    assert sum(p.numel() for p in agent.parameters()) == 2 * (4 * 64 + 64 + 64 * 64 + 64) + (64 * 2 + 2) + 65
    separate = policy(spec(spaces.Discrete(2)), hidden_sizes=(), value_hidden_sizes=(8,))
    assert len(separate.actor_layers) == 0
    assert separate.critic_layers[0].out_features == 8


def test_it_is_a_policy() -> None:
    agent: Policy = policy(spec(spaces.Discrete(2)))
    assert agent.streams == ("task",)
    assert not agent.recurrent
    assert agent.initial_state(3) == {}
    recurrent = policy(spec(spaces.Discrete(2)), memory={"type": "lstm", "size": 7})
    assert recurrent.recurrent
    assert {key: tuple(entry.shape) for key, entry in recurrent.initial_state(3).items()} == dict.fromkeys(
        ("actor.h", "actor.c", "critic.h", "critic.c"), (3, 7)
    )


def test_without_noise_the_mode_is_taken() -> None:
    agent, env = build("gaussian")
    obs = draw(env, N)
    act = agent.act(obs, {}, torch.zeros(N, dtype=torch.bool), None)
    torch.testing.assert_close(act.action, agent.forward(obs, {}, torch.zeros(N)).dist.mode())


def test_only_observing_fresh_rollouts_moves_the_statistics() -> None:
    agent, env = build("gaussian")
    obs = draw(env, T, N)
    data = rollout(agent, obs)
    before = agent.normalize(obs)["obs"]
    act_out(agent, obs, starts(), {})
    agent.observe(rollout(agent, obs, fresh=False))
    assert torch.equal(agent.normalize(obs)["obs"], before)
    agent.observe(data)
    assert not torch.equal(agent.normalize(obs)["obs"], before)
    assert torch.equal(agent.normalize(obs, data.stats)["obs"], before)
