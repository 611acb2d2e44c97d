"""Videos: as many frames as asked, playable, nothing left behind when it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.config.experiment import EnvConfig, PolicyConfig
from proximo.envs.make import make_env
from proximo.errors import RunError, UserError
from proximo.policies.actor_critic import ActorCritic
from proximo.runs.video import frames_per_second, record


class Filmed(gym.Env):
    """A picture with odd sides that brightens by 10 a step; episodes of 10 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, flat=False):
        self.render_mode, self.flat = render_mode, flat

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 0.0, self.t == 10, False, {}

    def render(self):
        return np.zeros(3) if self.flat else np.full((65, 47, 3), 10 * self.t, np.uint8)


def config(**kwargs) -> EnvConfig:
    return EnvConfig(id=f"{__file__}:Filmed", kwargs=kwargs)


def policy() -> ActorCritic:
    env = make_env(config(), num_envs=1)
    env.close()
    return ActorCritic(env.spec, PolicyConfig())


def read(path):
    """Frames per second and all frames `[T, H, W, 3]` of a video."""
    import imageio_ffmpeg

    # Not its own reader, which leaves pipes open where the film is read to its end.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    about = re.search(r"Stream.* (\d+)x(\d+).* ([\d.]+) fps", done.stderr.decode())
    width, height, speed = int(about[1]), int(about[2]), float(about[3])
    return speed, np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def test_length_size_speed_and_content(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    agent = policy()
    state = torch.get_rng_state()
    path = record(agent, config(), tmp_path / "videos" / "a.mp4", length=25, fps=7)
    assert torch.equal(state, torch.get_rng_state())
    speed, frames = read(path)
    assert speed == 7
    assert frames.shape == (25, 66, 48, 3)
    # Brightness climbs and falls back to black where an episode begins: frame t shows t modulo 10.
    expected = np.array([10 * (t % 10) for t in range(25)])
    assert np.abs(frames.mean((1, 2, 3)) - expected).max() < 6
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("metadata", "fps"), [({"render_fps": 20}, 20), ({}, 30), ({"render_fps": None}, 30)]
)
def test_speed_is_what_the_environment_declares(metadata, fps):
    assert frames_per_second(SimpleNamespace(metadata=metadata)) == fps


def test_no_picture_is_one_line_and_leaves_nothing(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(RunError, match="gives no picture"):
        record(policy(), config(flat=True), tmp_path / "a.mp4", length=3)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "videos").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*a\.mp4"):
        record(policy(), config(), tmp_path / "videos" / "a.mp4", length=3)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_a_file_that_cannot_be_written_is_one_line(capfd):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(RunError, match=r"^cannot write /proc/a\.mp4: [^\n]*$"):
        record(policy(), config(), Path("/proc/a.mp4"), length=3)
    assert capfd.readouterr().err == ""


def test_drawing_opens_neither_a_sound_card_nor_a_screen(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    pytest.importorskip("pygame")
    code = f"""
import os, pathlib, pygame
from proximo.config.experiment import EnvConfig, PolicyConfig
from proximo.envs.make import make_env
from proximo.policies.actor_critic import ActorCritic
from proximo.runs.video import record
config = EnvConfig(id="CartPole-v1")
env = make_env(config, num_envs=1)
record(ActorCritic(env.spec, PolicyConfig()), config, pathlib.Path({str(tmp_path / "a.mp4")!r}), length=2)
assert os.environ["SDL_AUDIODRIVER"] == os.environ["SDL_VIDEODRIVER"] == "dummy"
"""
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("SDL_", "DISPLAY", "WAYLAND", "XDG"))}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "ALSA" not in done.stderr
    assert "XDG_RUNTIME_DIR" not in done.stderr


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r"pip install 'proximo\[video\]'"):
        record(policy(), config(), Path(tmp_path / "a.mp4"))
