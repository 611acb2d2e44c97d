// One update: all epochs and minibatches of clipped surrogate, value and entropy losses, Adam and its stops.

namespace {

template <class T> T *take(char *&at, int64_t count) {
    T *p = (T *)at;
    at += (count * sizeof(T) + 63) / 64 * 64;
    return p;
}

template <class T> struct Workspace {
    Space<T> space;
    T *natural, *grad, *advantage, *logp_old, *d_logp, *d_entropy, *logp, *entropy;
    int64_t *rows;
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

template <class T> void standardize(T *x, int64_t count) {
    double mean = 0, square = 0;
    for (int64_t b = 0; b < count; b++) mean += x[b];
    mean /= count;
    for (int64_t b = 0; b < count; b++) square += (x[b] - mean) * (x[b] - mean);
    const double deviation = sqrt(square / (count - 1)) + 1e-8;
    for (int64_t b = 0; b < count; b++) x[b] = (T)((x[b] - mean) / deviation);
}

// The losses of a minibatch and their gradients at the heads.
template <class T>
void losses(const Program &p, const Rows &data, const Settings &s, const int64_t *rows, int64_t count, double scale,
            Workspace<T> &w, double *out, double *stream_loss) {
    double policy = 0, entropy = 0, kl = 0, clipped_rows = 0, value = 0;
    const T inverse = (T)(scale / count);
    for (int64_t b = 0; b < count; b++) {
        T log_ratio = w.logp[b] - w.logp_old[b], ratio = exp1(log_ratio), advantage = w.advantage[b];
        T clipped = ratio < (T)(1 - s.clip) ? (T)(1 - s.clip) : ratio > (T)(1 + s.clip) ? (T)(1 + s.clip) : ratio;
        T plain = ratio * advantage, held = clipped * advantage;
        bool inside = clipped == ratio;
        // Where both are equal autograd sends half the gradient each way; inside the range both are the ratio's.
        T flow = plain < held || inside ? ratio * advantage : 0;
        policy -= plain < held ? plain : held;
        w.d_logp[b] = -flow * inverse;
        w.d_entropy[b] = (T)-s.entropy_coef * inverse;
        kl += ratio - 1 - log_ratio;
        clipped_rows += (ratio > 1 ? ratio - 1 : 1 - ratio) > (T)s.clip;
        entropy += w.entropy[b];
    }
    const int64_t width = p.widths[p.value_buffer];
    T *v = w.space.value[p.value_buffer], *g = w.space.grad[p.value_buffer];
    memset(g, 0, sizeof(T) * count * width);
    for (int32_t k = 0; k < p.streams; k++) {
        const T *target = (const T *)data.target + k * data.count, *old = (const T *)data.value_old + k * data.count;
        double total = 0;
        for (int64_t b = 0; b < count; b++) {
            T error = v[b * width + k] - target[rows[b]], d = 2 * error, square = error * error;
            if (s.value_clip >= 0) {
                T moved = v[b * width + k] - old[rows[b]], limit = (T)s.value_clip;
                T held = moved < -limit ? -limit : moved > limit ? limit : moved;
                T other = old[rows[b]] + held - target[rows[b]], other_square = other * other;
                if (other_square > square) square = other_square, d = held == moved ? 2 * other : 0;
            }
            total += square;
            g[b * width + k] = d * (T)s.value_coef * inverse;
        }
        stream_loss[k] = total / count;
        value += total / count;
    }
    out[0] = policy / count, out[1] = value, out[2] = entropy / count, out[3] = kl / count;
    out[4] = clipped_rows / count;
    out[5] = out[0] + s.value_coef * value - s.entropy_coef * out[2];
}

template <class T> double norm(const T *x, int64_t count) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    V total = {};
    for (int64_t i = 0; i < count; i += W) {
        V y = load(x + i);
        total += y * y;
    }
    return sqrt((double)sum<T>(total));
}

template <class T> inline typename Vec<T>::v sqrt_(typename Vec<T>::v x) {
    enum { W = Vec<T>::LANES };
    T each[W];
    memcpy(each, &x, sizeof x);
    for (int i = 0; i < W; i++) each[i] = sizeof(T) == 4 ? (T)__builtin_sqrtf((float)each[i]) : (T)__builtin_sqrt(each[i]);
    memcpy(&x, each, sizeof x);
    return x;
}

template <class T>
void adam(const Settings &s, double rate, int64_t step, double scale, T *theta, T *first, T *second, const T *grad,
          int64_t count) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    const T n1 = (T)(1 - s.beta1), n2 = (T)(1 - s.beta2), b2 = (T)s.beta2, eps = (T)s.eps, factor = (T)scale;
    const T keep = (T)(1 - rate * s.weight_decay), size = (T)(rate / (1 - pow(s.beta1, step)));
    const T root = (T)(1 / sqrt(1 - pow(s.beta2, step)));
    for (int64_t i = 0; i < count; i += W) {
        V g = load(grad + i) * factor, m = load(first + i), v = load(second + i);
        m += (g - m) * n1;
        v = v * b2 + g * g * n2;
        store(first + i, m);
        store(second + i, v);
        store(theta + i, load(theta + i) * keep - size * (m / (sqrt_<T>(v) * root + eps)));
    }
}

template <class T>
void gather(const Program &p, const Rows &data, const int64_t *rows, int64_t count, bool standard, Workspace<T> &w) {
    const int64_t width = p.widths[0];
    const T *obs = (const T *)data.obs, *advantage = (const T *)data.advantage, *logp = (const T *)data.logp_old;
    T *x = w.space.value[0];
    for (int64_t b = 0; b < count; b++) {
        memcpy(x + b * width, obs + rows[b] * p.obs_width, sizeof(T) * p.obs_width);
        w.advantage[b] = advantage[rows[b]];
        w.logp_old[b] = logp[rows[b]];
    }
    if (standard && count > 1) standardize(w.advantage, count);
}

// `order` [epochs][M]; `theta`, `first`, `second` move in place; `gradient` (may be null) receives the last gradient.
template <class T>
void learn(const Program &p, const Rows &data, const Settings &s, const int64_t *order, T *theta, T *first, T *second,
           char *memory, Metrics &m, T *gradient) {
    Workspace<T> w;
    memset(memory, 0, lay_out<T>(p, s.minibatch, w, 0));
    lay_out<T>(p, s.minibatch, w, memory);
    double rate = s.learning_rate;
    int64_t step = s.adam_step;
    memset(&m, 0, sizeof m);
    const int64_t nominal = s.minibatch < data.count ? s.minibatch : data.count;
    for (int64_t epoch = 0; epoch < s.epochs && !m.stopped; epoch++) {
        for (int64_t at = 0; at < data.count; at += nominal) {
            const int64_t *rows = order + epoch * data.count + at;
            const int64_t count = data.count - at < nominal ? data.count - at : nominal;
            const double scale = (double)count / nominal;
            gather<T>(p, data, rows, count, s.normalize_advantage, w);
            forward<T>(p, theta, w.space, count, ACTOR | CRITIC);
            if (p.head == CATEGORICAL) categorical<T>(p, data, rows, count, w);
            else gaussian<T>(p, theta, data, rows, count, w);
            double out[6], stream_loss[16];
            losses<T>(p, data, s, rows, count, scale, w, out, stream_loss);
            if (s.target_kl >= 0 && out[3] > 1.5 * s.target_kl) {
                m.stopped = 1;
                break;
            }
            if (p.head == CATEGORICAL) categorical_grad<T>(p, data, rows, count, w);
            else gaussian_grad<T>(p, theta, data, rows, count, w);
            transpose<T>(p, theta, w.natural);
            backward<T>(p, w.natural, w.grad, w.space, count);
            if (gradient) memcpy(gradient, w.grad, sizeof(T) * p.theta_size);
            const double size = norm<T>(w.grad, p.theta_size);
            const double clip = s.max_grad_norm / (size + 1e-6);
            step++;
            adam<T>(s, rate, step, clip > 1 ? 1 : clip, theta, first, second, w.grad, p.theta_size);
            double *sums[] = {&m.policy_loss, &m.value_loss, &m.entropy, &m.kl, &m.clip_fraction, &m.loss};
            for (int i = 0; i < 6; i++) *sums[i] += scale * out[i];
            for (int32_t k = 0; k < p.streams; k++) m.stream_loss[k] += scale * stream_loss[k];
            m.grad_norm += scale * size;
            m.weight += scale;
            if (s.desired_kl >= 0) {
                if (out[3] > 2 * s.desired_kl) rate = rate / 1.5 > s.low_rate ? rate / 1.5 : s.low_rate;
                else if (out[3] > 0 && out[3] < 0.5 * s.desired_kl)
                    rate = rate * 1.5 < s.high_rate ? rate * 1.5 : s.high_rate;
            }
        }
        if (!m.stopped) m.epochs++;
    }
    m.learning_rate = rate;
    m.adam_step = (double)step;
}

} // namespace
