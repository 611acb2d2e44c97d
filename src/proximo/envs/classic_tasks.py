"""Gymnasium's classic-control tasks as array programs: all environments in one expression, in float64.

Dynamics, constants and the order of operations are Gymnasium's (CartPole: Barto, Sutton & Anderson 1983; Acrobot:
Sutton 1996; MountainCar: Moore 1990). The kernels (classic.h) compute the same numbers.
Shapes: state `[N, STATE]`; parameters come as columns `[N]`, in the order of `Task.parameters`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import cos, pi, sin, square

from proximo.core.engines.native.classic import STATE
from proximo.envs.hashing import coordinate, mix, uniforms

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Columns = tuple[Floats, ...]
Moved = tuple[Columns, Any, Bools]
"""New state columns, reward (`[N]` float64), terminated."""


@dataclass(frozen=True)
class Task:
    """One task: `kind` is its number in the kernels, `entry` the Gymnasium class it must agree with."""

    kind: int
    entry: str
    obs_width: int
    parameters: tuple[str, ...]
    """Attributes of the Gymnasium environment that the dynamics read."""
    first: Callable[[Floats], Columns]
    """First states from uniforms `[N, STATE]` in [0, 1)."""
    step: Callable[[Columns, Any, Columns], Moved]
    observe: Callable[[Columns], Columns]


CODES: dict[str, Callable[[Any], float]] = {
    "kinematics_integrator": lambda value: float(value != "euler"),
    "book_or_nips": lambda value: float(value == "nips"),
}
"""Parameters that are words, as numbers."""


def draws(key: int, envs: npt.NDArray[np.int64], episodes: npt.NDArray[np.int64]) -> Floats:
    """`[K, STATE]` uniforms in [0, 1) of 53 bits, hashed as `core.rng.bits` does with the episode as the step."""
    words = mix(np.uint64(key) + coordinate(envs))
    return uniforms(mix(words + coordinate(episodes)), STATE)


def _cartpole(s: Columns, choice: Any, p: Columns) -> Moved:
    x, x_dot, theta, theta_dot = s
    gravity, masspole, total_mass, length, polemass_length, force_mag, tau, semi, theta_max, x_max, sutton = p
    force = np.where(choice == 1, force_mag, -force_mag)
    costheta, sintheta = cos(theta), sin(theta)
    temp = (force + polemass_length * square(theta_dot) * sintheta) / total_mass
    thetaacc = (gravity * sintheta - costheta * temp) / (
        length * (4.0 / 3.0 - masspole * square(costheta) / total_mass)
    )
    xacc = temp - polemass_length * thetaacc * costheta / total_mass
    new_x_dot, new_theta_dot = x_dot + tau * xacc, theta_dot + tau * thetaacc
    late = semi > 0
    x = x + tau * np.where(late, new_x_dot, x_dot)
    theta = theta + tau * np.where(late, new_theta_dot, theta_dot)
    terminated = (x < -x_max) | (x > x_max) | (theta < -theta_max) | (theta > theta_max)
    reward = np.where(sutton > 0, np.where(terminated, -1.0, 0.0), 1.0)
    return (x, new_x_dot, theta, new_theta_dot), reward, terminated


def _acrobot_slope(y: Columns, torque: Floats, p: Columns) -> Columns:
    _, l1, lc1, lc2, m1, m2, moi, _, _, nips = p
    theta1, theta2, dtheta1, dtheta2 = y
    g, cos2, sin2 = 9.8, cos(theta2), sin(theta2)
    d1 = m1 * square(lc1) + m2 * (square(l1) + square(lc2) + 2 * l1 * lc2 * cos2) + moi + moi
    d2 = m2 * (square(lc2) + l1 * lc2 * cos2) + moi
    phi2 = m2 * lc2 * g * cos(theta1 + theta2 - pi / 2)
    phi1 = (
        -m2 * l1 * lc2 * square(dtheta2) * sin2
        - 2 * m2 * l1 * lc2 * dtheta2 * dtheta1 * sin2
        + (m1 * lc1 + m2 * l1) * g * cos(theta1 - pi / 2)
        + phi2
    )
    turn = torque + d2 / d1 * phi1
    turn = np.where(nips > 0, turn, turn - m2 * l1 * lc2 * square(dtheta1) * sin2)
    ddtheta2 = (turn - phi2) / (m2 * square(lc2) + moi - square(d2) / d1)
    return dtheta1, dtheta2, -(d2 * ddtheta2 + phi1) / d1, ddtheta2


def _wrapped(x: Floats) -> Floats:
    # A number so large that turning back would take for ever has no meaning any more.
    x = np.where(np.abs(x) < 1e4, x, np.nan)
    # Turn by turn, as Gymnasium does; one by one, as the few rows that need it may need hundreds.
    for index in np.flatnonzero(np.abs(x) > pi):
        angle = float(x[index])
        while angle > pi:
            angle -= 2 * pi
        while angle < -pi:
            angle += 2 * pi
        x[index] = angle
    return x


def _acrobot(s: Columns, choice: Any, p: Columns) -> Moved:
    dt, max_vel_1, max_vel_2 = p[0], p[7], p[8]
    torque, half = choice - 1.0, dt / 2.0
    k1 = _acrobot_slope(s, torque, p)
    k2 = _acrobot_slope(_along(s, half, k1), torque, p)
    k3 = _acrobot_slope(_along(s, half, k2), torque, p)
    k4 = _acrobot_slope(_along(s, dt, k3), torque, p)
    theta1, theta2, dtheta1, dtheta2 = (
        y + dt / 6.0 * (a + 2 * b + 2 * c + d) for y, a, b, c, d in zip(s, k1, k2, k3, k4, strict=True)
    )
    theta1, theta2 = _wrapped(theta1), _wrapped(theta2)
    dtheta1, dtheta2 = np.clip(dtheta1, -max_vel_1, max_vel_1), np.clip(dtheta2, -max_vel_2, max_vel_2)
    terminated = -cos(theta1) - cos(theta2 + theta1) > 1.0
    return (theta1, theta2, dtheta1, dtheta2), np.where(terminated, 0.0, -1.0), terminated


def _along(s: Columns, time: Floats, slope: Columns) -> Columns:
    return tuple(y + time * k for y, k in zip(s, slope, strict=True))


def _roll(position: Floats, velocity: Floats, p: Columns) -> tuple[Floats, Floats, Bools]:
    # What the two mountain cars share: limits, the wall on the left, the goal.
    low, high, max_speed, goal_position, goal_velocity = p[:5]
    velocity = np.clip(velocity, -max_speed, max_speed)
    position = np.clip(position + velocity, low, high)
    velocity = np.where((position == low) & (velocity < 0), 0.0, velocity)
    return position, velocity, (position >= goal_position) & (velocity >= goal_velocity)


def _mountain_car(s: Columns, choice: Any, p: Columns) -> Moved:
    force, gravity = p[5:]
    push = (choice - 1.0) * force + cos(3 * s[0]) * -gravity
    position, velocity, terminated = _roll(s[0], s[1] + push, p)
    return (position, velocity, s[2], s[3]), np.full(len(position), -1.0), terminated


def _mountain_car_continuous(s: Columns, action: Any, p: Columns) -> Moved:
    power, low, high = p[5:]
    given = action[:, 0].astype(np.float64)
    push = np.clip(given, low, high) * power - 0.0025 * cos(3 * s[0])
    position, velocity, terminated = _roll(s[0], s[1] + push, p)
    reward = np.where(terminated, 100.0, 0.0) - square(given) * 0.1
    # Gymnasium keeps this task's state in single precision.
    kept = (x.astype(np.float32).astype(np.float64) for x in (position, velocity))
    return (*kept, s[2], s[3]), reward, terminated


def _pendulum(s: Columns, action: Any, p: Columns) -> Moved:
    theta, speed = s[:2]
    max_speed, max_torque, dt, g, m, length = p
    most = max_torque.astype(np.float32)
    u = np.clip(action[:, 0], -most, most)
    # The torque's own terms are products in single precision, as NumPy 2 computes them.
    effort, push = np.float32(0.001) * square(u), (3.0 / (m * square(length))).astype(np.float32) * u
    cost = square((theta + pi) % (2 * pi) - pi) + 0.1 * square(speed) + effort
    new_speed = speed + (3 * g / (2 * length) * sin(theta) + push) * dt
    new_speed = np.clip(new_speed, -max_speed, max_speed)
    never = np.zeros(len(theta), np.bool_)
    return (theta + new_speed * dt, new_speed, s[2], s[3]), -cost, never


def _uniform(*ranges: tuple[float, float]) -> Callable[[Floats], Columns]:
    # Each given as low and width, the other state columns zero.
    def first(u: Floats) -> Columns:
        draws = [low + width * u[:, k] for k, (low, width) in enumerate(ranges)]
        return (*draws, *[np.zeros(len(u))] * (STATE - len(draws)))

    return first


def _acrobot_first(u: Floats) -> Columns:
    # Gymnasium rounds it.
    return tuple((-0.1 + 0.2 * u[:, k]).astype(np.float32).astype(np.float64) for k in range(STATE))


def _acrobot_seen(s: Columns) -> Columns:
    return cos(s[0]), sin(s[0]), cos(s[1]), sin(s[1]), s[2], s[3]


_CAR = ("min_position", "max_position", "max_speed", "goal_position", "goal_velocity")
_CARTPOLE = Task(
    kind=0,
    entry="cartpole:CartPoleEnv",
    obs_width=4,
    parameters=(
        *("gravity", "masspole", "total_mass", "length", "polemass_length", "force_mag", "tau"),
        *("kinematics_integrator", "theta_threshold_radians", "x_threshold", "_sutton_barto_reward"),
    ),
    first=_uniform(*[(-0.05, 0.1)] * 4),
    step=_cartpole,
    observe=lambda s: s,
)
TASKS: dict[str, Task] = {
    "CartPole-v0": _CARTPOLE,
    "CartPole-v1": _CARTPOLE,
    "Acrobot-v1": Task(
        kind=1,
        entry="acrobot:AcrobotEnv",
        obs_width=6,
        parameters=(
            *("dt", "LINK_LENGTH_1", "LINK_COM_POS_1", "LINK_COM_POS_2", "LINK_MASS_1", "LINK_MASS_2"),
            *("LINK_MOI", "MAX_VEL_1", "MAX_VEL_2", "book_or_nips"),
        ),
        first=_acrobot_first,
        step=_acrobot,
        observe=_acrobot_seen,
    ),
    "MountainCar-v0": Task(
        kind=2,
        entry="mountain_car:MountainCarEnv",
        obs_width=2,
        parameters=(*_CAR, "force", "gravity"),
        first=_uniform((-0.6, 0.2)),
        step=_mountain_car,
        observe=lambda s: s[:2],
    ),
    "MountainCarContinuous-v0": Task(
        kind=3,
        entry="continuous_mountain_car:Continuous_MountainCarEnv",
        obs_width=2,
        parameters=(*_CAR, "power", "min_action", "max_action"),
        first=_uniform((-0.6, 0.2)),
        step=_mountain_car_continuous,
        observe=lambda s: s[:2],
    ),
    "Pendulum-v1": Task(
        kind=4,
        entry="pendulum:PendulumEnv",
        obs_width=3,
        parameters=("max_speed", "max_torque", "dt", "g", "m", "l"),
        first=_uniform((-pi, 2 * pi), (-1.0, 2.0)),
        step=_pendulum,
        observe=lambda s: (cos(s[0]), sin(s[0]), s[1]),
    ),
}
KWARGS = ("sutton_barto_reward", "g", "goal_velocity")
"""Constructor arguments of these environments that only set a parameter."""
