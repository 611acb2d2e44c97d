"""NetHack and MiniHack: the packages' own games, seeded, copied, cut and drawn."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from proximo.config.experiment import EnvConfig
from proximo.core.seeds import integer_seed
from proximo.envs import nethack
from proximo.envs.ahead import resets_ahead
from proximo.envs.make import choose_backend, make_env
from proximo.envs.single import make_single
from proximo.errors import UserError

if not nethack.installed():
    pytest.skip("needs pip install 'proximo[nethack]'", allow_module_level=True)
nethack.register()

ROOM = "MiniHack-Room-5x5-v0"
SOUTH_EAST = 5
"""Four of these lead to the stairs of that room."""
KEYS = ["glyphs_crop", "blstats", "chars", "message", "colors_crop"]


def make(env_id=ROOM, render_mode=None, **config):
    return make_single(EnvConfig(id=env_id, **config), render_mode=render_mode)


def stock(env_id, seed, kwargs):
    """The package's own environment, seeded as its documentation says."""
    env = gymnasium.make(
        env_id, fix_moon_phase=True, render_mode=None, disable_env_checker=True, **kwargs
    ).unwrapped
    env.seed(*(integer_seed(seed, f"nethack/{name}") for name in ("core", "disp")), False,
             integer_seed(seed, "nethack/lgen"))  # fmt: skip
    return env


@pytest.mark.parametrize(
    "env_id",
    [ROOM, "MiniHack-Room-Ultimate-15x15-v0", "MiniHack-KeyRoom-S5-v0", "MiniHack-Eat-v0", "NetHackScore-v0"],
)
def test_games_are_those_of_the_packages(env_id):
    mini = env_id.startswith("MiniHack")
    theirs = stock(env_id, 3, {"observation_keys": KEYS} if mini else {})
    ours = make(env_id, kwargs={"observation_keys": KEYS})
    rng = np.random.default_rng(0)
    a, b = theirs.reset()[0], ours.reset(seed=3)[0]
    for _ in range(150):
        if not mini:
            x, y = a["blstats"][:2]
            for crop in ("glyphs_crop", "colors_crop"):
                a[crop] = np.pad(a[crop.removesuffix("_crop")], 4)[y : y + 9, x : x + 9]
        for key in KEYS:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
            assert b[key].dtype == ours.observation_space[key].dtype
            assert b[key].shape == ours.observation_space[key].shape
        action = int(rng.integers(ours.action_space.n))
        a, reward, ended, *_ = theirs.step(action)
        b, got, terminated, truncated, _ = ours.step(action)
        assert (got, terminated or truncated) == (reward, ended)
        if ended:
            break
    theirs.close()
    ours.close()


def test_an_episode_follows_from_its_seed_whatever_was_played_before():
    env = make("NetHackScore-v0", kwargs={"penalty_mode": "linear", "penalty_step": -0.5})

    def play(seed):
        obs, _ = env.reset(seed=seed)
        seen = [obs["glyphs_crop"]]
        rewards = []
        # Steps in which no time passes are punished more and more.
        for action in [0] * 3 + [1, 1, 2, 4] * 20 + [0] * 3:
            obs, reward, terminated, truncated, _ = env.step(action)
            seen.append(obs["glyphs_crop"])
            rewards.append(reward)
            if terminated or truncated:
                break
        return np.stack(seen), rewards

    first, rewards = play(1)
    other, _ = play(2)
    again, rewards_again = play(1)
    assert np.array_equal(first, again)
    assert rewards == rewards_again
    assert not np.array_equal(first[0], other[0])
    env.close()


def rollout(backend, steps=150, **config):
    env = make_env(EnvConfig(id="MiniHack-Room-Random-5x5-v0", num_envs=3, backend=backend, **config))
    generator = torch.Generator().manual_seed(0)
    rows = [env.reset(7)]
    for _ in range(steps):
        step = env.step(torch.randint(8, (3,), generator=generator))
        rows.append({**step.obs, "reward": step.reward, "end": step.terminated, "cut": step.truncated})
        rows[-1] |= {f"last {key}": entry for key, entry in step.final.obs.items()} | step.info
    env.close()
    return rows


def test_rollouts_are_bitwise_the_same_across_processes():
    alone = rollout("sync")
    shared = rollout("workers", workers=2, reset_ahead=True)
    assert sum(int(row["end"].sum()) for row in alone[1:]) > 3, "spares were never needed"
    for ours, theirs in zip(alone, shared, strict=True):
        assert ours.keys() == theirs.keys()
        for key, entry in ours.items():
            assert torch.allclose(entry, theirs[key], rtol=0, atol=0, equal_nan=True), key


def test_a_cut_episode_is_truncated_and_keeps_its_last_observation():
    env = make(max_episode_steps=3)
    first, _ = env.reset(seed=0)
    for number in range(3):
        obs, _, terminated, truncated, info = env.step(0)
        assert (terminated, truncated) == (False, number == 2)
    assert info["is_success"] is False
    # NLE itself would show the emptied screen of a game that was quit.
    np.testing.assert_array_equal(obs["glyphs_crop"], first["glyphs_crop"])
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(again["blstats"], first["blstats"])
    env.close()


def test_a_solved_episode_is_terminated_and_a_success():
    env = make()
    env.reset(seed=0)
    for number in range(4):
        _, reward, terminated, truncated, info = env.step(SOUTH_EAST)
        assert (terminated, truncated) == (number == 3, False)
    assert reward == 1.0
    assert info["is_success"] is True
    env.close()


def test_observations_are_copies():
    env = make("NetHackScore-v0", kwargs={"observation_keys": ["chars", "glyphs_crop"]})
    first, _ = env.reset(seed=0)
    kept = {key: value.copy() for key, value in first.items()}
    for action in [1, 2, 3, 4] * 5:
        last, *_ = env.step(action)
    assert all(np.array_equal(first[key], kept[key]) for key in kept)
    assert not np.array_equal(last["chars"], kept["chars"])
    env.close()


def test_level_seeds_are_drawn_from_the_episode_s_seed():
    env = make("MiniHack-Room-Random-15x15-v0", kwargs={"seeds": [5, 6], "observation_keys": ["chars"]})
    seen = {env.reset(seed=seed)[0]["chars"].tobytes() for seed in range(8)}
    assert len(seen) == 2
    env.close()


@pytest.mark.parametrize(
    ("env_id", "keys", "said"),
    [
        (ROOM, ["glyph_crop"], "did you mean 'glyphs_crop'?"),
        ("NetHackScore-v0", ["pixel"], "has no 'pixel'"),
        (ROOM, "blstats", "must be a list"),
    ],
)
def test_wrong_observation_keys_are_one_line(env_id, keys, said):
    with pytest.raises(UserError, match="observation_keys") as raised:
        make(env_id, kwargs={"observation_keys": keys})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_seeded_or_found_is_refused():
    with pytest.raises(UserError, match="NetHackChallenge-v0 refuses seeds"):
        make("NetHackChallenge-v0")
    with pytest.raises(UserError, match="nearest: MiniHack-Room-5x5"):
        make("MiniHack-Room-5x6-v0")


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setattr(nethack, "installed", lambda: False)
    monkeypatch.delitem(gymnasium.registry, ROOM)
    with pytest.raises(UserError, match=r"pip install 'proximo\[nethack\]'"):
        make()


def test_pictures_and_text(capsys):
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert picture.max() > 0
    env.step(SOUTH_EAST)
    assert not np.array_equal(picture, env.render())
    env.close()
    env = make("NetHackScore-v0", render_mode="ansi")
    env.reset(seed=0)
    assert "@" in env.render()
    env.close()
    env = make(render_mode="human")
    env.reset(seed=0)
    assert "@" in capsys.readouterr().out
    env.close()


def test_auto_takes_worker_processes_with_resets_ahead(monkeypatch):
    monkeypatch.setattr("proximo.envs.make.cores", lambda: 2)
    for env_id in (ROOM, "NetHackScore-v0"):
        config = EnvConfig(id=env_id)
        assert choose_backend(config)[0] == "workers"
        env = make(env_id)
        assert resets_ahead(env, config)
        env.close()
    monkeypatch.setattr("proximo.envs.make.cores", lambda: 1)
    assert choose_backend(EnvConfig(id=ROOM))[0] == "sync"
