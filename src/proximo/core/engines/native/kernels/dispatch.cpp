// Chooses the instruction set when the library is loaded and exports the kernels under plain names.
#include "interface.h"

#if defined(__x86_64__)
#define EACH(call, ...) level == 2 ? call##_avx512(__VA_ARGS__) : level == 1 ? call##_avx2(__VA_ARGS__) : call##_baseline(__VA_ARGS__)
#define DECLARE(type, name, ...) \
    extern "C" type name##_avx512(__VA_ARGS__); \
    extern "C" type name##_avx2(__VA_ARGS__); \
    extern "C" type name##_baseline(__VA_ARGS__);
#else
#define EACH(call, ...) call##_baseline(__VA_ARGS__)
#define DECLARE(type, name, ...) extern "C" type name##_baseline(__VA_ARGS__);
#endif
#define EXPORT extern "C" __attribute__((visibility("default")))

static int best() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

static int level = best();

// 2: AVX-512, 1: AVX2, 0: baseline
EXPORT int proximo_level(void) { return level; }
// For tests: use a lower level than the processor has; returns the level now in use.
EXPORT int proximo_limit(int wanted) {
    int has = best();
    level = wanted < has ? (wanted < 0 ? 0 : wanted) : has;
    return level;
}
EXPORT int proximo_abi(void) { return 3; }
#ifndef PROXIMO_SOURCES
#define PROXIMO_SOURCES ""
#endif
// Hash of the sources (native/sources.py), which setup.py gives; empty where another build did not.
EXPORT const char *proximo_sources(void) { return PROXIMO_SOURCES; }

DECLARE(int64_t, learn_memory32, const Program *, int64_t)
DECLARE(int64_t, learn_memory64, const Program *, int64_t)
DECLARE(int64_t, forward_memory32, const Program *)
DECLARE(int64_t, forward_memory64, const Program *)
DECLARE(void, learn32, const Program *, const Rows *, const Settings *, const Plan *, float *, float *, float *,
        char *, Metrics *, float *)
DECLARE(void, learn64, const Program *, const Rows *, const Settings *, const Plan *, double *, double *, double *,
        char *, Metrics *, double *)
DECLARE(void, act32, const Program *, const Acting *, const float *, char *)
DECLARE(void, values32, const Program *, int64_t, const float *, const float *, float *, char *)
DECLARE(void, values64, const Program *, int64_t, const double *, const double *, double *, char *)
DECLARE(void, advantages32, int64_t, int64_t, const float *, const float *, const float *, const uint8_t *,
        const uint8_t *, const float *, const float *, const uint8_t *, float, float, float *)
DECLARE(void, discounted, int64_t, int64_t, const float *, const uint8_t *, const uint8_t *, double, double *, double *)
DECLARE(void, elementary32, int64_t, const float *, float *, float *)
DECLARE(void, elementary64, int64_t, const double *, double *, double *)

EXPORT int64_t proximo_learn_memory(const Program *p, int64_t rows, int wide) {
    return wide ? EACH(learn_memory64, p, rows) : EACH(learn_memory32, p, rows);
}
EXPORT int64_t proximo_forward_memory(const Program *p, int wide) {
    return wide ? EACH(forward_memory64, p) : EACH(forward_memory32, p);
}
EXPORT void proximo_learn32(const Program *p, const Rows *d, const Settings *s, const Plan *plan, float *theta,
                            float *first, float *second, char *memory, Metrics *m, float *gradient) {
    EACH(learn32, p, d, s, plan, theta, first, second, memory, m, gradient);
}
EXPORT void proximo_learn64(const Program *p, const Rows *d, const Settings *s, const Plan *plan, double *theta,
                            double *first, double *second, char *memory, Metrics *m, double *gradient) {
    EACH(learn64, p, d, s, plan, theta, first, second, memory, m, gradient);
}
EXPORT void proximo_act(const Program *p, const Acting *a, const float *theta, char *memory) {
    EACH(act32, p, a, theta, memory);
}
EXPORT void proximo_values32(const Program *p, int64_t rows, const float *obs, const float *theta, float *out,
                             char *memory) {
    EACH(values32, p, rows, obs, theta, out, memory);
}
EXPORT void proximo_values64(const Program *p, int64_t rows, const double *obs, const double *theta, double *out,
                             char *memory) {
    EACH(values64, p, rows, obs, theta, out, memory);
}
EXPORT void proximo_advantages(int64_t steps, int64_t envs, const float *reward, const float *value, const float *next,
                               const uint8_t *terminated, const uint8_t *done, const float *rho, const float *c,
                               const uint8_t *valid, float gamma, float lambda, float *out) {
    EACH(advantages32, steps, envs, reward, value, next, terminated, done, rho, c, valid, gamma, lambda, out);
}
EXPORT void proximo_discounted(int64_t steps, int64_t envs, const float *reward, const uint8_t *done,
                               const uint8_t *valid, double gamma, double *running, double *out) {
    EACH(discounted, steps, envs, reward, done, valid, gamma, running, out);
}
EXPORT void proximo_elementary32(int64_t count, const float *x, float *e, float *t) {
    EACH(elementary32, count, x, e, t);
}
EXPORT void proximo_elementary64(int64_t count, const double *x, double *e, double *t) {
    EACH(elementary64, count, x, e, t);
}
