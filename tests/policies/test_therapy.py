"""The therapy client's networks: their sizes, and that they read what the environment shows."""

from __future__ import annotations

import gymnasium
import pytest
import torch
from gymnasium import spaces

from proximo.config.experiment import EnvConfig, PolicyConfig, TherapyEncoder
from proximo.envs.make import make_env
from proximo.envs.therapy.sight import OMNISCIENT
from proximo.errors import UserError
from proximo.policies.actor_critic import ActorCritic
from proximo.policies.therapy import TherapyNet, make_therapy_networks

ID = "proximo/Therapy-v0"


def count(*modules):
    distinct = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(distinct.values())


def policy(share, **env):
    config = PolicyConfig(encoder=TherapyEncoder(), hidden_sizes=(), share_encoder=share)
    made = make_env(EnvConfig(id=ID, num_envs=3, **env))
    return made, ActorCritic(made.spec, config)


@pytest.mark.parametrize(("shared", "parameters"), [(False, 348_313), (True, 175_313)])
def test_parameter_counts(shared, parameters):
    space = gymnasium.make(ID).observation_space
    assert count(*make_therapy_networks(space, shared=shared)) == parameters
    assert count(policy(shared)[1]) == parameters


def test_an_embedding_is_looked_up_for_every_octant():
    space = spaces.Dict(
        {
            "client_action": spaces.Box(0.0, 1.0, (8,)),
            "history": spaces.Box(0.0, 1.0, (18,)),
            "session_number": spaces.Box(0.0, 1.0, (1,)),
        }
    )
    net = TherapyNet(space, 5, 3, 2)
    seen = []
    net.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    eye = torch.eye(9)
    net(
        {
            "client_action": torch.eye(8)[[4]],
            "history": torch.cat([eye[[7]], eye[[8]]], 1),
            "session_number": torch.tensor([[0.25]]),
        }
    )
    wanted = [net.client.weight[4], net.history.weight[7], net.history.weight[8], torch.tensor([0.25])]
    assert torch.equal(seen[0][0], torch.cat(wanted))


def test_it_acts_on_what_the_environment_shows():
    env, net = policy(False)
    obs = env.reset(0)
    act = net.act(obs, {}, torch.ones(3, dtype=torch.bool), None)
    assert env.step(net.to_env(act.action)).reward.shape == (3,)
    actor, critic = make_therapy_networks(gymnasium.make(ID).observation_space)
    assert actor(obs).shape == (3, 8)
    assert critic(obs).shape == (3,)
    changed = {**obs, "client_action": (obs["client_action"] + 1) % 8}
    assert not torch.equal(actor(obs), actor(changed))


def test_hidden_numbers_are_read_beside_the_embeddings():
    env, net = policy(True, wrappers=({"name": OMNISCIENT},))
    obs = env.reset(0)
    act = net.act(obs, {}, torch.ones(3, dtype=torch.bool), None)
    assert act.action.shape == (3,)
    # 64 + 3 numbers + 5 mechanisms + two octants or none (9 each) + rate + on or off (2), each to 256.
    assert count(net) == 175_313 + 256 * (64 + 3 + 5 + 18 + 1 + 2)


def test_other_observations_are_refused():
    with pytest.raises(UserError, match="encoder therapy reads the observation of proximo/Therapy-v0"):
        ActorCritic(make_env(EnvConfig(id="CartPole-v1")).spec, PolicyConfig(encoder=TherapyEncoder()))
    with pytest.raises(UserError, match="no client_action"):
        TherapyNet(spaces.Dict({"history": spaces.Box(0, 1, (9,))}))
