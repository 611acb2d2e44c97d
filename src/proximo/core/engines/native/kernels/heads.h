// The memory of an update, and what the heads say of a minibatch: log-probabilities, entropies and their gradients.

namespace {

template <class T> T *take(char *&at, int64_t count) {
    T *p = (T *)at;
    at += (count * sizeof(T) + 63) / 64 * 64;
    return p;
}

template <class T> struct Workspace {
    Space<T> space;
    T *natural, *grad, *advantage, *logp_old, *d_logp, *d_entropy, *logp, *entropy;
    uint8_t *fresh;
};

// Lays a workspace out in `memory`; with memory null only the size is meant.
template <class T> int64_t lay_out(const Program &p, int64_t rows, Workspace<T> &w, char *memory) {
    char *at = memory;
    w.space.value = take<T *>(at, p.buffer_count);
    w.space.grad = take<T *>(at, p.buffer_count);
    w.space.before = take<T *>(at, p.buffer_count);
    for (int32_t b = 0; b < p.buffer_count; b++) {
        bool silu = false;
        for (int32_t k = 0; k < p.op_count; k++) silu |= p.ops[k].dst == b && p.ops[k].activation == SILU;
        T *value = take<T>(at, rows * p.widths[b]), *grad = take<T>(at, rows * p.widths[b]);
        T *before = take<T>(at, silu ? rows * p.widths[b] : 0);
        if (memory) w.space.value[b] = value, w.space.grad[b] = grad, w.space.before[b] = before;
    }
    w.natural = take<T>(at, p.natural_size);
    w.grad = take<T>(at, p.theta_size);
    w.advantage = take<T>(at, rows);
    w.logp_old = take<T>(at, rows);
    w.d_logp = take<T>(at, rows);
    w.d_entropy = take<T>(at, rows);
    w.logp = take<T>(at, rows);
    w.entropy = take<T>(at, rows);
    w.fresh = take<uint8_t>(at, rows);
    return at - memory;
}

const double HALF_LOG_2PI = 0.91893853320467274178;

template <class T> T log_(T x) { return (T)log((double)x); }

// log-probabilities of all choices in place of the logits; forbidden ones and padding get probability 0; the entropy
template <class T> T log_softmax(T *x, int64_t count, int64_t width, const uint8_t *mask) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    for (int64_t a = 0; a < count; a++)
        if (mask && !mask[a]) x[a] = (T)-1e8;
    T top = x[0];
    for (int64_t a = 1; a < count; a++) top = x[a] > top ? x[a] : top;
    V total = {}, moment = {};
    for (int64_t a = 0; a < width; a += W) {
        V shifted = load(x + a) - top;
        if (a + W > count) shifted = lanes<T>() < (T)(count - a) ? shifted : splat((T)-2e8);
        V e = shifted < (T)-80 ? (V){} : exp_(shifted);
        total += e;
        moment += shifted < (T)-80 ? (V){} : e * shifted;
        store(x + a, shifted);
    }
    const T all = sum<T>(total), shift = log_(all);
    for (int64_t a = 0; a < width; a += W) store(x + a, load(x + a) - shift);
    return shift - sum<T>(moment) / all;
}

template <class T>
void categorical(const Program &p, const Rows &data, const int64_t *rows, int64_t count, Workspace<T> &w) {
    const int64_t width = p.widths[p.actor_buffer];
    T *logits = w.space.value[p.actor_buffer];
    const int64_t *action = (const int64_t *)data.action;
    for (int64_t b = 0; b < count; b++) {
        T *x = logits + b * width;
        w.entropy[b] = log_softmax(x, p.actions, width, data.mask ? data.mask + rows[b] * p.actions : 0);
        w.logp[b] = x[action[rows[b]]];
    }
}

template <class T>
void categorical_grad(const Program &p, const Rows &data, const int64_t *rows, int64_t count, Workspace<T> &w) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    const int64_t width = p.widths[p.actor_buffer];
    const T *logp = w.space.value[p.actor_buffer];
    T *grad = w.space.grad[p.actor_buffer];
    const int64_t *action = (const int64_t *)data.action;
    for (int64_t b = 0; b < count; b++) {
        for (int64_t a = 0; a < width; a += W) {
            V l = load(logp + b * width + a);
            V q = l < (T)-80 ? (V){} : exp_(l);
            // d logp(chosen) / d logit = [chosen] - q;   d entropy / d logit = -q (logp + entropy)
            store(grad + b * width + a, -w.d_logp[b] * q - w.d_entropy[b] * q * (l + w.entropy[b]));
        }
        grad[b * width + action[rows[b]]] += w.d_logp[b];
    }
}

template <class T>
void gaussian(const Program &p, const T *theta, const Rows &data, const int64_t *rows, int64_t count, Workspace<T> &w) {
    const int64_t width = p.widths[p.actor_buffer];
    const T *mean = w.space.value[p.actor_buffer], *action = (const T *)data.action;
    T total = 0, inverse[1024];
    for (int64_t a = 0; a < p.actions; a++) {
        total += theta[p.log_std + a];
        inverse[a] = exp1(-theta[p.log_std + a]);
    }
    const T constant = total + (T)(p.actions * HALF_LOG_2PI);
    for (int64_t b = 0; b < count; b++) {
        const T *x = action + rows[b] * p.actions;
        T square = 0;
        for (int64_t a = 0; a < p.actions; a++) {
            T z = (x[a] - mean[b * width + a]) * inverse[a];
            square += z * z;
        }
        w.logp[b] = (T)-0.5 * square - constant;
        w.entropy[b] = total + (T)(p.actions * (HALF_LOG_2PI + 0.5));
    }
}

template <class T>
void gaussian_grad(const Program &p, const T *theta, const Rows &data, const int64_t *rows, int64_t count,
                   Workspace<T> &w) {
    const int64_t width = p.widths[p.actor_buffer];
    const T *mean = w.space.value[p.actor_buffer], *action = (const T *)data.action;
    T *grad = w.space.grad[p.actor_buffer], *d_log_std = w.grad + p.log_std;
    T inverse[1024];
    for (int64_t a = 0; a < p.actions; a++) inverse[a] = exp1(-theta[p.log_std + a]), d_log_std[a] = 0;
    for (int64_t b = 0; b < count; b++) {
        const T *x = action + rows[b] * p.actions;
        for (int64_t a = 0; a < p.actions; a++) {
            T z = (x[a] - mean[b * width + a]) * inverse[a];
            grad[b * width + a] = w.d_logp[b] * z * inverse[a];
            d_log_std[a] += w.d_logp[b] * (z * z - 1) + w.d_entropy[b];
        }
        for (int64_t a = p.actions; a < width; a++) grad[b * width + a] = 0;
    }
}

} // namespace
