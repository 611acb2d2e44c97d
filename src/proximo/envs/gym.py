"""N Gymnasium environments stepped one after the other in this process, as one tensor environment.

Same-step autoreset is done here: where an episode ends, `Step.final` holds its true last observation and
`Step.obs` already the first one of the next episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.types import Final, Obs, Step
from proximo.envs.copies import Copies, Rows
from proximo.envs.layers import picture
from proximo.envs.replay import GymEnv
from proximo.envs.spaces import Array, buffers
from proximo.envs.tensors import (
    InfoTensors,
    action_array,
    check_count,
    check_saved,
    episode_actions,
    make_spec,
    stepped,
    to_tensors,
)
from proximo.errors import RunError


class SyncEnv:
    """Steps `envs` (all alike) one by one; see `core.types.VecEnv` for the contract.

    `first_env` is the global index of the first copy: it enters the seeds. Raises `UserError` for unsupported
    spaces and `RunError`, naming copy, episode, seed, step and action, where a copy fails.
    """

    def __init__(
        self, envs: Sequence[GymEnv], config: EnvConfig, device: torch.device, first_env: int = 0
    ) -> None:
        self._copies = Copies(envs, config, first_env)
        self._device, count = device, len(envs)
        leaves, space = self._copies.leaves, self._copies.space
        self.spec = make_spec(config.id, leaves, space, count, device, self._copies.mask_key)
        self.metadata: dict[str, Any] = envs[0].metadata or {}
        self._infos = InfoTensors(self._copies.infos.columns, count, device)
        nobody = torch.zeros(0, dtype=torch.int64, device=device)
        self._no_final = Final(nobody, to_tensors(buffers(leaves, 0), device))
        self._last: dict[str, Array] = {}

    def reset(self, seed: int) -> Obs:
        """Begin episode 0 of every copy; `[N, ...]` per key."""
        obs = buffers(self._copies.leaves, self.spec.num_envs)
        self._copies.reset(seed, obs)
        self._last = obs
        return to_tensors(obs, self._device)

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N, *action_space.shape]`, as `policy.to_env` gives it."""
        if self._copies.episodes.seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        check_count(action, self.spec)
        given = action_array(action, self.spec.action_space, self.spec.id)
        return stepped(self, self._copies.leaves, given)

    def step_into(
        self,
        given: Array,
        obs: dict[str, Array],
        reward: Array,
        terminated: Array,
        truncated: Array,
        valid: Array,
    ) -> tuple[Final, dict[str, Tensor]]:
        """Step with `[N, ...]` actions of the space's type; the answers go into the caller's memory.

        `obs` must stay as it is until the next step; `given` now belongs to the environments.
        """
        valid[:] = True
        ended = self._copies.step(given, Rows(obs, reward, terminated, truncated))
        final = self._no_final
        if ended:
            last = {key: array[ended] for key, array in obs.items()}
            self._copies.go_on(ended, obs)
            who = torch.tensor(ended, dtype=torch.int64, device=self._device)
            final = Final(who, to_tensors(last, self._device))
        self._last = obs
        return final, self._infos(self._copies.infos.take())

    def configure(self, params: Mapping[str, Any]) -> None:
        """Set parameters of the environments from each one's next reset on; `UserError` for unknown names."""
        self._copies.configure(params)

    def render(self) -> Any:
        """The first copy's picture; `RunError` if made without `render_mode`."""
        return picture(self._copies.envs[0], self.spec.id)

    def close(self) -> None:
        """Close every copy."""
        self._copies.close()

    def state_dict(self) -> dict[str, Any]:
        """Seeds, episode indices, the running episodes' actions, last observations (tensors, JSON values)."""
        copies = self._copies
        if copies.episodes.seed is None:
            return {"seed": None}
        native = copies.native()
        return {
            "seed": copies.episodes.seed,
            "episode": list(copies.episodes.index),
            "actions": [] if native else episode_actions(copies.episodes, copies.space),
            "native": native,
            "obs": {key: torch.from_numpy(array.copy()) for key, array in self._last.items()},
            "params": copies.params,
            "applied": [dict(params) for params in copies.applied],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the running episodes; `RunError` naming copy and key where one does not come back bitwise."""
        if state["seed"] is None:
            return
        check_saved(state, self.spec)
        saved = {key: value.cpu().numpy() for key, value in state["obs"].items()}
        self._copies.load(state, saved, [rows.cpu().numpy() for rows in state["actions"]])
        self._last = saved
