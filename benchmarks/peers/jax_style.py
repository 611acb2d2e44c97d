"""PPO on CartPole as one compiled JAX function, environment included; written for this benchmark.

Not a PyTorch peer: what a whole-program compiler reaches where even the environment can be compiled.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
from clock import Clock, workload
from jax import Array

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
LIMIT_X, LIMIT_THETA, MAX_STEPS = 2.4, 12 * 2 * jnp.pi / 360, 500


def fresh(key: Array, copies: int) -> Array:
    """Starting states `[N, 4]`."""
    return jax.random.uniform(key, (copies, 4), minval=-0.05, maxval=0.05)


def physics(state: Array, action: Array) -> Array:
    """One Euler step of cart and pole, all copies."""
    x, v, theta, omega = state.T
    force = jnp.where(action == 1, FORCE, -FORCE)
    cos, sin, total = jnp.cos(theta), jnp.sin(theta), CART + POLE
    pushed = (force + POLE * HALF_LENGTH * omega**2 * sin) / total
    turn = (GRAVITY * sin - cos * pushed) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / total))
    push = pushed - POLE * HALF_LENGTH * turn * cos / total
    return jnp.stack([x + TAU * v, v + TAU * push, theta + TAU * omega, omega + TAU * turn], 1)


def network(key: Array, sizes: list[int], gain: float) -> list[tuple[Array, Array]]:
    """Orthogonal weights, zero biases."""
    gains = [2**0.5] * (len(sizes) - 2) + [gain]
    keys = jax.random.split(key, len(gains))
    make = jax.nn.initializers.orthogonal
    pairs = pairwise(sizes)
    return [(make(g)(k, pair), jnp.zeros(pair[1])) for g, k, pair in zip(gains, keys, pairs, strict=True)]


def apply(layers: list[tuple[Array, Array]], x: Array) -> Array:
    """tanh between layers."""
    for weight, bias in layers[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def loss(parameters, rows, w) -> Array:
    """The PPO loss of a minibatch."""
    obs, action, old, advantage, target = rows
    logs = jax.nn.log_softmax(apply(parameters["actor"], obs))
    ratio = jnp.exp(jnp.take_along_axis(logs, action[:, None], 1)[:, 0] - old)
    advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    surrogate = jnp.minimum(ratio * advantage, ratio.clip(1 - w.clip, 1 + w.clip) * advantage).mean()
    value = apply(parameters["critic"], obs)[:, 0]
    entropy = -(jnp.exp(logs) * logs).sum(1).mean()
    return w.value_coef * ((value - target) ** 2).mean() - surrogate - w.entropy_coef * entropy


def adam(parameters, gradient, moments, w):
    """One clipped Adam step."""
    leaves = jax.tree.leaves(gradient)
    norm = jnp.sqrt(sum((leaf**2).sum() for leaf in leaves))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, w.max_grad_norm / (norm + 1e-6)), gradient)
    first, second, count = moments
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
    a, b = 1 - 0.9**count, 1 - 0.999**count
    moved = jax.tree.map(
        lambda p, m, v: p - w.learning_rate * (m / a) / (jnp.sqrt(v / b) + w.adam_eps),
        parameters,
        first,
        second,
    )
    return moved, (first, second, count)


def act(carry, key, parameters, w):
    """One step of every environment."""
    state, age = carry
    keys = jax.random.split(key)
    logits = apply(parameters["actor"], state)
    action = jax.random.categorical(keys[0], logits)
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], 1)[:, 0]
    value = apply(parameters["critic"], state)[:, 0]
    after, age = physics(state, action), age + 1
    done = (jnp.abs(after[:, 0]) > LIMIT_X) | (jnp.abs(after[:, 2]) > LIMIT_THETA) | (age >= MAX_STEPS)
    following = jnp.where(done[:, None], fresh(keys[1], w.num_envs), after)
    return (following, jnp.where(done, 0, age)), (state, action, logp, value, done)


def iterate(everything, w):
    """Collect, estimate, learn."""
    parameters, moments, carry, key = everything
    key, acting, shuffling = jax.random.split(key, 3)
    step = partial(act, parameters=parameters, w=w)
    carry, (obs, action, logp, value, done) = jax.lax.scan(step, carry, jax.random.split(acting, w.num_steps))

    def backward(last, row):
        value, following, done = row
        going = 1.0 - done
        last = 1.0 + w.gamma * following * going - value + w.gamma * w.gae_lambda * going * last
        return last, last

    following = jnp.concatenate([value[1:], apply(parameters["critic"], carry[0])[None, :, 0]])
    _, advantage = jax.lax.scan(backward, jnp.zeros(w.num_envs), (value, following, done), reverse=True)
    count = w.num_envs * w.num_steps
    flat = (
        obs.reshape(count, 4),
        *(part.reshape(count) for part in (action, logp, advantage, advantage + value)),
    )

    def minibatch(pair, chosen):
        rows = tuple(part[chosen] for part in flat)
        gradient = jax.grad(loss)(pair[0], rows, w)
        return adam(pair[0], gradient, pair[1], w), None

    orders = [jax.random.permutation(k, count) for k in jax.random.split(shuffling, w.epochs)]
    chosen = jnp.stack(orders).reshape(-1, w.minibatch)
    (parameters, moments), _ = jax.lax.scan(minibatch, (parameters, moments), chosen)
    return parameters, moments, carry, key


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    keys = jax.random.split(jax.random.key(w.seed), 4)
    parameters = {
        "actor": network(keys[0], [4, *w.hidden, 2], 0.01),
        "critic": network(keys[1], [4, *w.hidden, 1], 1.0),
    }
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    carry = (fresh(keys[2], w.num_envs), jnp.zeros(w.num_envs, jnp.int32))
    everything = (parameters, (zeros, zeros, jnp.zeros((), jnp.int32)), carry, keys[3])
    rows = w.num_envs * w.num_steps
    clock.start()
    update = jax.jit(lambda everything: iterate(everything, w))
    for _ in range(w.total_steps // rows):
        everything = update(everything)
        if clock.first is None:
            jax.block_until_ready(everything)
            clock.updated(rows)
    jax.block_until_ready(everything)
    clock.finish(w.total_steps // rows * rows, "environment in JAX, compiled with the rest; no logging")


if __name__ == "__main__":
    main()
