// Steps many MuJoCo simulations by a few threads, while the caller reads the results one after the other.
//
// Every simulation has two mjData: the one that Python shows (`front`) and the one that the next step is computed in
// (`back`), so that what an environment reads before its step is still there. `advance` hands out all steps, the
// workers take the simulations from the first on; `result` waits for one, stepping others from the last on meanwhile,
// and exchanges its two mjData. MuJoCo is not linked: its functions come as addresses.
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <atomic>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Mujoco {
    void (*step)(const void *model, void *data);
    void (*forces)(const void *model, void *data);
    void (*get)(const void *model, const void *data, double *state, int which);
    void (*set)(const void *model, void *data, const double *state, int which);
    int64_t which;  // everything that a step depends on
};

struct alignas(64) Simulation {
    const void *model;
    void *front, *back;
    double *front_ctrl, *back_ctrl;
    double *state;
    std::atomic<uint64_t> taken, done;
};

struct Fleet {
    Mujoco mujoco;
    int64_t count, controls, workers;
    Simulation *simulations;
    pthread_t *threads;
    // Of the round under way; written by the caller between rounds only.
    double *ctrl;
    int64_t frames;
    std::atomic<uint64_t> round;
    std::atomic<int> sleeping;
    std::atomic<bool> stop;
    pthread_mutex_t lock;
    pthread_cond_t woken;
};

// As long as a policy usually takes to act; whoever waits longer sleeps.
const int64_t AWAKE_NS = 100000;

int64_t now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

void breathe() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Steps simulation n of this round unless another thread has taken it.
bool attempt(Fleet &f, int64_t n, uint64_t round) {
    Simulation &s = f.simulations[n];
    uint64_t before = round - 1;
    if (!s.taken.compare_exchange_strong(before, round)) return false;
    const Mujoco &m = f.mujoco;
    m.get(s.model, s.front, s.state, (int)m.which);
    m.set(s.model, s.back, s.state, (int)m.which);
    for (int64_t k = 0; k < f.controls; k++) s.back_ctrl[k] = f.ctrl[n * f.controls + k];
    for (int64_t k = 0; k < f.frames; k++) m.step(s.model, s.back);
    m.forces(s.model, s.back);
    s.done.store(round, std::memory_order_release);
    return true;
}

uint64_t next_round(Fleet &f, uint64_t seen) {
    const int64_t until = now() + AWAKE_NS;
    do {
        for (int i = 0; i < 64; i++) {
            if (f.round.load(std::memory_order_acquire) != seen || f.stop.load()) return f.round.load();
            breathe();
        }
    } while (now() < until);
    pthread_mutex_lock(&f.lock);
    f.sleeping++;
    while (f.round.load() == seen && !f.stop.load()) pthread_cond_wait(&f.woken, &f.lock);
    f.sleeping--;
    pthread_mutex_unlock(&f.lock);
    return f.round.load();
}

void *work(void *given) {
    Fleet &f = *(Fleet *)given;
    for (uint64_t round = 0;;) {
        round = next_round(f, round);
        if (f.stop.load()) return 0;
        for (int64_t n = 0; n < f.count; n++) attempt(f, n, round);
    }
}

void wake(Fleet &f) {
    if (!f.sleeping.load()) return;
    pthread_mutex_lock(&f.lock);
    pthread_cond_broadcast(&f.woken);
    pthread_mutex_unlock(&f.lock);
}

void await(Fleet &f, int64_t n, uint64_t round) {
    Simulation &s = f.simulations[n];
    int64_t last = f.count - 1;
    for (int turns = 0; s.done.load(std::memory_order_acquire) != round;) {
        while (last >= 0 && !attempt(f, last, round)) last--;
        if (last >= 0) continue;
        // Its thread may have lost its core to another process.
        if (++turns % 256 == 0) sched_yield();
        breathe();
    }
}

}  // namespace

// `count` simulations with `controls` controls each and `workers` threads beside the caller's, fewer where the system
// gives fewer. `pointers` [count][6]: model, the data shown, the data beside it, the controls of both, memory for a state.
EXPORT void *proximo_fleet_open(const void *mujoco, int64_t count, int64_t controls, int64_t workers, void **pointers) {
    Fleet *f = (Fleet *)calloc(1, sizeof(Fleet));
    f->mujoco = *(const Mujoco *)mujoco;
    f->count = count, f->controls = controls;
    f->simulations = (Simulation *)aligned_alloc(64, sizeof(Simulation) * count);
    f->threads = (pthread_t *)calloc(workers + 1, sizeof(pthread_t));
    f->ctrl = (double *)calloc(count * controls + 1, sizeof(double));
    for (int64_t n = 0; n < count; n++) {
        void **p = pointers + 6 * n;
        Simulation &s = f->simulations[n];
        s.model = p[0], s.front = p[1], s.back = p[2];
        s.front_ctrl = (double *)p[3], s.back_ctrl = (double *)p[4], s.state = (double *)p[5];
        s.taken.store(0), s.done.store(0);
    }
    pthread_mutex_init(&f->lock, 0);
    pthread_cond_init(&f->woken, 0);
    while (f->workers < workers && !pthread_create(f->threads + f->workers, 0, work, f)) f->workers++;
    return f;
}

// Begins a step of `frames` frames of all simulations with the controls [count][controls].
EXPORT void proximo_fleet_advance(void *fleet, const double *ctrl, int64_t frames) {
    Fleet &f = *(Fleet *)fleet;
    const uint64_t round = f.round.load();
    for (int64_t n = 0; n < f.count; n++) await(f, n, round);  // some may be left where an environment raised
    memcpy(f.ctrl, ctrl, sizeof(double) * f.count * f.controls);
    f.frames = frames;
    f.round.store(round + 1);
    wake(f);
}

// Waits for simulation n and exchanges its two mjData.
EXPORT void proximo_fleet_result(void *fleet, int64_t n) {
    Fleet &f = *(Fleet *)fleet;
    Simulation &s = f.simulations[n];
    await(f, n, f.round.load());
    void *data = s.front;
    double *ctrl = s.front_ctrl;
    s.front = s.back, s.front_ctrl = s.back_ctrl;
    s.back = data, s.back_ctrl = ctrl;
}

EXPORT void proximo_fleet_close(void *fleet) {
    Fleet *f = (Fleet *)fleet;
    f->stop.store(true);
    f->sleeping++;  // so that it wakes whoever is about to sleep
    wake(*f);
    for (int64_t n = 0; n < f->workers; n++) pthread_join(f->threads[n], 0);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->woken);
    free(f->simulations), free(f->threads), free(f->ctrl), free(f);
}
