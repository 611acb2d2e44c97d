// The kernels under one name per instruction set: define NAME(x) and VECTOR_BYTES, then include this file.
#include "interface.h"
#include "vec.h"
#include "gemm.h"
#include "network.h"
#include "heads.h"
#include "update.h"
#include "act.h"

#define EXPORT extern "C" __attribute__((visibility("hidden")))

EXPORT int64_t NAME(learn_memory32)(const Program *p, int64_t rows) {
    Workspace<float> w;
    return lay_out<float>(*p, rows, w, 0);
}
EXPORT int64_t NAME(learn_memory64)(const Program *p, int64_t rows) {
    Workspace<double> w;
    return lay_out<double>(*p, rows, w, 0);
}
EXPORT int64_t NAME(forward_memory32)(const Program *p) {
    Space<float> space;
    return lay_out_forward<float>(*p, CHUNK, space, 0);
}
EXPORT int64_t NAME(forward_memory64)(const Program *p) {
    Space<double> space;
    return lay_out_forward<double>(*p, CHUNK, space, 0);
}
EXPORT void NAME(learn32)(const Program *p, const Rows *data, const Settings *s, const Plan *plan, float *theta,
                          float *first, float *second, char *memory, Metrics *m, float *gradient) {
    learn<float>(*p, *data, *s, *plan, theta, first, second, memory, *m, gradient);
}
EXPORT void NAME(learn64)(const Program *p, const Rows *data, const Settings *s, const Plan *plan, double *theta,
                          double *first, double *second, char *memory, Metrics *m, double *gradient) {
    learn<double>(*p, *data, *s, *plan, theta, first, second, memory, *m, gradient);
}
EXPORT void NAME(act32)(const Program *p, const Acting *a, const float *theta, char *memory) {
    act(*p, *a, theta, memory);
}
EXPORT void NAME(values32)(const Program *p, int64_t rows, const float *obs, const float *theta, float *out,
                           char *memory) {
    values<float>(*p, rows, obs, theta, out, memory);
}
EXPORT void NAME(values64)(const Program *p, int64_t rows, const double *obs, const double *theta, double *out,
                           char *memory) {
    values<double>(*p, rows, obs, theta, out, memory);
}
EXPORT void NAME(advantages32)(int64_t steps, int64_t envs, const float *reward, const float *value, const float *next,
                               const uint8_t *terminated, const uint8_t *done, const float *rho, const float *c,
                               const uint8_t *valid, float gamma, float lambda, float *out) {
    advantages<float>(steps, envs, reward, value, next, terminated, done, rho, c, valid, gamma, lambda, out);
}
EXPORT void NAME(discounted)(int64_t steps, int64_t envs, const float *reward, const uint8_t *done,
                             const uint8_t *valid, double gamma, double *running, double *out) {
    discounted(steps, envs, reward, done, valid, gamma, running, out);
}
EXPORT void NAME(elementary32)(int64_t count, const float *x, float *e, float *t) {
    for (int64_t i = 0; i < count; i++) e[i] = exp_(splat(x[i]))[0], t[i] = tanh_(splat(x[i]))[0];
}
EXPORT void NAME(elementary64)(int64_t count, const double *x, double *e, double *t) {
    for (int64_t i = 0; i < count; i++) e[i] = exp_(splat(x[i]))[0], t[i] = tanh_(splat(x[i]))[0];
}
