"""Export a trained policy to ONNX: raw observation in, the environment's action out, no Python needed to run it."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from proximo.agent import Agent
from proximo.errors import RunError, UserError
from proximo.policies.actor_critic import ActorCritic
from proximo.runs.extras import optional

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it was checked to agree."""

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float
    """Largest difference between the file's actions and the policy's on random observations."""


class Deployed(nn.Module):
    """The policy's mode as a function of tensors: observations by key, then memories, then `start`.

    Without memory there is no state and no `start`. Outputs: the environment's action, then the new memories.
    """

    def __init__(self, policy: ActorCritic) -> None:
        super().__init__()
        self.policy = policy
        self.keys = tuple(policy.spec.obs_spaces)
        self.memories = tuple(policy.actor_state(1))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return (*self.keys, *self.memories, *(("start",) if self.memories else ()))

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """One step for `N` environments."""
        given = dict(zip(self.inputs, values, strict=True))
        obs = {key: given[key] for key in self.keys}
        state = {key: given[key] for key in self.memories}
        start = given.get("start", torch.zeros(values[0].shape[0], dtype=torch.bool))
        action, after = self.policy.decide(obs, state, start)
        return (action, *(after[key] for key in self.memories))


def export_onnx(agent: Agent, path: Path, *, rows: int = 8) -> Exported:
    """Write the agent's policy to `path` and check the file against it on random observations.

    Raises: UserError where the extra is missing or the file cannot be written, RunError where the policy has a part
    that ONNX cannot express or the check fails.
    """
    runtime = optional("onnxruntime", "onnx")
    optional("onnx", "onnx")
    optional("onnxscript", "onnx")
    module = Deployed(agent.policy.cpu()).eval()
    example = _example(module, rows)
    outputs = ("action", *(f"next_{name}" for name in module.memories))
    batch = torch.export.Dim("envs")
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                example,
                str(path),
                input_names=list(module.inputs),
                output_names=list(outputs),
                dynamic_shapes=(tuple({0: batch} for _ in example),),
                dynamo=True,
                external_data=False,
            )
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"ONNX cannot express this policy: {first}") from error
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = 0.0
    for seed in range(3):
        values = _example(module, rows + seed, seed + 1)
        with torch.no_grad():
            expected = module(*values)
        feed = {name: value.numpy() for name, value in zip(module.inputs, values, strict=True)}
        got = session.run(None, feed)
        for ours, theirs in zip(expected, got, strict=True):
            difference = max(
                difference, float((ours.double() - torch.from_numpy(theirs).double()).abs().max())
            )
    if not difference <= TOLERANCE:
        raise RunError(
            f"{path}: the file's actions differ from the policy's by {difference:g}; do not use it"
        )
    return Exported(path, module.inputs, outputs, difference)


def _example(module: Deployed, rows: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Random inputs: samples of the spaces, memories of moderate size, some of them at the start of an episode."""
    generator = torch.Generator().manual_seed(seed)
    spec = module.policy.spec
    values = []
    for number, key in enumerate(module.keys):
        space = spec.obs_spaces[key]
        space.seed(seed * 100 + number)
        samples = torch.stack([torch.as_tensor(space.sample()) for _ in range(rows)])
        values.append(torch.ones_like(samples) if key == spec.mask_key else samples)
    state = module.policy.actor_state(rows)
    values += [torch.randn(entry.shape, generator=generator) for entry in state.values()]
    if state:
        values.append(torch.rand(rows, generator=generator) < 0.3)
    return tuple(values)
