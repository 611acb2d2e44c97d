// Vectors of the instruction set this file is compiled for, and elementary functions on them.
// Included once per instruction set, inside a namespace; uses no library templates, whose code could be shared
// between instruction sets by the linker.
#include <math.h>
#include <stdint.h>
#include <string.h>

namespace {

template <class T> struct Vec;
template <> struct Vec<float> {
    typedef float v __attribute__((vector_size(VECTOR_BYTES)));
    typedef int32_t i __attribute__((vector_size(VECTOR_BYTES)));
    enum { LANES = VECTOR_BYTES / 4 };
};
template <> struct Vec<double> {
    typedef double v __attribute__((vector_size(VECTOR_BYTES)));
    typedef int64_t i __attribute__((vector_size(VECTOR_BYTES)));
    enum { LANES = VECTOR_BYTES / 8 };
};

template <class T> inline typename Vec<T>::v load(const T *p) {
    typename Vec<T>::v x;
    memcpy(&x, p, sizeof x);
    return x;
}
template <class T> inline void store(T *p, typename Vec<T>::v x) { memcpy(p, &x, sizeof x); }
template <class T> inline typename Vec<T>::v splat(T x) { return x - (typename Vec<T>::v){}; }

template <class T> inline typename Vec<T>::v lanes() { // 0, 1, 2, …
    typename Vec<T>::v x;
    for (int i = 0; i < Vec<T>::LANES; i++) x[i] = (T)i;
    return x;
}

template <class T> inline T sum(typename Vec<T>::v x) { // by halves: a chain of additions would wait for each
    T each[Vec<T>::LANES];
    memcpy(each, &x, sizeof x);
    for (int half = Vec<T>::LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) each[i] += each[i + half];
    return each[0];
}

// e^x. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series to the precision of T.
inline Vec<float>::v exp_(Vec<float>::v x) {
    typedef Vec<float>::v V;
    typedef Vec<float>::i I;
    const V low = splat(-87.0f), high = splat(88.0f), magic = splat(12582912.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    V n = (x * 1.44269504f + magic) - magic;
    V r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    V p = splat(1.0f / 5040.0f);
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    I bits = (__builtin_convertvector(n, I) + 127) << 23;
    V scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}
inline Vec<double>::v exp_(Vec<double>::v x) {
    typedef Vec<double>::v V;
    typedef Vec<double>::i I;
    const V low = splat(-708.0), high = splat(709.0), magic = splat(6755399441055744.0);
    x = x < low ? low : x;
    x = x > high ? high : x;
    V n = (x * 1.4426950408889634 + magic) - magic;
    V r = x - n * 0.693145751953125;
    r = r - n * 1.42860682030941723212e-6;
    V p = splat(1.0 / 6227020800.0);
    const double inverse[] = {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
                              1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0};
    for (double c : inverse) p = p * r + c;
    V shifted = n + magic; // the low bits of the sum hold n as an integer
    I whole;
    memcpy(&whole, &shifted, sizeof whole);
    I bits = (whole + 1023) << 52;
    V scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// tanh x in float: odd over even polynomial in x up to where it is 1 to the last bits, the fit that Eigen and XLA use.
inline Vec<float>::v tanh_(Vec<float>::v x) {
    typedef Vec<float>::v V;
    const V limit = splat(7.90531110763549805f);
    x = x < -limit ? -limit : x;
    x = x > limit ? limit : x;
    const V s = x * x;
    V p = splat(-2.76076847742355e-16f);
    p = p * s + 2.00018790482477e-13f;
    p = p * s - 8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    V q = splat(1.19825839466702e-06f);
    q = q * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * p / q;
}
// In double: an odd rational function near zero, 1 - 2 / (e^2x + 1) beyond (Cephes' split at 0.625).
inline Vec<double>::v tanh_(Vec<double>::v x) {
    typedef Vec<double>::v V;
    V a = x < 0.0 ? -x : x, s = x * x;
    V p = (splat(-9.64399179425052238628e-1) * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3;
    V q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3;
    V small = x + x * s * (p / q);
    V big = 1.0 - 2.0 / (exp_(a + a) + 1.0);
    big = x < 0.0 ? -big : big;
    return a < 0.625 ? small : big;
}

template <class T> inline T exp1(T x) { return exp_(splat(x))[0]; }

} // namespace
