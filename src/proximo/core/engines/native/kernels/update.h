// One update: all epochs and minibatches of clipped surrogate, value and entropy losses, Adam and its stops.

namespace {

// Of recorded rows beside fresh ones: the fresh are centred by their mean, all are scaled by their deviation, clamped.
template <class T> void standardize_mixed(T *x, const uint8_t *fresh, int64_t count) {
    int64_t inside = 0;
    for (int64_t b = 0; b < count; b++) inside += fresh[b];
    const bool some = inside > 1;
    double mean = 0, square = 0;
    const double n = some ? inside : count;
    for (int64_t b = 0; b < count; b++) mean += some && !fresh[b] ? 0 : x[b];
    mean /= n;
    for (int64_t b = 0; b < count; b++) square += some && !fresh[b] ? 0 : (x[b] - mean) * (x[b] - mean);
    const double deviation = sqrt(square / (n - 1)) + 1e-8;
    for (int64_t b = 0; b < count; b++) {
        const double scaled = (x[b] - (some && fresh[b] ? mean : 0)) / deviation;
        x[b] = (T)(scaled > 5 ? 5 : scaled < -5 ? -5 : scaled);
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
    double policy = 0, entropy = 0, kl = 0, clipped_rows = 0, value = 0, recorded = 0, cloned = 0;
    for (int64_t b = 0; b < count; b++) recorded += !w.fresh[b];
    // Without any fresh row, the recorded ones tell how far the policy has moved.
    const bool alone = recorded == count;
    const double told = alone ? count : count - recorded;
    const T inverse = (T)(scale / count), cloning = recorded ? (T)(scale * s.cloning_coef / recorded) : 0;
    for (int64_t b = 0; b < count; b++) {
        entropy += w.entropy[b];
        w.d_entropy[b] = (T)-s.entropy_coef * inverse;
        w.d_logp[b] = 0;
        if (!w.fresh[b]) {
            cloned -= w.logp[b];
            w.d_logp[b] = -cloning;
        }
        if (!s.surrogate) continue;
        T log_ratio = w.logp[b] - w.logp_old[b], ratio = exp1(log_ratio), advantage = w.advantage[b];
        T clipped = ratio < (T)(1 - s.clip) ? (T)(1 - s.clip) : ratio > (T)(1 + s.clip) ? (T)(1 + s.clip) : ratio;
        T plain = ratio * advantage, held = clipped * advantage;
        bool inside = clipped == ratio;
        // Where both are equal autograd sends half the gradient each way; inside the range both are the ratio's.
        T flow = plain < held || inside ? ratio * advantage : 0;
        policy -= plain < held ? plain : held;
        w.d_logp[b] -= flow * inverse;
        if (!w.fresh[b] && !alone) continue;
        kl += ratio - 1 - log_ratio;
        clipped_rows += (ratio > 1 ? ratio - 1 : 1 - ratio) > (T)s.clip;
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
    out[0] = policy / count, out[1] = value, out[2] = entropy / count, out[3] = kl / told;
    out[4] = clipped_rows / told;
    out[6] = recorded ? cloned / recorded : 0;
    out[5] = out[0] + s.value_coef * value - s.entropy_coef * out[2] + s.cloning_coef * out[6];
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
    const T *weight = (const T *)data.surrogate_weight;
    T *x = w.space.value[0];
    bool mixed = false;
    for (int64_t b = 0; b < count; b++) {
        memcpy(x + b * width, obs + rows[b] * p.obs_width, sizeof(T) * p.obs_width);
        w.advantage[b] = advantage[rows[b]];
        w.logp_old[b] = logp[rows[b]];
        w.fresh[b] = data.fresh ? data.fresh[rows[b]] : 1;
        mixed |= !w.fresh[b];
    }
    if (standard && count > 1 && mixed) standardize_mixed(w.advantage, w.fresh, count);
    else if (standard && count > 1) standardize(w.advantage, count);
    if (!weight) return;
    for (int64_t b = 0; b < count; b++) w.advantage[b] *= weight[rows[b]];
}

// No gradient for what decides actions: layers of the actor (shared ones too) and the deviation.
template <class T> void spare_actor(const Program &p, T *grad) {
    for (int32_t k = 0; k < p.op_count; k++) {
        const Op &op = p.ops[k];
        if (!(op.role & ACTOR)) continue;
        const int64_t row = p.widths[op.dst];
        memset(grad + op.weight, 0, sizeof(T) * op.in * row);
        memset(grad + op.bias, 0, sizeof(T) * row);
    }
    if (p.head == GAUSSIAN) memset(grad + p.log_std, 0, sizeof(T) * p.actions);
}

// `theta`, `first`, `second` move in place; `gradient` (may be null) receives the last gradient.
template <class T>
void learn(const Program &p, const Rows &data, const Settings &s, const Plan &plan, T *theta, T *first, T *second,
           char *memory, Metrics &m, T *gradient) {
    Workspace<T> w;
    memset(memory, 0, lay_out<T>(p, s.minibatch, w, 0));
    lay_out<T>(p, s.minibatch, w, memory);
    double rate = s.learning_rate;
    int64_t step = s.adam_step;
    memset(&m, 0, sizeof m);
    for (int64_t epoch = 0; epoch < s.epochs && !m.stopped; epoch++) {
        const int64_t *rows = plan.order + epoch * plan.rows;
        for (int64_t batch = 0; batch < plan.batches; rows += plan.size[batch++]) {
            const int64_t count = plan.size[batch];
            const double scale = plan.scale[batch];
            gather<T>(p, data, rows, count, s.normalize_advantage, w);
            forward<T>(p, theta, w.space, count, ACTOR | CRITIC);
            if (p.head == CATEGORICAL) categorical<T>(p, data, rows, count, w);
            else gaussian<T>(p, theta, data, rows, count, w);
            double out[7], stream_loss[16];
            losses<T>(p, data, s, rows, count, scale, w, out, stream_loss);
            if (s.target_kl >= 0 && out[3] > 1.5 * s.target_kl) {
                m.stopped = 1;
                break;
            }
            if (p.head == CATEGORICAL) categorical_grad<T>(p, data, rows, count, w);
            else gaussian_grad<T>(p, theta, data, rows, count, w);
            transpose<T>(p, theta, w.natural);
            backward<T>(p, w.natural, w.grad, w.space, count);
            if (s.critic_only) spare_actor<T>(p, w.grad);
            if (gradient) memcpy(gradient, w.grad, sizeof(T) * p.theta_size);
            const double size = norm<T>(w.grad, p.theta_size);
            const double clip = s.max_grad_norm / (size + 1e-6);
            step++;
            adam<T>(s, rate, step, clip > 1 ? 1 : clip, theta, first, second, w.grad, p.theta_size);
            double *sums[] = {&m.policy_loss,   &m.value_loss, &m.entropy,     &m.kl,
                              &m.clip_fraction, &m.loss,       &m.cloning_loss};
            for (int i = 0; i < 7; i++) *sums[i] += scale * out[i];
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
