"""The update of `engines_case.py` as loops compiled by numba; matrix products by the BLAS that numba calls (SciPy's).

Functions take `[in, out]` weights; `x`, `y`, `g` are a minibatch's inputs, outputs and gradients, `[B, ...]`.
"""

from __future__ import annotations

from typing import Any

import numba
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

F = np.float32
HALF_LOG_2PI = F(0.5 * np.log(2 * np.pi))
# Sums may be reordered and products fused; NaN and infinity stay what they are, so that a broken run shows.
fast = numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")

# tanh as an odd over an even polynomial, the fit that Eigen uses, in powers of x²: the C library's function would
# be called once per number, and takes most of the update.
ODD = tuple(
    F(c)
    for c in (
        4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
        -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16,
    )
)  # fmt: skip
EVEN = tuple(
    F(c) for c in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)
LIMIT = F(7.90531110763549805)


@fast
def tanh(z: Any) -> None:
    """In place."""
    flat = z.reshape(-1)
    for i in range(flat.size):
        x = min(max(flat[i], -LIMIT), LIMIT)
        s = x * x
        p = ((((ODD[6] * s + ODD[5]) * s + ODD[4]) * s + ODD[3]) * s + ODD[2]) * s
        q = ((EVEN[3] * s + EVEN[2]) * s + EVEN[1]) * s + EVEN[0]
        flat[i] = x * ((p + ODD[1]) * s + ODD[0]) / q


@fast
def dense(x: Any, weight: Any, bias: Any, y: Any) -> None:
    """y = x · weight + bias."""
    np.dot(x, weight, y)
    for b in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[b, j] += bias[j]


@fast
def forward(x: Any, net: Any, first: Any, second: Any, out: Any) -> None:
    """Two tanh layers and a linear one."""
    dense(x, net[0], net[1], first)
    tanh(first)
    dense(first, net[2], net[3], second)
    tanh(second)
    dense(second, net[4], net[5], out)


@fast
def dense_grad(x: Any, g: Any, weight_grad: Any, bias_grad: Any) -> None:
    """Gradients of one layer's parameters."""
    np.dot(x.T, g, weight_grad)
    bias_grad[:] = F(0)
    for b in range(g.shape[0]):
        for j in range(g.shape[1]):
            bias_grad[j] += g[b, j]


@fast
def through(g: Any, weight: Any, y: Any, below: Any) -> None:
    """Gradient of what a tanh was applied to, from the gradient above the layer that follows it."""
    np.dot(g, weight.T, below)
    flat, values = below.reshape(-1), y.reshape(-1)
    for i in range(flat.size):
        flat[i] *= F(1) - values[i] * values[i]


@fast
def backward(
    x: Any, net: Any, grads: Any, first: Any, second: Any, g: Any, g_second: Any, g_first: Any
) -> None:
    """Gradients of a network's parameters from that of its output."""
    dense_grad(second, g, grads[4], grads[5])
    through(g, net[4], second, g_second)
    dense_grad(first, g_second, grads[2], grads[3])
    through(g_second, net[2], first, g_first)
    dense_grad(x, g_first, grads[0], grads[1])


@fast
def flow(logp: Any, old: Any, advantage: Any) -> Any:
    """Minus d(surrogate)/d(logp) of one row."""
    ratio = np.exp(logp - old)
    clipped = min(max(ratio, F(1 - CLIP)), F(1 + CLIP))
    return -ratio * advantage if ratio * advantage < clipped * advantage or clipped == ratio else F(0)


@fast
def categorical(out: Any, action: Any, old: Any, advantage: Any, g: Any) -> None:
    """Gradient of surrogate and entropy at the logits."""
    count, actions = out.shape
    logs = np.empty(actions, np.float32)
    for b in range(count):
        top = out[b].max()
        total = F(0)
        for a in range(actions):
            total += np.exp(out[b, a] - top)
        entropy = F(0)
        for a in range(actions):
            logs[a] = out[b, a] - top - np.log(total)
            entropy -= np.exp(logs[a]) * logs[a]
        d = flow(logs[action[b]], old[b], advantage[b]) / F(count)
        for a in range(actions):
            q = np.exp(logs[a])
            g[b, a] = d * (F(a == action[b]) - q) + F(ENTROPY_COEF) / F(count) * q * (logs[a] + entropy)


@fast
def gaussian(
    out: Any, action: Any, log_std: Any, old: Any, advantage: Any, g: Any, log_std_grad: Any
) -> None:
    """Gradient of surrogate and entropy at means and deviations."""
    count, actions = out.shape
    log_std_grad[:] = -F(ENTROPY_COEF)
    inverse, constant = np.exp(-log_std), log_std.sum() + F(actions) * HALF_LOG_2PI
    for b in range(count):
        square = F(0)
        for a in range(actions):
            z = (action[b, a] - out[b, a]) * inverse[a]
            square += z * z
        d = flow(F(-0.5) * square - constant, old[b], advantage[b]) / F(count)
        for a in range(actions):
            z = (action[b, a] - out[b, a]) * inverse[a]
            g[b, a] = d * z * inverse[a]
            log_std_grad[a] += d * (z * z - F(1))


@fast
def adam(theta: Any, grad: Any, first: Any, second: Any, step: int) -> None:
    """One step along the gradient, clipped by its norm."""
    square = F(0)
    for i in range(grad.size):
        square += grad[i] * grad[i]
    scale = F(min(1.0, MAX_NORM / (np.sqrt(square) + 1e-6)))
    size, root = F(RATE / (1 - BETA1**step)), F(1 / np.sqrt(1 - BETA2**step))
    for i in range(grad.size):
        g = grad[i] * scale
        first[i] += (g - first[i]) * F(1 - BETA1)
        second[i] = second[i] * F(BETA2) + g * g * F(1 - BETA2)
        theta[i] -= size * first[i] / (np.sqrt(second[i]) * root + F(EPS))


@fast
def learn(nets: Any, grads: Any, vectors: Any, data: Any, choice: Any, order: Any, step: int) -> None:
    """All minibatches `order` [K, B]; `vectors`: parameters, gradient, two moments, deviation and its gradient."""
    theta, grad, first, second, log_std, log_std_grad = vectors
    obs, action, logp_old, advantages, target = data
    size, actions = order.shape[1], nets[0][5].size
    x = np.empty((size, obs.shape[1]), np.float32)
    hidden = np.empty((6, size, nets[0][1].size), np.float32)
    out, g = np.empty((size, actions), np.float32), np.empty((size, actions), np.float32)
    value, g_value = np.empty((size, 1), np.float32), np.empty((size, 1), np.float32)
    for k in range(order.shape[0]):
        rows = order[k]
        for b in range(size):
            x[b] = obs[rows[b]]
        advantage = advantages[rows]
        mean = advantage.mean()
        deviation = np.sqrt(((advantage - mean) ** 2).sum() / F(size - 1)) + F(1e-8)
        advantage = (advantage - mean) / deviation
        forward(x, nets[0], hidden[0], hidden[1], out)
        forward(x, nets[1], hidden[2], hidden[3], value)
        if log_std.size == 0:
            categorical(out, choice[rows], logp_old[rows], advantage, g)
        else:
            gaussian(out, action[rows], log_std, logp_old[rows], advantage, g, log_std_grad)
        for b in range(size):
            g_value[b, 0] = F(2 * VALUE_COEF) / F(size) * (value[b, 0] - target[rows[b]])
        backward(x, nets[0], grads[0], hidden[0], hidden[1], g, hidden[4], hidden[5])
        backward(x, nets[1], grads[1], hidden[2], hidden[3], g_value, hidden[4], hidden[5])
        adam(theta, grad, first, second, step + k + 1)


class NumbaSide:
    """One flat vector of parameters; weights and biases are views of it."""

    def __init__(self, case: Case, data: Arrays) -> None:
        self.case, self.batching, self.steps = case, batching(case), 0
        nets, log_std = initial(case)
        parts = [x for net in nets for layer in net for x in layer]
        self.theta = np.concatenate([*(x.ravel() for x in parts), log_std])
        self.grad, first, second = (np.zeros_like(self.theta) for _ in range(3))
        self.shapes = [x.shape for x in (*parts, *([] if case.discrete else [log_std]))]
        views, grads = self.split(self.theta), self.split(self.grad)
        tail = (views[12], grads[12]) if not case.discrete else (self.theta[:0], self.grad[:0])
        self.nets = (tuple(views[:6]), tuple(views[6:12]))
        self.grads = (tuple(grads[:6]), tuple(grads[6:12]))
        self.vectors = (self.theta, self.grad, first, second, *tail)
        action = np.zeros((0, 1), np.float32) if case.discrete else data["action"]
        self.choice = data["action"] if case.discrete else np.zeros(0, np.int64)
        self.data = (data["obs"], action, data["logp_old"], data["advantage"], data["target"])

    def split(self, vector: np.ndarray) -> list[np.ndarray]:
        """Views of a vector laid out as the parameters."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        return [
            vector[end - int(np.prod(shape)) : end].reshape(shape)
            for shape, end in zip(self.shapes, ends, strict=True)
        ]

    def update(self) -> None:
        """All epochs and minibatches."""
        case = self.case
        order = self.batching.orders(case.rows, case.epochs).numpy().reshape(-1, case.minibatch)
        learn(self.nets, self.grads, self.vectors, self.data, self.choice, order, self.steps)
        self.steps += len(order)

    def parameters(self) -> list[np.ndarray]:
        """Weights `[in, out]` and biases of actor and critic, then the deviation."""
        return self.split(self.theta)
