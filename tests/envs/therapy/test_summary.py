"""The observation as one vector: counted again by hand, the same alone and in a batch."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.env import TherapyEnv
from proximo.envs.therapy.parameters import Parameters
from proximo.envs.therapy.summary import HIDDEN, SEEN, Summary, known, seen
from proximo.errors import UserError


def played(sessions, **parameters):
    """A wrapper after some sessions, its last vector, and what was done: pairs, oldest first."""
    env = Summary(TherapyEnv(dropout_session=0, threshold=1.0, **parameters), omniscient=True)
    generator = np.random.default_rng(0)
    vector, _ = env.reset(seed=4)
    pairs = []
    for _ in range(sessions):
        shown, answer = int(env.unwrapped.clients.action[0]), int(generator.integers(8))
        vector, *_ = env.step(answer)
        pairs.append((shown, answer))
    assert vector in env.observation_space
    assert vector.shape == (SEEN + HIDDEN,)
    return env.unwrapped.clients, vector, pairs


@pytest.mark.parametrize("sessions", [0, 1, 14, 16, 25, 40])
def test_what_is_seen_is_counted(sessions):
    clients, vector, pairs = played(sessions)
    assert vector[:8].tolist() == [float(octant == clients.action[0]) for octant in range(8)]
    assert vector[8] == pytest.approx(sessions / 100)
    counted, lately = np.zeros((8, 8)), np.zeros(8)
    for client, therapist in pairs[-25:]:
        counted[client, therapist] += 1
    for _, therapist in pairs[-15:]:
        lately[therapist] += 1
    np.testing.assert_allclose(vector[9:73].reshape(8, 8), counted / 25, atol=1e-6)
    np.testing.assert_allclose(vector[73:SEEN], lately / 15, atol=1e-6)


def test_nothing_hidden_is_seen():
    """Clients of other utilities and perceptions with the same history look the same."""
    one, other = (Clients(1, Parameters(patterns=("conflictual",), max_sessions=50)) for _ in range(2))
    one.begin(np.array([1]))
    other.begin(np.array([2]))
    other.action[:] = one.action
    assert np.array_equal(seen(one), seen(other))
    assert not np.array_equal(known(one), known(other))


def test_what_is_hidden():
    clients, vector, _ = played(20, perception_window=3)
    hidden = vector[SEEN:]
    utility = clients.utility[0]
    scaled = (utility - utility.min()) / (utility.max() - utility.min())
    np.testing.assert_allclose(hidden[:64].reshape(8, 8), scaled, atol=1e-6)
    np.testing.assert_allclose(hidden[64:72], scaled[clients.action[0]], atol=1e-6)
    assert hidden[72] == pytest.approx(clients.progress[0], abs=1e-6)
    assert hidden[73] == pytest.approx(clients.bond[0], abs=1e-6)
    memory = clients.memory[0] % 8
    weight = 1 + np.sqrt(np.arange(50) / 49)
    shares = [weight[memory == octant].sum() / weight.sum() for octant in range(8)]
    np.testing.assert_allclose(hidden[74:82], shares, atol=1e-6)
    last = memory[-3:].tolist()
    most = max(last, key=lambda octant: (last.count(octant), max(i for i in range(3) if last[i] == octant)))
    assert hidden[82:].tolist() == [float(octant == most) for octant in range(8)]


def test_other_environments_are_refused():
    with pytest.raises(UserError, match="not CartPoleEnv"):
        Summary(gymnasium.make("CartPole-v1"))
