"""`proximo eval`, `proximo play` and `proximo export`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proximo.cli.imports import uncollected
from proximo.errors import UserError

if TYPE_CHECKING:
    from proximo.agent import Agent


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    run_help = (
        "the run's folder, a checkpoint inside it, a beginning of its name, wandb:entity/project/run, "
        "or a lab YAML with a play section"
    )
    evaluate = commands.add_parser(
        "eval",
        parents=[common],
        help="measure how good a trained agent is",
        description="Play whole episodes with a fixed list of seeds, and compare with a random policy.",
    )
    evaluate.add_argument("path", help=run_help)
    evaluate.add_argument("--episodes", type=_count, metavar="N", help="episodes (default: as configured)")
    evaluate.add_argument(
        "--seed", type=int, metavar="S", help="start of the seed list (default: as configured)"
    )
    evaluate.add_argument(
        "--stochastic", action="store_true", help="sample actions instead of taking the mode"
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(run=_eval)
    play = commands.add_parser(
        "play",
        parents=[common],
        help="watch a trained agent, in a window or as a video",
        description="Show a trained agent in a window, or record it with --video.",
    )
    play.add_argument("path", help=run_help)
    play.add_argument("--video", type=Path, metavar="FILE", help="record an mp4 instead of opening a window")
    play.add_argument(
        "--length", type=_count, metavar="N", help="frames of the video (default: as configured)"
    )
    play.add_argument(
        "--episodes", type=_count, default=3, metavar="N", help="episodes in the window (default 3)"
    )
    play.add_argument("--seed", type=int, metavar="S", help="seed of the first episode")
    play.add_argument("--stochastic", action="store_true", help="sample actions instead of taking the mode")
    play.set_defaults(run=_play)
    export = commands.add_parser(
        "export",
        parents=[common],
        help="write a trained policy as ONNX",
        description="Write the policy as one ONNX file (raw observation in, action out) and check it against itself.",
    )
    export.add_argument("path", help=run_help)
    export.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the file to write")
    export.set_defaults(run=_export)


def _count(word: str) -> int:
    number = int(float(word)) if word.replace("e", "").replace(".", "").isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word}: must be a whole number of at least 1")
    return number


def _load(name: str, *, shown: bool = True) -> Agent:
    """The agent of a run, a W&B run or the lab's YAML file; says which one, unless not `shown`."""
    with uncollected():
        from proximo.agent import load
    from proximo.runs.locate import locate

    found = locate(name)
    if shown and found.line:
        print(found.line, flush=True)
    return load(found.path, found.checkpoint)


def _eval(args: argparse.Namespace) -> int:
    agent = _load(args.path, shown=not args.json)
    from proximo.runs.evaluation import evaluate, random_baseline, verdict

    config = agent.experiment
    episodes = args.episodes or config.eval.episodes
    seed = config.eval.seed if args.seed is None else args.seed
    result = evaluate(agent.policy, config.env, episodes, seed, not args.stochastic, agent.spec.device)
    baseline = random_baseline(config.env, config.eval.random_episodes, config.eval.seed)
    words = verdict(result, baseline)
    if args.json:
        values = {**result.as_dict(), "random_return_mean": baseline.return_mean, "verdict": words}
        print(json.dumps(values))
        return 0
    low, high = result.return_ci95
    interval = f", 95 % interval {low:.2f} to {high:.2f}" if episodes > 1 else ""
    print(f"return {result.return_mean:.2f}{interval}, episodes: {episodes}")
    print(f"length {result.length_mean:.1f} steps")
    if result.success_rate is not None:
        print(f"success rate {result.success_rate:.0%}")
    for name, value in result.info.items():
        print(f"{name} {value:.4g}")
    print(f"{words} (return of a random policy: {baseline.return_mean:.2f})")
    return 0


def _play(args: argparse.Namespace) -> int:
    agent = _load(args.path)
    config = agent.experiment
    seed = config.eval.seed if args.seed is None else args.seed
    if args.video is None:
        return _show(agent, args.episodes, seed, not args.stochastic)
    from proximo.runs.video import record

    length = args.length or config.video.length
    path = record(agent.policy, config.env, args.video, length, seed, not args.stochastic, config.video.fps)
    print(f"video: {path}")
    return 0


def _export(args: argparse.Namespace) -> int:
    agent = _load(args.path)
    from proximo.share.onnx import export_onnx

    written = export_onnx(agent, args.onnx)
    print(f"{written.path}: {', '.join(written.inputs)} → {', '.join(written.outputs)}")
    print(f"checked: its actions differ from the policy's by at most {written.difference:.1e}")
    return 0


def _show(agent: Agent, episodes: int, seed: int, deterministic: bool) -> int:
    from proximo.envs.make import make_env
    from proximo.runs.evaluation import actor, play

    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("there is no display for a window; record a video instead: --video out.mp4")
    env = make_env(agent.experiment.env, num_envs=1, render_mode="human", training=False)
    try:
        result = play(env, actor(agent.policy, env.spec, seed, deterministic), episodes, seed)
    finally:
        env.close()
    for number, (total, length) in enumerate(zip(result.returns, result.lengths, strict=True), 1):
        print(f"episode {number}: return {total:.2f}, {length} steps")
    return 0
