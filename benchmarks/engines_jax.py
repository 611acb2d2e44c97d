"""The update of `engines_case.py` as one function compiled by JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from engines_case import (
    BETA1,
    BETA2,
    CLIP,
    ENTROPY_COEF,
    EPS,
    MAX_NORM,
    RATE,
    VALUE_COEF,
    Arrays,
    Case,
    batching,
    initial,
)

LOG_2PI = float(np.log(2 * np.pi))


def apply(net: Any, x: Any) -> Any:
    """tanh between layers."""
    for weight, bias in net[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = net[-1]
    return x @ weight + bias


def head(parameters: Any, obs: Any, action: Any, discrete: bool) -> tuple[Any, Any]:
    """Log-probabilities and entropies `[B]`."""
    (actor, _), log_std = parameters
    out = apply(actor, obs)
    if discrete:
        logs = jax.nn.log_softmax(out)
        return jnp.take_along_axis(logs, action[:, None], 1)[:, 0], -(jnp.exp(logs) * logs).sum(1)
    z = (action - out) * jnp.exp(-log_std)
    total = log_std.sum() + 0.5 * LOG_2PI * log_std.size
    return -0.5 * (z**2).sum(1) - total, jnp.full(len(obs), total + 0.5 * log_std.size)


def loss(parameters: Any, rows: Any, discrete: bool) -> Any:
    """The PPO loss of a minibatch."""
    advantage = (rows["advantage"] - rows["advantage"].mean()) / (rows["advantage"].std(ddof=1) + 1e-8)
    logp, entropy = head(parameters, rows["obs"], rows["action"], discrete)
    ratio = jnp.exp(logp - rows["logp_old"])
    surrogate = jnp.minimum(ratio * advantage, ratio.clip(1 - CLIP, 1 + CLIP) * advantage).mean()
    value = apply(parameters[0][1], rows["obs"])[:, 0]
    return VALUE_COEF * ((value - rows["target"]) ** 2).mean() - surrogate - ENTROPY_COEF * entropy.mean()


def minibatch(carry: Any, chosen: Any, data: Any, discrete: bool) -> tuple[Any, None]:
    """One clipped Adam step."""
    parameters, first, second, count = carry
    gradient = jax.grad(loss)(parameters, {key: entry[chosen] for key, entry in data.items()}, discrete)
    norm = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    scale = jnp.minimum(1.0, MAX_NORM / (norm + 1e-6))
    gradient = jax.tree.map(lambda g: g * scale, gradient)
    count = count + 1
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradient)
    size, root = RATE / (1 - BETA1**count), 1 / jnp.sqrt(1 - BETA2**count)
    parameters = jax.tree.map(
        lambda p, m, v: p - size * m / (jnp.sqrt(v) * root + EPS), parameters, first, second
    )
    return (parameters, first, second, count), None


def all_minibatches(carry: Any, order: Any, data: Any, discrete: bool) -> Any:
    """A whole update in one call."""
    return jax.lax.scan(lambda c, chosen: minibatch(c, chosen, data, discrete), carry, order)[0]


class JaxSide:
    """Parameters stay with JAX; the rows are handed over at each update, as a rollout would be."""

    def __init__(self, case: Case, data: Arrays) -> None:
        self.case, self.data, self.batching = case, data, batching(case)
        parameters = jax.tree.map(jnp.array, initial(case))
        first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
        self.carry = (parameters, first, second, jnp.zeros((), jnp.int32))
        # Donated: the parameters and moments are written in place.
        self.step = jax.jit(all_minibatches, static_argnums=3, donate_argnums=0)

    def update(self) -> None:
        """All epochs and minibatches."""
        case = self.case
        order = self.batching.orders(case.rows, case.epochs).numpy().astype(np.int32)
        data = {key: jnp.asarray(entry) for key, entry in self.data.items()}
        self.carry = self.step(self.carry, order.reshape(-1, case.minibatch), data, case.discrete)
        jax.block_until_ready(self.carry)

    def parameters(self) -> list[np.ndarray]:
        """Weights `[in, out]` and biases of actor and critic, then the deviation."""
        nets, log_std = self.carry[0]
        found = [np.asarray(x) for net in nets for layer in net for x in layer]
        return found if self.case.discrete else [*found, np.asarray(log_std)]
