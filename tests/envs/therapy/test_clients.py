"""Clients: every quantity against the slow client, and the statistics of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import slow_client

from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.mechanisms import choose, habitual
from proximo.envs.therapy.octants import COMPLEMENT, UTILITY_LOW
from proximo.envs.therapy.parameters import MECHANISMS, PATTERNS, Parameters


def begun(count, **parameters):
    clients = Clients(count, Parameters(**parameters))
    clients.begin(np.arange(count))
    return clients


def pairs(clients, index):
    return [divmod(int(pair), 8) for pair in clients.memory[index]]


def octants(clients):
    memory = clients.memory.astype(int)
    return memory // 8, memory % 8


def test_the_specified_constants():
    assert UTILITY_LOW.tolist() == [
        [float(x) for x in row.split()] for row in slow_client.U_MIN.split("\n")[1:-1]
    ]
    assert dict(enumerate(COMPLEMENT.tolist())) == slow_client.COMPLEMENT
    p = Parameters()
    assert p.patterns == ("cold_stuck", "dominant_stuck", "submissive_stuck", "mixed_random", "cold_warm")
    assert (p.mechanism, p.threshold, p.max_sessions, p.entropy) == ("frequency_amplifier", 0.9, 100, 0.5)
    assert (p.history_weight, p.bond_alpha, p.bond_offset, p.bond_power, p.laplace) == (1, 5, 0.7, 1, 0.1)
    assert (p.enable_perception, p.baseline_accuracy, p.perception_window) == (True, 0.5, 15)
    assert (p.utility_width, p.dropout_session, p.memory_size, p.history_pairs) == (20, 10, 50, 25)
    assert (p.success_reward, p.session_bonus, p.dropout_reward) == (100, 2, -150)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_feelings_and_choices_are_the_slow_clients(mechanism):
    options = {"history_weight": 2.5, "bond_power": 1.7, "laplace": 0.3, "entropy": 4.0, "bond_alpha": 3.0}
    clients = begun(40, mechanism=mechanism, patterns=PATTERNS, bond_offset=0.55, **options)
    for _ in range(4):
        perceived = clients.action.copy()
        rs, chances = clients.foresee(perceived)
        for index in range(clients.count):
            u = clients.utility[index].tolist()
            memory = [*pairs(clients, index)[1:], (int(clients.action[index]), int(perceived[index]))]
            assert rs[index] == pytest.approx(slow_client.satisfaction(u, memory), rel=1e-12)
            slow = slow_client.probabilities(
                u, memory, mechanism, 4.0, k=2.5, power=1.7, laplace=0.3, alpha=3.0, offset=0.55
            )
            np.testing.assert_allclose(chances[:, index], slow, rtol=1e-9, atol=1e-12)
        outcome = clients.step(COMPLEMENT[clients.action])
        for index in (0, 17, 39):
            u, memory = clients.utility[index].tolist(), pairs(clients, index)
            assert memory[-1] == (outcome.client[index], outcome.perceived[index])
            assert outcome.rs[index] == pytest.approx(slow_client.satisfaction(u, memory), rel=1e-12)
            assert outcome.progress[index] == pytest.approx(slow_client.progress(u, memory), rel=1e-12)
            slow_bond = slow_client.bond(u, memory, 3.0, 0.55)
            assert outcome.bond[index] == pytest.approx(slow_bond, rel=1e-12)


def test_octants_are_chosen_as_often_as_their_probability():
    weights = np.array([1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 4.0])[:, None]
    u = (np.arange(8000) + 0.5) / 8000
    chosen = choose(np.tile(weights, (1, 8000)), u)
    assert np.bincount(chosen, minlength=8).tolist() == [1000, 0, 3000, 0, 0, 0, 0, 4000]


def test_habits_are_the_most_frequent_then_the_most_recent():
    generator = np.random.default_rng(0)
    memory = generator.integers(0, 64, (500, 50)).astype(np.uint8)
    for window in (1, 2, 15, 40):
        slow = [slow_client.habitual([divmod(int(p), 8) for p in row], window) for row in memory]
        assert habitual(memory, window).tolist() == slow
    tied = np.array([[0, 3, 3, 5, 5, 1]], np.uint8)
    assert habitual(tied, 6).tolist() == [5]


def test_utilities_are_even_in_their_ranges_and_independent():
    clients = begun(4000)
    share = (clients.utility - UTILITY_LOW) / 20
    assert share.min() >= 0
    assert share.max() < 1
    # A mean of 4000 even numbers has a deviation of 0.29 / √4000; 5 of these over 64 cells.
    assert np.abs(share.mean(axis=0) - 0.5).max() < 5 * 0.29 / 4000**0.5
    flat = np.corrcoef(share.reshape(4000, 64).T) - np.eye(64)
    assert np.abs(flat).max() < 6 / 4000**0.5
    assert begun(10, utility_width=0.0).utility.tolist() == [UTILITY_LOW.tolist()] * 10


@pytest.mark.parametrize("pattern", ["cold_stuck", "dominant_stuck", "submissive_stuck"])
def test_stuck_memories(pattern):
    stuck = {"cold_stuck": [5, 6, 7], "dominant_stuck": [0, 1, 7], "submissive_stuck": [3, 4, 5]}[pattern]
    answers = {"cold_stuck": [1, 2, 3], "dominant_stuck": [0, 1, 7], "submissive_stuck": [3, 4, 5]}[pattern]
    client, therapist = octants(begun(1000, patterns=[pattern]))
    inside = np.isin(client, stuck)
    # 0.8 and three eighths of the rest; 50,000 pairs.
    assert inside.mean() == pytest.approx(0.8 + 0.2 * 3 / 8, abs=0.01)
    assert np.isin(therapist[inside], answers).all()
    for octant in answers:
        assert (therapist[inside] == octant).mean() == pytest.approx(1 / 3, abs=0.015)
    spread = np.bincount(therapist[~inside], minlength=8) / (~inside).sum()
    np.testing.assert_allclose(spread, 1 / 8, atol=0.02)


def test_other_memories():
    for pattern, pair in (("cold_warm", (6, 2)), ("conflictual", (0, 0))):
        assert set(pairs(begun(3, patterns=[pattern]), 2)) == {pair}
    client, therapist = octants(begun(1000, patterns=["complementary_perfect"]))
    assert (therapist == COMPLEMENT[client]).all()
    for octant_set, share in (((1, 2, 3), 0.7), ((0, 4), 0.2), ((5, 6, 7), 0.1)):
        assert np.isin(client, octant_set).mean() == pytest.approx(share, abs=0.01)
    client, therapist = octants(begun(1000, patterns=["mixed_random"]))
    counts = np.bincount((8 * client + therapist).ravel(), minlength=64) / 50_000
    np.testing.assert_allclose(counts, 1 / 64, atol=0.004)


def test_patterns_are_drawn_evenly_from_the_list():
    drawn = np.bincount(begun(5000).pattern, minlength=7) / 5000
    np.testing.assert_allclose(drawn, [0.2] * 5 + [0, 0], atol=0.03)


def test_perception_is_true_half_of_the_time_and_always_without_distortion():
    clients, truly, other = begun(500), 0, 0
    for step in range(20):
        habits = habitual(clients.memory, 15)
        given = (clients.action + step) % 8
        outcome = clients.step(given)
        assert ((outcome.perceived == given) | (outcome.perceived == habits)).all()
        differ = habits != given
        truly += (outcome.perceived == given)[differ].sum()
        other += differ.sum()
    assert truly / other == pytest.approx(0.5, abs=0.03)
    clear = begun(100, enable_perception=False)
    for octant in range(8):
        assert (clear.step(np.full(100, octant)).perceived == octant).all()


def test_the_history_shows_what_was_done_not_what_was_perceived():
    clients, shown = begun(3, history_pairs=4), []
    for session in range(9):
        before = clients.action.copy()
        given = (before + session) % 8
        clients.step(given)
        shown.append(np.stack([before, given], axis=1))
        wanted = np.full((3, 8), 8)
        latest = np.concatenate(shown[-4:], axis=1)
        wanted[:, : latest.shape[1]] = latest
        seen = clients.observe()
        np.testing.assert_array_equal(seen["history"], wanted)
        assert seen["session_number"][:, 0].tolist() == [pytest.approx((session + 1) / 100)] * 3
        np.testing.assert_array_equal(seen["client_action"], clients.action)


def test_episodes_end_by_success_dropout_or_length():
    easy = begun(50, threshold=0.01).step(np.zeros(50, int))
    assert easy.success.all()
    assert easy.reward.tolist() == [100 + 2 * 99] * 50
    short = begun(50, threshold=1.0, max_sessions=3)
    for session in (1, 2, 3):
        outcome = short.step(short.action.copy())
        assert outcome.max_reached.tolist() == [session == 3] * 50
        assert (outcome.reward == 0).all()


def test_dropouts_are_looked_for_once_and_win_over_success():
    clients, dropped = begun(400, threshold=0.45), np.zeros(400, bool)
    low = clients.rs_min + 0.45 * (clients.rs_max - clients.rs_min)
    for session in range(1, 13):
        outcome = clients.step(np.full(400, 7))
        worse = outcome.rs < clients.initial_rs
        np.testing.assert_array_equal(outcome.dropped_out, worse & (session == 10))
        np.testing.assert_array_equal(outcome.success, (outcome.rs >= low) & ~outcome.dropped_out)
        assert (outcome.reward[outcome.dropped_out] == -150).all()
        dropped |= outcome.dropped_out
        if session == 10:
            assert (outcome.dropped_out & (outcome.rs >= low)).any()
    assert 0 < dropped.sum() < 400


def test_clients_with_other_parameters_beside_each_other_are_as_they_were_alone():
    settings = [
        {"mechanism": name, "threshold": 0.6 + i / 20, "perception_window": 5 + i}
        for i, name in enumerate(MECHANISMS)
    ]
    mixed, alone = Clients(5, Parameters()), [Clients(1, Parameters(**one)) for one in settings]
    for index, one in enumerate(settings):
        mixed.parameters = Parameters(**one)
        mixed.begin(np.array([index]), np.array([index]))
        alone[index].begin(np.array([index]))
    for _ in range(30):
        action = COMPLEMENT[mixed.action]
        outcome = mixed.step(action)
        for index, single in enumerate(alone):
            wanted = single.step(action[index : index + 1])
            for name, value in vars(wanted).items():
                assert getattr(outcome, name)[index] == value[0], name
            assert mixed.action[index] == single.action[0]
