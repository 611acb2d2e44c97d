"""ALE's vector environment behind the contract, against the emulator driven by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proximo.config.experiment import EnvConfig
from proximo.core.types import VecEnv
from proximo.envs.ale import AleVectorEnv, refuses
from proximo.envs.gym import SyncEnv
from proximo.envs.make import choose_backend, make_env
from proximo.errors import RunError, UserError

ale_py = pytest.importorskip("ale_py")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("ale_py.vector_env")

BREAKOUT = "BreakoutNoFrameskip-v4"
CPU = torch.device("cpu")


def make(n=2, training=True, env_id=BREAKOUT, first_env=0, **config):
    return AleVectorEnv(EnvConfig(id=env_id, num_envs=n, **config), n, CPU, first_env, training)


class ByHand:
    """A game through ALE's single interface: FIRE, `noops` frames of nothing, then four frames an action."""

    def __init__(self) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.loadROM(ale_py.roms.get_rom_path("breakout"))
        self.actions = self.ale.getMinimalActionSet()

    def begin(self, noops):
        self.ale.reset_game()
        for action in [1] + [0] * noops:
            self.ale.act(self.actions[action])
        return self.picture()

    def picture(self, *screens):
        screens = screens or (self.ale.getScreenGrayscale(),)
        return cv2.resize(np.maximum.reduce(screens), (84, 84), interpolation=cv2.INTER_AREA)

    def step(self, action):
        screens, reward = [], 0
        for _ in range(4):
            reward += self.ale.act(self.actions[action])
            screens.append(self.ale.getScreenGrayscale().copy())
        return self.picture(*screens[2:]), reward


def test_pictures_and_rewards_are_those_of_the_emulator():
    env = make(1, training=False)
    assert isinstance(env, VecEnv)
    first = env.reset(3)["obs"][0].numpy()
    assert all((first[i] == first[3]).all() for i in range(4)), "the stack begins full of the first picture"
    actions = [2, 2, 3, 0, 3, 3] * 2
    steps = [env.step(torch.tensor([action])) for action in actions]
    seen = [first[3], *(step.obs["obs"][0, 3].numpy() for step in steps)]
    matches = []
    game = ByHand()
    for noops in range(30):
        pictures, rewards = [game.begin(noops)], []
        for action in actions:
            picture, reward = game.step(action)
            pictures.append(picture)
            rewards.append(reward)
        if all((mine == theirs).all() for mine, theirs in zip(seen, pictures, strict=True)):
            matches.append(rewards)
            break
    assert matches, "no number of no-ops explains the pictures"
    assert [float(step.reward[0]) for step in steps] == matches[0]
    assert (steps[4].obs["obs"][0].numpy() == np.stack(seen[2:6])).all()
    assert (steps[0].obs["obs"][0].numpy() == np.stack([first[3]] * 3 + [seen[1]])).all()


def play(env, steps, seed=5):
    generator = torch.Generator().manual_seed(1)
    env.reset(seed)
    for _ in range(steps):
        yield env.step(torch.randint(0, 4, (env.spec.num_envs,), generator=generator))


def test_a_lost_life_ends_the_episode_in_training_only_and_the_game_goes_on():
    lives, ends, reports, total = [5, 5], 0, [], [0.0, 0.0]
    over_before, began = [False, False], [False, False]
    pairs = zip(
        play(make(info=("lives",)), 400), play(make(training=False, info=("lives",)), 400), strict=True
    )
    for step, twin in pairs:
        np.testing.assert_array_equal(step.obs["obs"], twin.obs["obs"])
        assert set(step.reward.tolist()) <= {-1.0, 0.0, 1.0}
        assert step.final.index.tolist() == (step.terminated | step.truncated).nonzero().flatten().tolist()
        np.testing.assert_array_equal(step.final.obs["obs"], step.obs["obs"][step.final.index])
        assert twin.final.index.tolist() == twin.terminated.nonzero().flatten().tolist()
        for n in range(2):
            now, ended = int(step.info["lives"][n]), bool(step.terminated[n])
            assert bool(step.valid[n]) == (not over_before[n]), "exactly the row after an end begins the next"
            total[n] += float(twin.reward[n]) * bool(twin.valid[n])
            if over_before[n]:
                stack = step.obs["obs"][n]
                assert (stack == stack[3]).all()
                began[n] = True
                assert not ended
            else:
                assert ended == (now < lives[n])
                assert bool(twin.terminated[n]) == (ended and now == 0)
            assert torch.isnan(step.info["episode_return"][n]) == (not twin.terminated[n])
            if twin.terminated[n]:
                reports.append((float(step.info["episode_return"][n]), total[n]))
                total[n] = 0.0
            ends += ended
            lives[n], over_before[n] = (now or 5), ended
    assert all(began)
    assert len(reports) >= 2
    assert ends >= 5 * len(reports)
    assert all(reported == counted for reported, counted in reports)
    assert any(reported > 1 for reported, _ in reports)


def test_copies_follow_from_the_seed_and_their_global_index():
    together, again, second = make(2), make(2), make(1, first_env=1)
    for one, other, late in zip(play(together, 15), play(again, 15), play(second, 15), strict=True):
        np.testing.assert_array_equal(one.obs["obs"], other.obs["obs"])
        assert late.obs["obs"].shape == (1, 4, 84, 84)
    starts = [make(2).reset(seed)["obs"] for seed in (5, 6)]
    assert not torch.equal(*starts)
    assert torch.equal(make(1, first_env=1).reset(5)["obs"][0], make(2).reset(5)["obs"][1])


def test_episodes_are_cut_where_the_limit_says():
    ends = [step.truncated.tolist() for step in play(make(1, max_episode_steps=6), 8)]
    assert ends == [[False]] * 5 + [[True]] + [[False]] * 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"id": "CartPole-v1"}, "no Atari game"),
        ({"id": "ALE/Pong-v5", "kwargs": {"obs_type": "ram"}}, "no Atari game"),
        ({"id": "ALE/Pong-v5", "kwargs": {"mode": 1}}, "env.kwargs.mode"),
        ({"id": "ALE/Pong-v5", "wrappers": ({"name": "ClipReward"},)}, "env.wrappers"),
    ],
)
def test_what_it_cannot_do_is_named(config, words):
    config = EnvConfig(**config)
    assert words in refuses(config)
    assert choose_backend(config)[0] != "ale"
    with pytest.raises(UserError, match=rf"env\.backend=ale: .*{words}.*env\.backend=sync"):
        make_env(config.model_copy(update={"backend": "ale"}), num_envs=1)


def test_the_automatic_choice_and_drawing(monkeypatch):
    monkeypatch.setattr("proximo.envs.make.cores", lambda: 1)
    assert choose_backend(EnvConfig(id="ALE/Pong-v5"))[0] == "sync"
    monkeypatch.setattr("proximo.envs.make.cores", lambda: 2)
    config = EnvConfig(id="ALE/Pong-v5")
    assert choose_backend(config)[0] == "ale"
    assert choose_backend(EnvConfig(id="ALE/Pong-v5", num_envs=1))[0] == "sync"
    assert isinstance(make_env(config, num_envs=1), AleVectorEnv)
    assert isinstance(make_env(config, num_envs=1, render_mode="rgb_array"), SyncEnv)


def test_misuse_is_named():
    env = make(1)
    with pytest.raises(RunError, match="reset must be called"):
        env.step(torch.zeros(1, dtype=torch.int64))
    with pytest.raises(UserError, match="no parameters"):
        env.configure({"difficulty": 1})
    env.reset(0)
    with pytest.raises(RunError, match=r"environment 0: action 99 is none of 0 to 3"):
        env.step(torch.tensor([99]))
    with pytest.raises(RunError, match="2 actions for 1 environment"):
        env.step(torch.zeros(2, dtype=torch.int64))
