"""Videos: the agent filmed on an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proximo.config.experiment import EnvConfig
from proximo.core.types import Policy, VecEnv
from proximo.envs.make import make_env
from proximo.errors import RunError, UserError
from proximo.runs.evaluation import acting, actor
from proximo.runs.extras import optional
from proximo.runs.files import writing

DEFAULT_FPS = 30
"""For environments that declare no `render_fps`."""
Frame = np.ndarray[Any, np.dtype[np.uint8]]


def record(
    policy: Policy,
    env_config: EnvConfig,
    path: Path,
    length: int = 500,
    seed: int = 0,
    deterministic: bool = True,
    fps: int = 0,
) -> Path:
    """Film `length` frames (episodes follow one another) into the mp4 file `path`, all of it or nothing.

    `fps` 0: what the environment declares. Touches neither training's randomness nor the policy.

    Raises: UserError where imageio is missing or `path` is no .mp4, RunError where the environment gives no
    picture or the file cannot be written.
    """
    if path.suffix.lower() != ".mp4":
        raise UserError(f"{path}: videos are written as mp4; let its name end in .mp4")
    open_writer = _imageio()
    temporary = path.with_name(f".tmp-{path.name}")
    _without_devices()
    env = make_env(env_config, num_envs=1, render_mode="rgb_array", training=False)
    try:
        with writing(path), acting(policy):
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = film(env, policy, length, seed, deterministic)
            first = next(frames)
            # Two-by-two blocks of colour: H.264 takes even sizes only, which `_picture` sees to.
            speed = fps or frames_per_second(env)
            # Tried here: ffmpeg would explain over many lines why it cannot write.
            temporary.touch()
            temporary.unlink()
            writer = open_writer(temporary, fps=speed, codec="libx264", macro_block_size=2)
            try:
                writer.append_data(first)
                for frame in frames:
                    writer.append_data(frame)
                writer.close()
                temporary.replace(path)
            finally:
                writer.close()
                temporary.unlink(missing_ok=True)
    finally:
        env.close()
    return path


def film(env: VecEnv, policy: Policy, length: int, seed: int, deterministic: bool) -> Iterator[Frame]:
    """Pictures `[height, width, 3]` of the first copy, the one after the reset included."""
    act = actor(policy, env.spec, seed, deterministic)
    obs = env.reset(seed)
    start = torch.ones(env.spec.num_envs, dtype=torch.bool, device=env.spec.device)
    yield _picture(env)
    for _ in range(length - 1):
        step = env.step(act(obs, start))
        obs, start = step.obs, step.terminated | step.truncated | ~step.valid
        yield _picture(env)


def frames_per_second(env: VecEnv) -> float:
    """What the environment declares in `metadata["render_fps"]`, else `DEFAULT_FPS`."""
    metadata = getattr(env, "metadata", None) or {}
    return float(metadata.get("render_fps") or DEFAULT_FPS)


def _picture(env: VecEnv) -> Frame:
    frame = env.render()
    if isinstance(frame, (list, tuple)):
        frame = frame[0] if frame else None
    picture = np.asarray(frame)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype != np.uint8:
        raise RunError(
            f"{env.spec.id} gives no picture to film: its render() must return uint8 [height, width, 3]"
        )
    height, width = picture.shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    return np.pad(picture[:, :, :3], padding, mode="edge")


def _without_devices() -> None:
    # pygame opens a sound card, and a screen, even to draw into memory; where there is none, SDL complains.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def _imageio() -> Any:
    optional("imageio_ffmpeg", "video")
    return optional("imageio.v2", "video").get_writer
