"""A person who plays: keys and actions, a terminal, a window, and what is recorded of it."""

import enum
import os
import pty
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.config.experiment import EnvConfig
from proximo.demos.boards import Terminal, Window, choose_view
from proximo.demos.controls import Controls, controls
from proximo.demos.minari import load_demos
from proximo.demos.person import Person
from proximo.demos.record import Again, Stop
from proximo.errors import UserError
from proximo.recipes.demos import record_demos

needs_minari = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(name) is None for name in ("minari", "h5py", "pyarrow")),
    reason="needs pip install 'proximo[demos]'",
)


class Injected:
    """Gives the keys it was made with, one after the other, and counts what it was shown."""

    render_mode = None

    def __init__(self, keys):
        self.keys, self.shown, self.closed = list(keys), [], False

    def show(self, picture, obs, line):
        self.shown.append(obs)

    def wait(self):
        key = self.keys.pop(0) if self.keys else "escape"
        if key == "escape":
            raise Stop
        if key == "backspace":
            raise Again
        return {key}

    def held(self, fps):
        return self.wait()

    def close(self):
        self.closed = True


def table(env_id, given=None):
    env = gym.make(env_id)
    try:
        return controls(env, env_id, given)
    finally:
        env.close()


# --- keys and actions ---


def test_known_environments_have_keys():
    cart = table("CartPole-v1")
    assert cart.waits
    assert cart.action({"left"}) == 0
    assert cart.action({"right"}) == 1
    assert cart.action({"x"}) is None
    car = table("MountainCar-v0")
    assert not car.waits
    assert [car.action(held) for held in ({"left"}, set(), {"x"}, {"right"})] == [0, 1, 1, 2]
    assert table("Taxi-v3").action({"p"}) == 4


def test_an_unknown_environment_has_a_key_for_each_number():
    assert table("proximo/Therapy-v0").action({"7"}) == 7
    env = gym.make("Pendulum-v1")
    with pytest.raises(UserError, match=r"Something-v0: no keys are known for Box.*say them: --keys"):
        controls(env, "Something-v0", None)
    env.close()


def test_numbers_of_several_keys_add_up_inside_the_bounds():
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    actions = {frozenset(): [0, 0], frozenset({"a"}): [-0.7, 0], frozenset({"b"}): [-0.7, 0.5]}
    keys = Controls(actions, space)
    np.testing.assert_allclose(keys.action({"a", "b"}), [-1, 0.5])
    np.testing.assert_allclose(keys.action({"a"}), [-0.7, 0])
    np.testing.assert_allclose(keys.action(set()), [0, 0])


def test_the_largest_known_set_of_keys_counts():
    keys = table("CartPole-v1", "{left: 0, left+up: 1}")
    assert keys.action({"left", "up"}) == 1
    assert keys.action({"left", "x"}) == 0
    assert "left+up = 1" in keys.help()


def test_the_emulators_own_keys():
    pytest.importorskip("ale_py", reason="needs pip install 'proximo[atari]'")
    import ale_py

    gym.register_envs(ale_py)
    keys = table("ALE/Pong-v5")
    assert (keys.action({"space"}), keys.action({"d", "space"}), keys.action(set())) == (1, 4, 0)


class Typed(gym.Env):
    """Like NetHack: actions are the characters that are typed."""

    class Key(enum.IntEnum):
        MORE = 13
        NORTH = ord("k")
        FAR_NORTH = ord("K")
        QUIT = 27
        KICK = 4
        META = 255

    actions = tuple(Key)
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(len(actions))


def test_games_that_are_typed():
    keys = controls(Typed(), "Typed-v0", None)
    assert [keys.action({key}) for key in ("return", "k", "K", "escape", "\x04")] == [0, 1, 2, None, 4]
    assert len(keys.keys) == 4


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("{left: 0, right: 2}", r"--keys: right: 2 is no action of Discrete\(2\)"),
        ("left", r"--keys: write keys and actions as"),
        ("{}", r"--keys: write keys and actions as"),
        ("{escape: 1}", r"--keys: escape, backspace have a meaning already"),
        ("{left: [", r"--keys"),
        ("{true: 1}", r"--keys.*the key 'true' must be text"),
    ],
)
def test_keys_that_mean_nothing_are_refused(given, match):
    with pytest.raises(UserError, match=match):
        table("CartPole-v1", given)


# --- recording ---


def played(keys, env="CartPole-v1", given=None, episodes=3):
    config = EnvConfig(id=env)
    board = Injected(keys)
    who = Person(board, table(env, given), fps=1e6)
    made = record_demos(config, who, "toy/person-v0", episodes, 0, say=lambda line: None)
    assert board.closed
    return made, load_demos(["toy/person-v0"]), board


@needs_minari
def test_the_keys_are_the_actions():
    made, data, board = played(["left"] * 40, given="{left: 0}", episodes=2)
    assert data.logp is None
    assert data.episodes == 2
    assert not made.summary.stopped
    obs, action = data.take(torch.arange(data.rows))
    assert action.eq(0).all()
    np.testing.assert_array_equal(np.stack(board.shown[: data.rows]), obs["obs"].numpy())


@needs_minari
def test_escape_keeps_the_finished_episodes():
    made, data, _ = played(["left"] * 11 + ["escape"], given="{left: 0}")
    assert made.summary.stopped
    assert data.episodes == 1


@needs_minari
def test_backspace_begins_the_episode_again():
    first = played(["left"] * 30, given="{left: 0}", episodes=1)[1]
    config = EnvConfig(id="CartPole-v1")
    who = Person(Injected(["right", "right", "backspace", *["left"] * 30]), table("CartPole-v1"), 1e6)
    record_demos(config, who, "toy/again-v0", 1, 0, say=lambda line: None)
    again = load_demos(["toy/again-v0"])
    rows = torch.arange(first.rows)
    assert again.rows == first.rows
    assert torch.equal(again.take(rows)[0]["obs"], first.take(rows)[0]["obs"])
    assert again.take(rows)[1].eq(0).all()


@needs_minari
def test_a_forbidden_key_is_passed_over():
    # North is forbidden at first here; the wall stays one.
    made, data, _ = played(["up", "down", "left", "right", "p", "d"] * 120, env="Taxi-v3", episodes=1)
    obs, action = data.take(torch.arange(data.rows))
    assert obs["action_mask"].gather(1, action[:, None]).all()
    assert len(made.summary.returns) == 1


# --- a terminal ---


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    board = Terminal(["ansi"], theirs)
    yield ours, board
    board.close()
    os.close(ours)
    os.close(theirs)


def test_a_terminal_knows_its_keys(terminal):
    ours, board = terminal
    os.write(ours, b"\x1b[Da \x1bOC\t7")
    assert [board.wait() for _ in range(6)] == [{"left"}, {"a"}, {"space"}, {"right"}, {"tab"}, {"7"}]
    assert board.held(1000.0) == set()
    os.write(ours, b"\x1b[A")
    assert board.held(0.1) == {"up"}
    os.write(ours, b"\x7f")
    with pytest.raises(Again):
        board.wait()
    os.write(ours, b"\x1b")
    with pytest.raises(Stop):
        board.wait()


def test_what_is_no_terminal_is_refused():
    reading, writing = os.pipe()
    try:
        with pytest.raises(UserError, match="a person needs a terminal or a window"):
            Terminal([], reading)
    finally:
        os.close(reading)
        os.close(writing)


@needs_minari
def test_the_command_in_a_terminal():
    ours, theirs = pty.openpty()
    command = (
        "demos record FrozenLake-v1 --policy keyboard --view terminal --dataset toy/lake-v0 --episodes 2"
    )
    done = subprocess.Popen(
        [sys.executable, "-m", "proximo", *command.split(), "env.kwargs.is_slippery=false"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    out = ""
    while "episode 1" not in out:
        out += done.stdout.readline()
    os.write(ours, b"\x1b[C\x1b[B" + b"\x1b[B\x1b[B\x1b[C\x1b[B\x1b[C\x1b[C" + b"\x1b")
    out += done.communicate(timeout=60)[0]
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, out
    assert "SFFF" in out
    assert "stopped: 2" not in out
    data = load_demos(["toy/lake-v0"])
    assert data.take(torch.arange(data.rows))[1].tolist() == [2, 1, 1, 1, 2, 1, 2, 2]
    assert data.returns.tolist() == [0, 1]


# --- a window ---


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame", reason="needs pip install 'proximo[demos]'")
    board = Window("test")
    board.show(np.zeros((40, 60, 3), np.uint8), None, "line")
    pygame.event.clear()
    yield pygame, board
    board.close()


def press(pygame, *keys, up=False):
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYUP if up else pygame.KEYDOWN, key=key))


def test_a_window_knows_which_keys_are_held(window):
    pygame, board = window
    press(pygame, pygame.K_LEFT, pygame.K_SPACE)
    assert board.held(1e6) == {"left", "space"}
    press(pygame, pygame.K_LEFT, up=True)
    assert board.held(1e6) == {"space"}
    # Pressed and released between two steps: it counts once.
    press(pygame, pygame.K_a)
    press(pygame, pygame.K_a, up=True)
    assert board.held(1e6) == {"space", "a"}
    assert board.held(1e6) == {"space"}
    press(pygame, pygame.K_p)
    assert board.wait() == {"p"}
    press(pygame, pygame.K_p, up=True)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_k, unicode="K"))
    assert board.held(1e6) == {"space", "K"}
    press(pygame, pygame.K_k, up=True)
    assert board.held(1e6) == {"space"}


def test_a_window_that_is_closed_stops(window):
    pygame, board = window
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    with pytest.raises(Stop):
        board.wait()
    press(pygame, pygame.K_BACKSPACE)
    with pytest.raises(Again):
        board.held(1e6)


def test_the_picture_fills_the_window(window):
    pygame, board = window
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 20:] = 200, 100, 50
    board.show([picture], None, "line")
    shown = pygame.display.get_surface()
    assert shown.get_size() == (800, 400)
    assert shown.get_at((790, 390))[:3] == (200, 100, 50)
    assert shown.get_at((10, 10))[:3] == (0, 0, 0)


@needs_minari
def test_playing_in_a_window(window):
    pygame, _ = window
    config = EnvConfig(id="MountainCar-v0", max_episode_steps=6)
    board = Window("test")
    press(pygame, pygame.K_RIGHT)
    who = Person(board, table("MountainCar-v0"), fps=1e6)
    record_demos(config, who, "toy/window-v0", 1, 0, say=lambda line: None)
    data = load_demos(["toy/window-v0"])
    assert data.take(torch.arange(6))[1].tolist() == [2] * 6


def test_where_to_play(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        assert choose_view("auto", ["rgb_array"]) == "terminal"
    monkeypatch.setenv("DISPLAY", ":0")
    assert choose_view("auto", ["rgb_array"]) == "window"
    assert choose_view("auto", ["ansi"]) == "terminal"
    with pytest.raises(UserError, match="draws no pictures"):
        choose_view("window", ["ansi"])
