// The plain C interface between Python (ctypes) and the kernels: structs of numbers and pointers, no library types.
// Shapes: M rows of data, B rows of a minibatch, A actions (choices or dimensions), S streams, N environments.
// Every width is padded to PAD columns of zeros; weights are stored [in][padded out] ("transposed").
#pragma once
#include <stdint.h>

enum { PAD = 16 };

enum Activation { IDENTITY, TANH, RELU, LEAKY_RELU, ELU, SIGMOID, SILU };
enum Head { CATEGORICAL, GAUSSIAN };
enum Role { ACTOR = 1, CRITIC = 2 };

// dst = activation(src · W + b + add)
struct Op {
    int32_t src, dst, add;      // buffer numbers; add is -1 where there is no residual
    int32_t in, out;            // true widths
    int32_t activation, role;   // role: bits of Role that need this operation
    int32_t src_grad, add_grad; // 0: no gradient wanted, 1: first to write it, 2: adds to it
    int64_t weight, bias;       // offsets into theta
    int64_t natural;            // offset of [out][padded in] in the scratch copy, -1 where src_grad is 0
    double slope;               // of LEAKY_RELU below zero, alpha of ELU
};

struct Program {
    int32_t op_count, buffer_count;
    const Op *ops;
    const int32_t *widths;      // padded, per buffer; buffer 0 is the observation
    int32_t obs_width;          // true
    int32_t actor_buffer, value_buffer;
    int32_t head, actions, streams;
    int64_t log_std;            // offset into theta
    int64_t theta_size, natural_size;
};

struct Rows {                   // all rows of one update, T = float or double
    int64_t count;
    const void *obs;            // [M][obs_width], normalised
    const void *action;         // int64 [M] or T [M][A]
    const void *logp_old, *advantage;
    const void *value_old, *target; // [S][M]
    const uint8_t *mask;        // [M][A] or null
    const uint8_t *fresh;       // [M] 0 for recorded rows, or null: all are fresh
    const void *surrogate_weight; // [M] or null: 1
};

struct Plan {                   // which rows make which minibatch
    const int64_t *order;       // [epochs][rows of an epoch]
    const int64_t *size;        // [batches of an epoch] rows
    const double *scale;        // [batches of an epoch] rows over the nominal minibatch size, of the leading source
    int64_t batches, rows;      // of an epoch
};

struct Settings {
    double learning_rate, beta1, beta2, eps, weight_decay, max_grad_norm;
    double clip, value_clip, value_coef, entropy_coef; // value_clip < 0: none
    double target_kl, desired_kl;                      // < 0: none
    double low_rate, high_rate;                        // range of the adaptive rate
    double cloning_coef;                               // of minus the recorded rows' mean log-probability
    int64_t minibatch, epochs, normalize_advantage, adam_step; // minibatch: rows of the largest
    int64_t surrogate, critic_only; // with the clipped surrogate; nothing that decides actions moves
};

// Sums over minibatches, each times its rows over the nominal minibatch size.
struct Metrics {
    double policy_loss, value_loss, entropy, kl, clip_fraction, loss, grad_norm, weight;
    double epochs, stopped, learning_rate, adam_step, cloning_loss;
    double stream_loss[16];
};

struct Acting {                 // one vector step
    int64_t count;              // N
    const float *obs;           // [N][obs_width], raw
    const float *mean, *std;    // [obs_width] or null
    float obs_clip;
    const uint8_t *mask;        // [N][A] or null
    const float *noise;         // [N] uniform or [N][A] normal; null: the mode
    int64_t *choice;            // out [N]
    float *action;              // out [N][A]
    float *logp;                // out [N]
    const float *low, *high;    // [A] bounds, or null
    float *bounded;             // out [N][A]: the action clipped to them, or null
};

enum Task { CARTPOLE, ACROBOT, MOUNTAIN_CAR, MOUNTAIN_CAR_CONTINUOUS, PENDULUM };
enum { CLASSIC_STATE = 4, CLASSIC_PARAMETERS = 16, CLASSIC_OBS = 6 };

struct Classic {                // N environments of one classic-control task
    int32_t kind, num_envs;     // kind: a Task
    double *state;              // [N][CLASSIC_STATE]
    int64_t *episode;           // [N] number of the running episode, -1 before the first
    int64_t *elapsed;           // [N] steps of the running episode
    int64_t max_steps;
    uint64_t key;               // of the stream that resets draw from
    int64_t first_env;          // global index of environment 0
    double *parameters;         // [N][CLASSIC_PARAMETERS] of the running episodes
    const double *pending;      // [CLASSIC_PARAMETERS] from the next reset on
};
