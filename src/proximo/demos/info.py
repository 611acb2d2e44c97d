"""What a data set holds, in numbers."""

from __future__ import annotations

from typing import Any

from proximo.demos import store
from proximo.demos.dataset import Dataset


def describe(dataset: Dataset) -> dict[str, Any]:
    """JSON values: origin, counts, returns and lengths per episode, spaces, whether log-probabilities are there."""
    returns, lengths = dataset.returns, dataset.lengths
    spaces = dataset.obs_spaces or {}
    return {
        "names": list(dataset.names),
        "env": None if dataset.env is None else dataset.env.id,
        "policies": [_policy(name) for name in dataset.names],
        "formats": [str(store.metadata(name).get("data_format")) for name in dataset.names],
        "episodes": dataset.episodes,
        "steps": dataset.rows,
        "terminated": int(dataset.terminated.sum()),
        "truncated": int(dataset.truncated.sum()),
        "return_mean": dataset.return_mean,
        "return_std": float(returns.std()) if dataset.episodes > 1 else 0.0,
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
        "length_mean": float(lengths.double().mean()),
        "length_min": int(lengths.min()),
        "length_max": int(lengths.max()),
        "observations": {key: str(space) for key, space in spaces.items()},
        "actions": str(dataset.action_space),
        "log_probabilities": dataset.logp is not None,
        "action_form": dataset.form,
        "bytes": sum(rows.numel() * rows.element_size() for rows in (*dataset.obs.values(), dataset.action)),
        "returns": returns.tolist(),
        "lengths": lengths.tolist(),
    }


def _policy(name: str) -> str | None:
    said = store.metadata(name).get("algorithm_name")
    return said if isinstance(said, str) else None
