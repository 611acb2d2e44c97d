// The classic-control tasks, one environment n at a time: CartPole (Barto, Sutton & Anderson 1983), Acrobot (Sutton
// 1996), MountainCar (Moore 1990) and Pendulum, with the constants and the order of operations of Gymnasium's.
// The array program in envs/classic_tasks.py computes the same numbers.
#pragma once
#include "interface.h"
#include <math.h>

namespace {

// A double whose products are rounded before anything is added to them: a fused multiply-add, which not every
// instruction set has, would give other last digits.
struct Real {
    double v;
    Real(double x) : v(x) {}
};
inline Real rounded(double x) {
#if defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#else
    asm("" : "+m"(x));
#endif
    return x;
}
inline Real operator*(Real a, Real b) { return rounded(a.v * b.v); }
inline Real operator+(Real a, Real b) { return a.v + b.v; }
inline Real operator-(Real a, Real b) { return a.v - b.v; }
inline Real operator/(Real a, Real b) { return a.v / b.v; }
inline Real operator-(Real a) { return -a.v; }
inline bool operator<(Real a, Real b) { return a.v < b.v; }
inline bool operator>(Real a, Real b) { return a.v > b.v; }
inline bool operator>=(Real a, Real b) { return a.v >= b.v; }
inline Real sine(Real a) { return ::sin(a.v); }
inline Real cosine(Real a) { return ::cos(a.v); }
inline Real square(Real a) { return a * a; }
inline Real clip(Real x, Real low, Real high) { return x < low ? low : x > high ? high : x; }

const double PI = 3.14159265358979323846;

// Rows of `parameters`, by name; the Python side lists them in this order.
struct CartPole {
    Real gravity, masspole, total_mass, length, polemass_length, force_mag, tau, semi_implicit;
    Real theta_threshold_radians, x_threshold, sutton_barto_reward;
};
struct Acrobot {
    Real dt, link_length_1, link_com_pos_1, link_com_pos_2, link_mass_1, link_mass_2, link_moi;
    Real max_vel_1, max_vel_2, nips;
};
struct MountainCar {
    Real min_position, max_position, max_speed, goal_position, goal_velocity, force, gravity;
};
struct MountainCarContinuous {
    Real min_position, max_position, max_speed, goal_position, goal_velocity, power, min_action, max_action;
};
struct Pendulum {
    Real max_speed, max_torque, dt, g, m, l;
};

template <class P> inline const P &parameters(const Classic &e, int64_t n) {
    return *(const P *)(e.parameters + n * CLASSIC_PARAMETERS);
}

inline uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// Begins the next episode: its number, its first state (drawn as core/rng.py hashes), its parameters.
inline void classic_reset(const Classic &e, int64_t n) {
    const uint64_t step = 0x9E3779B97F4A7C15u;
    e.episode[n]++;
    e.elapsed[n] = 0;
    for (int k = 0; k < CLASSIC_PARAMETERS; k++) e.parameters[n * CLASSIC_PARAMETERS + k] = e.pending[k];
    uint64_t x = mixed(e.key + (uint64_t)(e.first_env + n + 1) * step);
    x = mixed(x + (uint64_t)(e.episode[n] + 1) * step);
    Real u[CLASSIC_STATE] = {0.0, 0.0, 0.0, 0.0};
    for (int k = 0; k < CLASSIC_STATE; k++) u[k] = (double)(mixed(x + (uint64_t)(k + 1) * step) >> 11) * 0x1p-53;
    double *s = e.state + n * CLASSIC_STATE;
    switch (e.kind) {
    case CARTPOLE:
        for (int k = 0; k < 4; k++) s[k] = (Real(-0.05) + Real(0.1) * u[k]).v;
        break;
    case ACROBOT: // Gymnasium rounds the first state
        for (int k = 0; k < 4; k++) s[k] = (float)(Real(-0.1) + Real(0.2) * u[k]).v;
        break;
    case MOUNTAIN_CAR:
    case MOUNTAIN_CAR_CONTINUOUS:
        s[0] = (Real(-0.6) + Real(0.2) * u[0]).v;
        s[1] = s[2] = s[3] = 0;
        break;
    case PENDULUM:
        s[0] = (Real(-PI) + Real(2 * PI) * u[0]).v;
        s[1] = (Real(-1.0) + Real(2.0) * u[1]).v;
        s[2] = s[3] = 0;
    }
}

// Width of an observation.
inline int64_t classic_obs_width(const Classic &e) {
    return e.kind == CARTPOLE ? 4 : e.kind == ACROBOT ? 6 : e.kind == PENDULUM ? 3 : 2;
}

// Writes the observation of the state as it is.
inline void classic_observe(const Classic &e, int64_t n, float *obs) {
    const double *s = e.state + n * CLASSIC_STATE;
    switch (e.kind) {
    case CARTPOLE:
        for (int k = 0; k < 4; k++) obs[k] = (float)s[k];
        break;
    case ACROBOT:
        for (int k = 0; k < 2; k++) obs[2 * k] = (float)::cos(s[k]), obs[2 * k + 1] = (float)::sin(s[k]);
        obs[4] = (float)s[2], obs[5] = (float)s[3];
        break;
    case MOUNTAIN_CAR:
    case MOUNTAIN_CAR_CONTINUOUS:
        obs[0] = (float)s[0], obs[1] = (float)s[1];
        break;
    case PENDULUM:
        obs[0] = (float)::cos(s[0]), obs[1] = (float)::sin(s[0]), obs[2] = (float)s[1];
    }
}

inline void cartpole_step(const CartPole &p, double *s, int64_t choice, float *reward, bool *terminated) {
    Real x = s[0], x_dot = s[1], theta = s[2], theta_dot = s[3];
    const Real force = choice == 1 ? p.force_mag : -p.force_mag;
    const Real costheta = cosine(theta), sintheta = sine(theta);
    const Real temp = (force + p.polemass_length * square(theta_dot) * sintheta) / p.total_mass;
    const Real thetaacc = (p.gravity * sintheta - costheta * temp) /
                          (p.length * (4.0 / 3.0 - p.masspole * square(costheta) / p.total_mass));
    const Real xacc = temp - p.polemass_length * thetaacc * costheta / p.total_mass;
    const bool late = p.semi_implicit > 0.0;
    const Real new_x_dot = x_dot + p.tau * xacc, new_theta_dot = theta_dot + p.tau * thetaacc;
    x = x + p.tau * (late ? new_x_dot : x_dot);
    theta = theta + p.tau * (late ? new_theta_dot : theta_dot);
    s[0] = x.v, s[1] = new_x_dot.v, s[2] = theta.v, s[3] = new_theta_dot.v;
    *terminated = x < -p.x_threshold || x > p.x_threshold || theta < -p.theta_threshold_radians ||
                  theta > p.theta_threshold_radians;
    *reward = p.sutton_barto_reward > 0.0 ? (*terminated ? -1.0f : 0.0f) : 1.0f;
}

// Time derivatives of the angles' and their velocities y under a torque.
inline void acrobot_slope(const Acrobot &p, const Real *y, Real torque, Real *slope) {
    const Real m1 = p.link_mass_1, m2 = p.link_mass_2, l1 = p.link_length_1, moi = p.link_moi, g = 9.8;
    const Real lc1 = p.link_com_pos_1, lc2 = p.link_com_pos_2, cos2 = cosine(y[1]), sin2 = sine(y[1]);
    const Real d1 = m1 * square(lc1) + m2 * (square(l1) + square(lc2) + Real(2.0) * l1 * lc2 * cos2) + moi + moi;
    const Real d2 = m2 * (square(lc2) + l1 * lc2 * cos2) + moi;
    const Real phi2 = m2 * lc2 * g * cosine(y[0] + y[1] - PI / 2);
    const Real phi1 = -m2 * l1 * lc2 * square(y[3]) * sin2 - Real(2.0) * m2 * l1 * lc2 * y[3] * y[2] * sin2 +
                      (m1 * lc1 + m2 * l1) * g * cosine(y[0] - PI / 2) + phi2;
    Real turn = torque + d2 / d1 * phi1;
    if (!(p.nips > 0.0)) turn = turn - m2 * l1 * lc2 * square(y[2]) * sin2;
    const Real second = (turn - phi2) / (m2 * square(lc2) + moi - square(d2) / d1);
    slope[0] = y[2], slope[1] = y[3], slope[2] = -(d2 * second + phi1) / d1, slope[3] = second;
}

// Into [-π, π]; a number so large that turning back would take for ever has no meaning any more.
inline double wrapped(double x) {
    if (!(fabs(x) < 1e4)) return NAN;
    while (x > PI) x -= 2 * PI;
    while (x < -PI) x += 2 * PI;
    return x;
}

inline void acrobot_step(const Acrobot &p, double *s, int64_t choice, float *reward, bool *terminated) {
    const Real torque = (double)(choice - 1), half = p.dt / 2.0;
    Real y[4] = {s[0], s[1], s[2], s[3]}, at[4] = {s[0], s[1], s[2], s[3]};
    Real k1[4] = {0.0, 0.0, 0.0, 0.0}, k2[4] = {0.0, 0.0, 0.0, 0.0}, k3[4] = {0.0, 0.0, 0.0, 0.0};
    Real k4[4] = {0.0, 0.0, 0.0, 0.0};
    acrobot_slope(p, y, torque, k1);
    for (int k = 0; k < 4; k++) at[k] = y[k] + half * k1[k];
    acrobot_slope(p, at, torque, k2);
    for (int k = 0; k < 4; k++) at[k] = y[k] + half * k2[k];
    acrobot_slope(p, at, torque, k3);
    for (int k = 0; k < 4; k++) at[k] = y[k] + p.dt * k3[k];
    acrobot_slope(p, at, torque, k4);
    for (int k = 0; k < 4; k++)
        y[k] = y[k] + p.dt / 6.0 * (k1[k] + Real(2.0) * k2[k] + Real(2.0) * k3[k] + k4[k]);
    s[0] = wrapped(y[0].v), s[1] = wrapped(y[1].v);
    s[2] = clip(y[2], -p.max_vel_1, p.max_vel_1).v, s[3] = clip(y[3], -p.max_vel_2, p.max_vel_2).v;
    *terminated = -::cos(s[0]) - ::cos(s[1] + s[0]) > 1.0;
    *reward = *terminated ? 0.0f : -1.0f;
}

inline void mountain_car_step(const MountainCar &p, double *s, int64_t choice, float *reward, bool *terminated) {
    Real position = s[0], velocity = s[1];
    const Real pull = cosine(Real(3.0) * position) * -p.gravity;
    velocity = clip(velocity + (Real((double)(choice - 1)) * p.force + pull), -p.max_speed, p.max_speed);
    position = clip(position + velocity, p.min_position, p.max_position);
    if (position.v == p.min_position.v && velocity < 0.0) velocity = 0.0;
    s[0] = position.v, s[1] = velocity.v;
    *terminated = position >= p.goal_position && velocity >= p.goal_velocity;
    *reward = -1.0f;
}

inline void mountain_car_continuous_step(const MountainCarContinuous &p, double *s, float action, float *reward,
                                         bool *terminated) {
    Real position = s[0], velocity = s[1];
    const Real force = clip((double)action, p.min_action, p.max_action);
    velocity = velocity + (force * p.power - Real(0.0025) * cosine(Real(3.0) * position));
    velocity = clip(velocity, -p.max_speed, p.max_speed);
    position = clip(position + velocity, p.min_position, p.max_position);
    if (position.v == p.min_position.v && velocity < 0.0) velocity = 0.0;
    // Gymnasium keeps this task's state in single precision.
    s[0] = (float)position.v, s[1] = (float)velocity.v;
    *terminated = position >= p.goal_position && velocity >= p.goal_velocity;
    *reward = (float)(Real(*terminated ? 100.0 : 0.0) - square((double)action) * 0.1).v;
}

inline void pendulum_step(const Pendulum &p, double *s, float action, float *reward, bool *terminated) {
    const Real theta = s[0], speed = s[1];
    const float most = (float)p.max_torque.v, u = action < -most ? -most : action > most ? most : action;
    double angle = fmod(theta.v + PI, 2 * PI);
    if (angle < 0) angle += 2 * PI;
    // The torque's own terms are products in single precision, as NumPy 2 computes them.
    const float effort = 0.001f * (u * u), push = (float)(Real(3.0) / (p.m * square(p.l))).v * u;
    const Real cost = square(angle - PI) + Real(0.1) * square(speed) + (double)effort;
    const Real turned = speed + (Real(3.0) * p.g / (Real(2.0) * p.l) * sine(theta) + (double)push) * p.dt;
    const Real new_speed = clip(turned, -p.max_speed, p.max_speed);
    s[0] = (theta + new_speed * p.dt).v, s[1] = new_speed.v;
    *terminated = false;
    *reward = (float)-cost.v;
}

// One step; does not reset. `choice` is for the tasks with discrete actions, `action` (one number) for the others.
inline void classic_step(const Classic &e, int64_t n, int64_t choice, const float *action, float *reward,
                         bool *terminated, bool *truncated) {
    double *s = e.state + n * CLASSIC_STATE;
    switch (e.kind) {
    case CARTPOLE: cartpole_step(parameters<CartPole>(e, n), s, choice, reward, terminated); break;
    case ACROBOT: acrobot_step(parameters<Acrobot>(e, n), s, choice, reward, terminated); break;
    case MOUNTAIN_CAR: mountain_car_step(parameters<MountainCar>(e, n), s, choice, reward, terminated); break;
    case MOUNTAIN_CAR_CONTINUOUS:
        mountain_car_continuous_step(parameters<MountainCarContinuous>(e, n), s, *action, reward, terminated);
        break;
    case PENDULUM: pendulum_step(parameters<Pendulum>(e, n), s, *action, reward, terminated);
    }
    *truncated = ++e.elapsed[n] >= e.max_steps;
}
inline void classic_step(const Classic &e, int64_t n, int64_t choice, float *reward, bool *terminated, bool *truncated) {
    classic_step(e, n, choice, 0, reward, terminated, truncated);
}
inline void classic_step(const Classic &e, int64_t n, const float *action, float *reward, bool *terminated,
                         bool *truncated) {
    classic_step(e, n, 0, action, reward, terminated, truncated);
}

} // namespace
