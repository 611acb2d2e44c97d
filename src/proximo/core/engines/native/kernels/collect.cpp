// A whole rollout in one call: acting and stepping classic environments in turn, without Python between.
#include "interface.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

extern "C" void proximo_act(const Program *, const Acting *, const float *, char *);
extern "C" int64_t proximo_classic_step(const Classic *, const int64_t *, const float *, float *, float *, bool *, bool *,
                                        float *, int64_t *);

// Rollout memory is [T][N][...]: where the next step reads and writes.
static void advance(const Program *p, Acting *a) {
    const int64_t actions = p->actions;
    a->obs += a->count * p->obs_width;
    a->logp += a->count;
    if (a->noise) a->noise += a->count * (p->head == CATEGORICAL ? 1 : actions);
    if (a->choice) a->choice += a->count;
    if (a->action) a->action += a->count * actions;
}

// Acts, and leaves `a` at the next step: moving five addresses in Python takes as long as acting.
EXPORT void proximo_act_on(const Program *p, Acting *a, const float *theta, char *memory) {
    proximo_act(p, a, theta, memory);
    advance(p, a);
}

// `first` points at step 0 of buffers [T][N][...]; step t reads obs[t] and writes obs[t + 1], the last step
// `last_obs` [N][D]. Ended episodes: `finals` [K][D], `final_t`, `final_n` [K]. Returns K, or -1 - (t N + n) where
// environment n failed at step t.
EXPORT int64_t proximo_collect(const Program *p, const Acting *first, const float *theta, char *memory,
                               const Classic *e, int64_t steps, float *obs, float *last_obs, float *reward,
                               bool *terminated, bool *truncated, float *finals, int64_t *final_t, int64_t *final_n) {
    const int64_t envs = first->count, width = p->obs_width;
    int64_t ended = 0;
    Acting a = *first;
    for (int64_t t = 0; t < steps; t++) {
        proximo_act(p, &a, theta, memory);
        float *next = t + 1 < steps ? obs + (t + 1) * envs * width : last_obs;
        const int64_t now = proximo_classic_step(e, a.choice, a.bounded, next, reward + t * envs, terminated + t * envs,
                                                 truncated + t * envs, finals + ended * width, final_n + ended);
        if (now < 0) return -1 - (t * envs + (-1 - now));
        for (int64_t k = 0; k < now; k++) final_t[ended + k] = t;
        ended += now;
        advance(p, &a);
    }
    return ended;
}
