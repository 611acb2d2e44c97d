// Steps a whole batch of classic-control environments. One version serves all: sine and cosine dominate.
#include "classic.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

static bool finite(const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(x[i]) <= 3.402823466e38f)) return false;
    return true;
}

EXPORT void proximo_classic_reset(const Classic *e, float *obs) {
    const int64_t width = classic_obs_width(*e);
    for (int64_t n = 0; n < e->num_envs; n++) classic_reset(*e, n), classic_observe(*e, n, obs + n * width);
}

// One step of all, episodes that end are followed by the next at once: `obs` [N][D] is what to act on next, the first
// K rows of `finals` [N][D] are the last observations of the environments ended[0..K). Returns K, or -1 - n where
// environment n was given a choice that does not exist or gave a number that is not finite.
EXPORT int64_t proximo_classic_step(const Classic *e, const int64_t *choice, const float *action, float *obs,
                                    float *reward, bool *terminated, bool *truncated, float *finals, int64_t *ended) {
    const int64_t width = classic_obs_width(*e);
    const int64_t choices = e->kind == CARTPOLE ? 2 : 3;
    int64_t count = 0;
    for (int64_t n = 0; choice && n < e->num_envs; n++)
        if (choice[n] < 0 || choice[n] >= choices) return -1 - n;
    for (int64_t n = 0; n < e->num_envs; n++) {
        float *seen = obs + n * width;
        classic_step(*e, n, choice ? choice[n] : 0, action ? action + n : 0, reward + n, terminated + n, truncated + n);
        classic_observe(*e, n, seen);
        if (!finite(reward + n, 1) || !finite(seen, width)) return -1 - n;
        if (terminated[n] || truncated[n]) {
            for (int64_t k = 0; k < width; k++) finals[count * width + k] = seen[k];
            ended[count++] = n;
            classic_reset(*e, n);
            classic_observe(*e, n, seen);
        }
    }
    return count;
}
