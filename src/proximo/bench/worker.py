"""The measured process of Proximo: the real `train` on a workload; prints one JSON line.

python -m proximo.bench.worker '{"name": "W1", …}'
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from proximo.bench.clock import Clock, peak_memory_mib
from proximo.bench.peers import find_scripts
from proximo.config.load import load_experiment
from proximo.launch import train


def settings(workload: dict[str, Any], runs_dir: str) -> dict[str, Any]:
    """A workload as Proximo's experiment: no evaluation, one checkpoint at the end, logs as always."""
    policy: dict[str, Any] = {"normalize_obs": workload["normalize"], "hidden_sizes": workload["hidden"]}
    if workload["network"] == "module":
        policy |= {"hidden_sizes": [], "encoder": {"type": "proximo.bench.encoder:TwoLayers"}}
    if workload["network"] == "cnn":
        policy |= {"hidden_sizes": [], "share_encoder": True}
    same = ("gamma", "gae_lambda", "clip", "entropy_coef", "value_coef", "max_grad_norm", "adam_eps")
    wrappers = []
    if workload["wrapper"]:
        folder = find_scripts(Path(workload["scripts"]) if workload.get("scripts") else None)
        wrappers.append({"name": f"{folder}/{workload['wrapper']}"})
    return {
        "seed": workload["seed"],
        "device": "cpu",
        "threads": workload["threads"],
        "runs_dir": runs_dir,
        "env": {
            "id": workload["env"],
            "num_envs": workload["num_envs"],
            "backend": workload["backend"],
            "wrappers": wrappers,
        },
        "policy": policy,
        "ppo": {
            "total_steps": workload["total_steps"],
            "num_steps": workload["num_steps"],
            "epochs": workload["epochs"],
            "minibatch_size": workload["minibatch"],
            "learning_rate": workload["learning_rate"],
            "normalize_reward": workload["normalize"],
            **{name: workload[name] for name in same},
        },
        "eval": {"num_evals": 0},
        "checkpoint": {"every": workload["total_steps"]},
        "hooks": {"clock": {"type": "proximo.bench.clock:Clock"}},
    }


def main() -> None:
    """One measurement."""
    workload = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        experiment = load_experiment(settings(workload, folder), workload["overrides"])
        called = time.monotonic()
        result = train(experiment)
        ended = time.monotonic()
    if result.status != "finished":
        sys.exit(f"the training was {result.status}")
    row = {
        **Clock.seen,
        "steps": result.step,
        "called_at": called,
        "ended_at": ended,
        "memory_mib": peak_memory_mib(),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
