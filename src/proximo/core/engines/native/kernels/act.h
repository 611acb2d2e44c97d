// Acting and valuing: forward passes only.

namespace {

template <class T> int64_t lay_out_forward(const Program &p, int64_t rows, Space<T> &space, char *memory) {
    char *at = memory;
    space.value = take<T *>(at, p.buffer_count);
    space.before = take<T *>(at, p.buffer_count);
    space.grad = space.before;
    int64_t widest = 0;
    for (int32_t b = 0; b < p.buffer_count; b++) widest = p.widths[b] > widest ? p.widths[b] : widest;
    T *before = take<T>(at, rows * widest); // written by SILU, read by nobody here
    for (int32_t b = 0; b < p.buffer_count; b++) {
        T *value = take<T>(at, rows * p.widths[b]);
        if (memory) space.value[b] = value, space.before[b] = before;
    }
    return at - memory;
}

const int64_t CHUNK = 64;

// Actions, log-probabilities for the N observations of one vector step; `memory` is laid out for CHUNK rows.
inline void act(const Program &p, const Acting &a, const float *theta, char *memory) {
    Space<float> space;
    lay_out_forward<float>(p, CHUNK, space, memory);
    const int64_t obs_width = p.widths[0], width = p.widths[p.actor_buffer];
    for (int64_t first = 0; first < a.count; first += CHUNK) {
        const int64_t count = a.count - first < CHUNK ? a.count - first : CHUNK;
        for (int64_t b = 0; b < count; b++) {
            const float *from = a.obs + (first + b) * p.obs_width;
            float *to = space.value[0] + b * obs_width;
            for (int64_t i = 0; i < p.obs_width; i++) {
                float x = from[i];
                if (a.mean) {
                    x = (x - a.mean[i]) / a.std[i];
                    x = x < -a.obs_clip ? -a.obs_clip : x > a.obs_clip ? a.obs_clip : x;
                }
                to[i] = x;
            }
        }
        forward<float>(p, theta, space, count, ACTOR);
        for (int64_t b = 0; b < count; b++) {
            float *x = space.value[p.actor_buffer] + b * width;
            const int64_t n = first + b;
            if (p.head == CATEGORICAL) {
                log_softmax(x, p.actions, width, a.mask ? a.mask + n * p.actions : 0);
                int64_t chosen = 0;
                if (a.noise) {
                    float total = 0;
                    float cdf[4096];
                    for (int64_t k = 0; k < p.actions; k++) cdf[k] = total += x[k] < -80 ? 0 : exp1(x[k]);
                    const float at = a.noise[n] * total;
                    while (chosen < p.actions - 1 && cdf[chosen] < at) chosen++;
                } else {
                    for (int64_t k = 1; k < p.actions; k++) chosen = x[k] > x[chosen] ? k : chosen;
                }
                a.choice[n] = chosen;
                a.logp[n] = x[chosen];
            } else {
                float square = 0, total = 0;
                for (int64_t k = 0; k < p.actions; k++) {
                    const float log_std = theta[p.log_std + k], z = a.noise ? a.noise[n * p.actions + k] : 0;
                    const float action = x[k] + z * exp1(log_std);
                    const float seen = (action - x[k]) * exp1(-log_std);
                    a.action[n * p.actions + k] = action;
                    if (a.bounded) {
                        const float least = action < a.low[k] ? a.low[k] : action;
                        a.bounded[n * p.actions + k] = least > a.high[k] ? a.high[k] : least;
                    }
                    square += seen * seen;
                    total += log_std;
                }
                a.logp[n] = -0.5f * square - total - (float)(p.actions * HALF_LOG_2PI);
            }
        }
    }
}

// values [S][M] of normalised observations [M][obs_width]
template <class T>
void values(const Program &p, int64_t rows, const T *obs, const T *theta, T *out, char *memory) {
    Space<T> space;
    memset(memory, 0, lay_out_forward<T>(p, CHUNK, space, 0));
    lay_out_forward<T>(p, CHUNK, space, memory);
    const int64_t obs_width = p.widths[0], width = p.widths[p.value_buffer];
    for (int64_t first = 0; first < rows; first += CHUNK) {
        const int64_t count = rows - first < CHUNK ? rows - first : CHUNK;
        for (int64_t b = 0; b < count; b++)
            memcpy(space.value[0] + b * obs_width, obs + (first + b) * p.obs_width, sizeof(T) * p.obs_width);
        forward<T>(p, theta, space, count, CRITIC);
        for (int32_t k = 0; k < p.streams; k++)
            for (int64_t b = 0; b < count; b++) out[k * rows + first + b] = space.value[p.value_buffer][b * width + k];
    }
}

// The recursion of core/returns.py over [T][N]; ρ and c null for exactly 1.
template <class T>
void advantages(int64_t steps, int64_t envs, const T *reward, const T *value, const T *next, const uint8_t *terminated,
                const uint8_t *done, const T *rho, const T *c, const uint8_t *valid, T gamma, T lambda, T *out) {
    for (int64_t t = steps - 1; t >= 0; t--)
        for (int64_t n = 0; n < envs; n++) {
            const int64_t i = t * envs + n;
            const T carry = t + 1 < steps ? out[i + envs] : 0;
            T delta = reward[i] + gamma * next[i] * !terminated[i] - value[i];
            T decay = gamma * lambda * !done[i];
            if (rho) delta = rho[i] * delta;
            if (c) decay = decay * c[i];
            if (valid && !valid[i]) delta = 0, decay = done[i] ? 0 : 1;
            out[i] = delta + decay * carry;
        }
}

// Running discounted returns of core/normalize.py, [T][N]; `running` [N] is carried on.
inline void discounted(int64_t steps, int64_t envs, const float *reward, const uint8_t *done, const uint8_t *valid,
                       double gamma, double *running, double *out) {
    for (int64_t t = 0; t < steps; t++)
        for (int64_t n = 0; n < envs; n++) {
            const int64_t i = t * envs + n;
            if (valid[i]) running[n] = running[n] * gamma + reward[i];
            out[i] = running[n];
            if (done[i]) running[n] = 0;
        }
}

} // namespace
