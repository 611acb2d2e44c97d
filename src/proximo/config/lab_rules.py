"""What each key of the lab's YAML means here. What it leaves out is as in stable-baselines3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from proximo.config import overrides, text
from proximo.config.lab_keys import LOOP, PPO, Sheet
from proximo.config.lab_networks import networks

SB3_DEFAULTS: dict[str, Any] = {
    "env.num_envs": 1,
    "ppo.num_steps": 2048,
    "ppo.minibatch_size": 64,
    "ppo.epochs": 10,
    "ppo.learning_rate": 3e-4,
    "ppo.gamma": 0.99,
    "ppo.gae_lambda": 0.95,
    "ppo.clip": 0.2,
    "ppo.entropy_coef": 0.0,
    "ppo.value_coef": 0.5,
    "ppo.max_grad_norm": 0.5,
    "ppo.adam_eps": 1e-5,
    "ppo.normalize_advantage": "minibatch",
    "ppo.normalize_reward": False,
    "ppo.prime_steps": 0,
    "policy.activation": "Tanh",
    "policy.share_encoder": True,
    "policy.ortho_init": True,
    "policy.normalize_obs": False,
}
"""What stable-baselines3 2.x does where nothing is said; written out, so that our own defaults never matter."""

PLAIN = {
    "environment.id": "env.id",
    "n_environments": "env.num_envs",
    f"{PPO}.n_steps": "ppo.num_steps",
    f"{PPO}.batch_size": "ppo.minibatch_size",
    f"{PPO}.n_epochs": "ppo.epochs",
    f"{PPO}.gamma": "ppo.gamma",
    f"{PPO}.gae_lambda": "ppo.gae_lambda",
    f"{PPO}.clip_range_vf": "ppo.value_clip",
    f"{PPO}.ent_coef": "ppo.entropy_coef",
    f"{PPO}.vf_coef": "ppo.value_coef",
    f"{PPO}.max_grad_norm": "ppo.max_grad_norm",
    f"{PPO}.target_kl": "ppo.target_kl",
    f"{LOOP}.seed": "seed",
    f"{LOOP}.total_timesteps": "ppo.total_steps",
    f"{LOOP}.eval.seed": "eval.seed",
    f"{LOOP}.eval.num_episodes": "eval.episodes",
    f"{LOOP}.eval.num_evals": "eval.num_evals",
}
"""Keys that only have another name here."""

OTHER_ALGORITHMS = ("a2c", "ars", "ddpg", "dqn", "her", "qrdqn", "recurrentppo", "sac", "td3", "tqc", "trpo")
_SCHEDULE = re.compile(r"lin(?:ear)?_(.+)")
_VERBOSITY = {0: -1, 1: 0, 2: 1}


def translate(sheet: Sheet) -> None:
    """Fill in `sheet.data`, the lines that say so, and the mistakes."""
    _algorithm(sheet)
    if "experiment.name" in sheet.given:
        sheet.put("experiment.name", "name", str(sheet.get("experiment.name")))
    if "environment.id" not in sheet.given:
        sheet.errors.append("environment.id: is required (for example BipedalWalker-v3)")
    if f"{LOOP}.total_timesteps" not in sheet.given:
        sheet.errors.append(f"{LOOP}.total_timesteps: is required (for example 500000)")
    _environment(sheet)
    algorithm(sheet)
    _loop(sheet)
    _tracking(sheet)
    _defaults(sheet)


def algorithm(sheet: Sheet) -> None:
    """The algorithm's numbers and the networks."""
    for path, ours in PLAIN.items():
        if path in sheet.given:
            sheet.put(path, ours, sheet.get(path))
    _optimisation(sheet)
    networks(sheet)


def verbosity(sheet: Sheet) -> int | None:
    """-1, 0 or 1 for the lab's 0, 1 or 2; None where it says nothing."""
    return _VERBOSITY.get(sheet.get(f"{LOOP}.verbose"))


def _algorithm(sheet: Sheet) -> None:
    path = "training.algorithm"
    name = str(sheet.get(path, "ppo")).lower()
    if name in OTHER_ALGORITHMS:
        sheet.fail(path, "Proximo trains PPO only; train this one with stable-baselines3, or set it to ppo")
    elif name != "ppo":
        sheet.fail(path, "no such algorithm; Proximo trains ppo")
    elif path in sheet.given:
        sheet.note(path, "the algorithm that Proximo trains")


def _environment(sheet: Sheet) -> None:
    kwargs = dict(sheet.mapping("environment.env_config"))
    if kwargs:
        sheet.put("environment.env_config", "env.kwargs", kwargs)
    mode = "environment.render_mode"
    if sheet.get(mode) == "rgb_array":
        sheet.note(mode, "the recorder of videos asks for it itself")
    elif mode in sheet.given:
        sheet.put(mode, "env.kwargs.render_mode", sheet.get(mode))
    sheet.flag("environment.monitor", True)
    if "environment.monitor" in sheet.given:
        sheet.note("environment.monitor", "returns and lengths of all episodes are always recorded")
    _videos(sheet)


def _videos(sheet: Sheet) -> None:
    every, length = "environment.video_trigger", "environment.video_length"
    copies = sheet.count("n_environments", 1) or 1
    steps, frames = sheet.count(every), sheet.count(length, 200)
    if not sheet.flag("environment.video_wrapper", False):
        for path in ("environment.video_wrapper", every, length):
            if path in sheet.given:
                sheet.note(path, "no videos")
        return
    if steps is None:
        if every not in sheet.given:
            sheet.fail("environment.video_wrapper", "needs environment.video_trigger (steps between videos)")
        return
    sheet.note("environment.video_wrapper", "videos, by the two keys below")
    sheet.put(every, "video.every", steps * copies)
    sheet.put(length, "video.length", frames)


def _optimisation(sheet: Sheet) -> None:
    _scheduled(sheet, f"{PPO}.learning_rate", "ppo.learning_rate", "ppo.lr_schedule")
    _scheduled(sheet, f"{PPO}.clip_range", "ppo.clip", "ppo.clip_schedule")
    path = f"{PPO}.normalize_advantage"
    if path in sheet.given:
        on = sheet.flag(path, True)
        sheet.put(path, "ppo.normalize_advantage", "minibatch" if on else "none")
    path = f"{PPO}.stats_window_size"
    if sheet.count(path, 100) != 100:
        sheet.fail(path, "must be 100: return_mean is always over the last 100 episodes")
    elif path in sheet.given:
        sheet.note(path, "return_mean is always over the last 100 episodes")


def _scheduled(sheet: Sheet, path: str, ours: str, schedule: str) -> None:
    value = sheet.get(path)
    if value is None:
        return
    linear = _SCHEDULE.fullmatch(value) if isinstance(value, str) else None
    number = text.parse(linear.group(1), path) if linear else value
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        sheet.fail(path, "must be a number, or lin_ and a number (falls to 0 over the training)")
        return
    sheet.put(path, ours, number)
    if linear:
        sheet.put(path, schedule, "linear")


def _loop(sheet: Sheet) -> None:
    _device(sheet)
    _pretrained(sheet)
    total, points = sheet.count(f"{LOOP}.total_timesteps"), sheet.count(f"{LOOP}.log_points")
    if total is not None and points is not None:
        sheet.put(f"{LOOP}.log_points", "checkpoint.every", max(1, total // points))
    loud = f"{LOOP}.verbose"
    if loud in sheet.given:
        if sheet.get(loud) not in _VERBOSITY or isinstance(sheet.get(loud), bool):
            sheet.fail(loud, "must be 0, 1 or 2")
        else:
            sheet.note(loud, ("quiet (as -q)", "the usual lines", "more lines (as -v)")[sheet.get(loud)])
    final = "evaluation.num_episodes"
    episodes = sheet.count(final)
    if episodes is not None:
        hook = {"type": "proximo.runs.final:FinalEvaluation", "kwargs": {"episodes": episodes}}
        sheet.put(final, "hooks.evaluation", hook)
    for key in ("experiment", "pretrained_model"):
        if f"play.{key}" in sheet.given:
            sheet.note(f"play.{key}", f"what `proximo play {sheet.source}` shows")


def _device(sheet: Sheet) -> None:
    path = f"{LOOP}.device"
    device = sheet.get(path)
    if device is None:
        return
    if isinstance(device, str) and re.fullmatch(r"cuda:[1-9]\d*", device):
        number = device.partition(":")[2]
        sheet.fail(path, f"choose the GPU outside: CUDA_VISIBLE_DEVICES={number} and device: cuda")
        return
    sheet.put(path, "device", "cuda" if device == "cuda:0" else device)


def _pretrained(sheet: Sheet) -> None:
    path = "training.pretrained_model"
    model = sheet.get(path)
    if model is None:
        return
    if not isinstance(model, str):
        sheet.fail(path, "must be the folder of a run of Proximo, or 'None'")
    elif model.startswith("wandb:"):
        sheet.fail(path, "fetch it first: `proximo eval` of this name downloads it and prints its folder")
    else:
        _init_from(sheet, path, model)


def _init_from(sheet: Sheet, path: str, model: str) -> None:
    beside = sheet.folder / model
    found = str(beside) if beside.exists() and not Path(model).exists() else model
    zipped = any((root / f"{model}.zip").is_file() for root in (Path(), sheet.folder))
    if zipped or model.endswith((".zip", ".pt", ".pth", ".pkl")):
        sheet.fail(
            path,
            "is a pickled model of stable-baselines3; reading a pickle runs whatever code is in it, so it is "
            "refused: train anew, and give the folder of that run",
        )
        return
    sheet.put(path, "init_from", found)


def _tracking(sheet: Sheet) -> None:
    board = f"{PPO}.tensorboard_log"
    track: list[Any] = []
    if sheet.get(board):
        track = [{"type": "tensorboard"}]
        sheet.put(board, "track", track)
    if not sheet.flag("training.use_wandb", False):
        if "training.use_wandb" in sheet.given:
            sheet.note("training.use_wandb", "no W&B; progress.csv and events.jsonl are always written")
        return
    wandb = {"type": "wandb", "project": "sb3", "sync_tensorboard": True, "monitor_gym": True}
    group = sheet.get("environment.id")
    sheet.put(
        "training.use_wandb",
        "track",
        [{"type": "tensorboard"}, wandb | ({"group": group} if isinstance(group, str) else {})],
    )


def _defaults(sheet: Sheet) -> None:
    for ours, value in SB3_DEFAULTS.items():
        if overrides.get(sheet.data, ours) is None:
            sheet.assume(ours, value)
