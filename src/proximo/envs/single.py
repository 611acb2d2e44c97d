"""One environment from its configuration: found, built, wrapped; every failure is one line with its cure."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import gymnasium.wrappers
from gymnasium import error as gym_error
from gymnasium.envs.registration import EnvSpec as Registered
from gymnasium.envs.registration import load_env_creator, parse_env_id
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import TimeLimit

from proximo.config.registry import build, nearest, resolve
from proximo.envs import atari, nethack
from proximo.envs.layers import FreshWorld, RawEpisode
from proximo.envs.replay import GymEnv
from proximo.errors import ProximoError, UserError

if TYPE_CHECKING:
    from proximo.config.experiment import EnvConfig, Wrapper

_FAMILIES = (
    ("gymnasium.envs.box2d", "Box2D", "box2d"),
    ("gymnasium.envs.mujoco", "mujoco", "mujoco"),
    ("ale_py", "ale_py", "atari"),
)
"""Entry point, module it needs, extra of Proximo that installs it."""

_KEEPS_STATISTICS = {
    "NormalizeObservation": "policy.normalize_obs",
    "NormalizeReward": "ppo.normalize_reward",
}


def find(env_id: str) -> str | type:
    """The registered id or the class that `env.id` names; `UserError` with the nearest ids where unknown."""
    if nethack.looks_like(env_id) and env_id.rpartition(":")[2] not in gym.registry:
        nethack.register()
    if ":" in env_id:
        name = env_id.rpartition(":")[2]
        try:
            return resolve(env_id)
        except UserError:
            # Importing the module may have registered the id, as `gymnasium.make("module:Id-v0")` expects.
            if name in gym.registry:
                return name
            raise
    if env_id not in gym.registry and importlib.util.find_spec("ale_py") is not None:
        importlib.import_module("ale_py")
    registered(env_id)
    return env_id


def registered(env_id: str) -> Registered:
    """Gymnasium's entry for an id (the newest version if the id names none); `UserError` if there is none."""
    if env_id in gym.registry:
        return gym.registry[env_id]
    if atari.looks_like(env_id) and importlib.util.find_spec("ale_py") is None:
        raise UserError(f"{env_id} needs ale_py: pip install 'proximo[atari]'")
    try:
        namespace, name, version = parse_env_id(env_id)
    except gym_error.Error as error:
        raise UserError(f"{env_id!r} is not an environment id such as CartPole-v1{_near(env_id)}") from error
    same = [s for s in gym.registry.values() if (s.namespace, s.name) == (namespace, name)]
    if version is None and same:
        return max(same, key=lambda spec: spec.version or 0)
    raise UserError(f"no environment {env_id!r}{_near(env_id)}; `proximo envs` lists them")


def _near(env_id: str) -> str:
    lowered = {name.lower(): name for name in gym.registry}
    close = get_close_matches(env_id.lower(), list(lowered), n=3, cutoff=0.6)
    return f"; nearest: {', '.join(lowered[name] for name in close)}" if close else ""


def make_single(config: EnvConfig, *, render_mode: str | None = None, training: bool = True) -> GymEnv:
    """Build one copy with its wrappers; `UserError` for unknown ids, missing extras and bad arguments."""
    target = find(config.id)
    if isinstance(target, str):
        env, game = _make_registered(target, config, render_mode, training)
    else:
        env, game = _make_class(target, config, render_mode), False
    if any(issubclass(wrapper_class(w), gym.RewardWrapper) for w in config.wrappers) and not game:
        env = RawEpisode(env)
    for index, wrapper in enumerate(config.wrappers):
        env = build(wrapper_class(wrapper), wrapper.kwargs, env, where=f"env.wrappers[{index}]")
    return env


def only_vector(env_id: str) -> bool:
    """Whether the id or class exists only as a vector environment."""
    target = find(env_id)
    if isinstance(target, str):
        return registered(target).entry_point is None
    return issubclass(target, VectorEnv)


def make_vector(config: EnvConfig, num_envs: int, render_mode: str | None) -> Any:
    """The environment's own vector implementation; `UserError` where it has none or an option does not apply."""
    target, kwargs = find(config.id), dict(config.kwargs)
    if config.wrappers:
        raise UserError("env.wrappers apply to single environments; use env.backend=sync")
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    if not isinstance(target, str):
        if not issubclass(target, VectorEnv):
            raise UserError(f"env.backend=vector: {config.id} is not a gymnasium.vector.VectorEnv; use sync")
        if config.max_episode_steps is not None:
            raise UserError(f"env.max_episode_steps: {config.id} limits its own episodes; leave it out")
        return build(target, {"num_envs": num_envs, **kwargs}, where="env")
    spec = registered(target)
    _check_extra(config.id, str(spec.entry_point))
    if spec.vector_entry_point is None:
        raise UserError(f"env.backend=vector: {config.id} has no vectorised implementation; use sync")
    if config.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.max_episode_steps
    with _explained(config.id):
        return gym.make_vec(spec.id, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


def _make_registered(
    env_id: str, config: EnvConfig, render_mode: str | None, training: bool
) -> tuple[GymEnv, bool]:
    spec = registered(env_id)
    entry = spec.entry_point if isinstance(spec.entry_point, str) else ""
    _check_extra(config.id, entry)
    if spec.entry_point is None:
        raise UserError(f"{config.id} has only a vectorised implementation: set env.backend=vector")
    if nethack.is_game(spec):
        with _explained(config.id):
            return nethack.make_game(spec, config, render_mode), False
    own = {w.name.rpartition(":")[2] for w in config.wrappers}
    game = atari.is_game(spec, config.kwargs) and "AtariPreprocessing" not in own
    kwargs, limit = dict(config.kwargs), config.max_episode_steps
    if game:
        kwargs, limit = atari.base_kwargs(kwargs), -1
    else:
        _check_kwargs(spec, kwargs)
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    with _explained(config.id):
        env: GymEnv = gym.make(spec.id, max_episode_steps=limit, disable_env_checker=True, **kwargs)
    if entry.startswith("gymnasium.envs.box2d"):
        env = FreshWorld(env)
    if game:
        sticky = atari.stickiness(spec, config.kwargs)
        env = atari.AtariGame(
            env, training=training, sticky=sticky, max_episode_steps=config.max_episode_steps
        )
    return env, game


@contextmanager
def _explained(shown: str) -> Iterator[None]:
    """Turn whatever making `shown` raises into one line."""
    try:
        with warnings.catch_warnings(), _quiet_mujoco():
            # Older versions (-v4) are asked for on purpose.
            warnings.filterwarnings("ignore", message=r".*is out of date.*")
            # Box2D's import crashes the process where this warning of its SWIG types is turned into an error.
            warnings.filterwarnings("ignore", message=r"builtin type \w+ has no __module__ attribute")
            yield
    except gym_error.DependencyNotInstalled as error:
        raise UserError(f"{shown} needs a package that is missing: {_line(error)}") from error
    except ProximoError:
        raise
    except Exception as error:
        raise UserError(f"{shown} could not be made ({type(error).__name__}): {_line(error)}") from error


def _make_class(cls: type, config: EnvConfig, render_mode: str | None) -> GymEnv:
    if not issubclass(cls, gym.Env):
        raise UserError(f"env.id {config.id}: {cls.__name__} must be a subclass of gymnasium.Env")
    kwargs = dict(config.kwargs)
    if render_mode is not None:
        parameters = inspect.signature(cls).parameters
        if "render_mode" not in parameters and not _open_ended(parameters):
            raise UserError(f"env.id {config.id}: {cls.__name__} cannot be rendered: it takes no render_mode")
        kwargs["render_mode"] = render_mode
    env: GymEnv = build(cls, kwargs, where="env")
    return env if config.max_episode_steps is None else TimeLimit(env, config.max_episode_steps)


def _check_extra(env_id: str, entry: str) -> None:
    for prefix, module, extra in _FAMILIES:
        if entry.startswith(prefix):
            if importlib.util.find_spec(module) is None:
                raise UserError(f"{env_id} needs {module}: pip install 'proximo[{extra}]'")
            if module == "mujoco":
                choose_mujoco_renderer()
                _import(module, env_id)


def _import(module: str, env_id: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{env_id}: importing {module} failed: {_line(error)}") from error


def choose_mujoco_renderer() -> None:
    """Without a display let MuJoCo draw through EGL where that exists; must run before its first import."""
    if os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"


@contextmanager
def _quiet_mujoco() -> Iterator[None]:
    # MuJoCo says, per copy, that Gymnasium's own model files use a deprecated attribute: no user can act on it.
    mujoco = sys.modules.get("mujoco")
    if mujoco is None or not hasattr(mujoco, "set_mju_user_warning"):
        yield
        return
    before = mujoco.get_mju_user_warning()

    def pass_on(message: str) -> None:
        if "is deprecated" not in message:
            print(f"MuJoCo: {message}", file=sys.stderr)

    mujoco.set_mju_user_warning(pass_on)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _check_kwargs(spec: Registered, kwargs: dict[str, Any]) -> None:
    if not kwargs:
        return
    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    parameters = inspect.signature(creator).parameters if callable(creator) else {}
    if _open_ended(parameters):
        return
    for key in kwargs:
        if key not in parameters:
            known = ", ".join(k for k in parameters if k != "render_mode") or "nothing"
            raise UserError(
                f"env.kwargs.{key}: {spec.id} has no such argument (it takes {known})"
                f"{nearest(key, list(parameters))}"
            )


def _open_ended(parameters: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def wrapper_class(wrapper: Wrapper) -> type:
    """The class that a wrapper of the configuration names; `UserError` for an unknown or a harmful one."""
    if ":" in wrapper.name:
        return resolve(wrapper.name, gym.Wrapper)
    if wrapper.name in _KEEPS_STATISTICS:
        raise UserError(
            f"env.wrappers: {wrapper.name} keeps statistics that no checkpoint sees; "
            f"use {_KEEPS_STATISTICS[wrapper.name]}"
        )
    if wrapper.name == "Autoreset":
        raise UserError(
            "env.wrappers: Autoreset hides where episodes end; Proximo resets by itself: remove it"
        )
    if wrapper.name not in gym.wrappers.__all__ or wrapper.name == "vector":
        raise UserError(
            f"env.wrappers: gymnasium.wrappers has no {wrapper.name}"
            f"{nearest(wrapper.name, gym.wrappers.__all__)}"
        )
    cls = getattr(gym.wrappers, wrapper.name)
    assert isinstance(cls, type)
    return cls


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "(no message)"
