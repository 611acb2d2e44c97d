// Forward and backward passes of a program of linear operations.

namespace {

inline int64_t padded(int64_t n) { return (n + PAD - 1) / PAD * PAD; }

template <class T> struct Space { // scratch memory of one minibatch
    T **value, **grad, **before;  // per buffer: [B][width]; before: what SILU was applied to
};

template <class T> void activate(const Op &op, T *x, T *before, int64_t count) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    const T slope = (T)op.slope;
    for (int64_t i = 0; i < count; i += W) {
        V z = load(x + i), y = z;
        switch (op.activation) {
        case TANH: y = tanh_(z); break;
        case RELU: y = z < (T)0 ? (V){} : z; break; // NaN stays NaN, so that the losses show it
        case LEAKY_RELU: y = z > (T)0 ? z : z * slope; break;
        case ELU: y = z > (T)0 ? z : (exp_(z) - (T)1) * slope; break;
        case SIGMOID: y = (T)1 / ((T)1 + exp_(-z)); break;
        case SILU: store(before + i, z); y = z / ((T)1 + exp_(-z)); break;
        }
        store(x + i, y);
    }
}

// grad *= d activation, from the activation's value (SILU: from what it was applied to)
template <class T> void differentiate(const Op &op, const T *y, const T *before, T *grad, int64_t count) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    const T slope = (T)op.slope;
    for (int64_t i = 0; i < count; i += W) {
        V a = load(y + i), g = load(grad + i), d = splat((T)1);
        switch (op.activation) {
        case TANH: d = (T)1 - a * a; break;
        case RELU: d = a > (T)0 ? splat((T)1) : (V){}; break;
        case LEAKY_RELU: d = a > (T)0 ? splat((T)1) : splat(slope); break;
        case ELU: d = a > (T)0 ? splat((T)1) : a + slope; break;
        case SIGMOID: d = a * ((T)1 - a); break;
        case SILU: {
            V z = load(before + i), s = (T)1 / ((T)1 + exp_(-z));
            d = s * ((T)1 + z * ((T)1 - s));
            break;
        }
        }
        store(grad + i, g * d);
    }
}

template <class T>
void forward(const Program &p, const T *theta, Space<T> &space, int64_t rows, int roles) {
    for (int32_t k = 0; k < p.op_count; k++) {
        const Op &op = p.ops[k];
        if (!(op.role & roles)) continue;
        const int64_t in = p.widths[op.src], out = p.widths[op.dst];
        T *dst = space.value[op.dst];
        if (op.add >= 0) memcpy(dst, space.value[op.add], sizeof(T) * rows * out);
        gemm<T>(rows, out, op.in, space.value[op.src], in, 1, theta + op.weight, out, dst, out, theta + op.bias,
                op.add >= 0);
        if (op.activation != IDENTITY) activate(op, dst, space.before[op.dst], rows * out);
    }
}

template <class T> void add_into(T *to, const T *from, int64_t count, bool first) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    for (int64_t i = 0; i < count; i += W) {
        V x = load(from + i);
        store(to + i, first ? x : load(to + i) + x);
    }
}

template <class T>
void backward(const Program &p, const T *natural, T *grad_theta, Space<T> &space, int64_t rows) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    for (int32_t k = p.op_count - 1; k >= 0; k--) {
        const Op &op = p.ops[k];
        const int64_t in = p.widths[op.src], out = p.widths[op.dst];
        T *grad = space.grad[op.dst];
        if (op.activation != IDENTITY)
            differentiate(op, space.value[op.dst], space.before[op.dst], grad, rows * out);
        for (int64_t n = 0; n < out; n += W) {
            V total = {};
            for (int64_t b = 0; b < rows; b++) total += load(grad + b * out + n);
            store(grad_theta + op.bias + n, total);
        }
        gemm<T>(op.in, out, rows, space.value[op.src], 1, in, grad, out, grad_theta + op.weight, out, (T *)0, false);
        if (op.add_grad) add_into(space.grad[op.add], grad, rows * out, op.add_grad == 1);
        if (op.src_grad)
            gemm<T>(rows, in, op.out, grad, out, 1, natural + op.natural, in, space.grad[op.src], in, (T *)0,
                    op.src_grad == 2);
    }
}

// natural[out][in] from theta's [in][out], for the operations whose input wants a gradient
template <class T> void transpose(const Program &p, const T *theta, T *natural) {
    enum { BLOCK = 8 };
    for (int32_t k = 0; k < p.op_count; k++) {
        const Op &op = p.ops[k];
        if (!op.src_grad) continue;
        const int64_t in = p.widths[op.src], out = p.widths[op.dst];
        const T *from = theta + op.weight;
        T *to = natural + op.natural;
        for (int64_t o = 0; o < op.out; o += BLOCK)
            for (int64_t i = 0; i < op.in; i++)
                for (int64_t j = o; j < o + BLOCK && j < op.out; j++) to[j * in + i] = from[i * out + j];
    }
}

} // namespace
