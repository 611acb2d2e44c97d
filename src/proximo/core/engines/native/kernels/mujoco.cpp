// Steps many MuJoCo simulations by a few threads, while the caller reads the results one after the other.
//
// What an environment reads before its step must still be there while the step is computed, so a step is computed in
// another mjData than the one that Python shows. A few spare ones go round: a simulation takes one when its step
// begins, and gives back the one it showed when its result is asked for. Steps are begun in the order in which the
// caller asks. MuJoCo is not linked: its functions come as addresses.
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

struct Data {
    void *data;
    double *ctrl;
};

enum Stage { IDLE, WAITING, RUNNING, DONE };

struct Simulation {
    const void *model;
    double *state;
    int64_t shown, next;  // indices of mjData; `next` while RUNNING or DONE
    std::atomic<int> stage;
};

struct Fleet {
    Mujoco mujoco;
    int64_t count, controls, workers;
    Simulation *simulations;
    Data *data;
    pthread_t *threads;
    // Of the round under way; written by the caller between rounds only.
    double *ctrl;
    int64_t frames;
    // Under `busy`: the spare mjData, the first simulation that may wait, the changes of a stage but RUNNING to DONE.
    std::atomic_flag busy;
    int64_t *spare;
    std::atomic<int64_t> spares, first;
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

// Turns of a wait; whoever is waited for may have lost its core to another process, or be in no hurry.
struct Patience {
    int turns = 0;
    void wait() {
        if (++turns > 4096) {
            const timespec nap = {0, 50000};
            nanosleep(&nap, 0);
        } else if (turns % 256 == 0) {
            sched_yield();
        }
        breathe();
    }
};

struct Hold {
    Fleet &f;
    explicit Hold(Fleet &fleet) : f(fleet) {
        for (Patience p; f.busy.test_and_set(std::memory_order_acquire);) p.wait();
    }
    ~Hold() { f.busy.clear(std::memory_order_release); }
};

void begin(Simulation &s, int64_t data) {
    s.next = data;
    s.stage.store(RUNNING, std::memory_order_relaxed);
}

void compute(Fleet &f, int64_t n) {
    Simulation &s = f.simulations[n];
    const Mujoco &m = f.mujoco;
    Data &to = f.data[s.next];
    m.get(s.model, f.data[s.shown].data, s.state, (int)m.which);
    m.set(s.model, to.data, s.state, (int)m.which);
    for (int64_t k = 0; k < f.controls; k++) to.ctrl[k] = f.ctrl[n * f.controls + k];
    for (int64_t k = 0; k < f.frames; k++) m.step(s.model, to.data);
    m.forces(s.model, to.data);
    s.stage.store(DONE, std::memory_order_release);
}

enum Answer { TOOK, NO_SPARE, NONE_WAITS };

// Steps the first simulation that waits.
Answer help(Fleet &f) {
    if (f.first.load(std::memory_order_relaxed) == f.count) return NONE_WAITS;
    if (!f.spares.load(std::memory_order_relaxed)) return NO_SPARE;
    int64_t n;
    {
        Hold hold(f);
        while (f.first < f.count && f.simulations[f.first].stage.load(std::memory_order_relaxed) != WAITING) f.first++;
        if (f.first == f.count) return NONE_WAITS;
        if (!f.spares) return NO_SPARE;
        n = f.first++;
        begin(f.simulations[n], f.spare[--f.spares]);
    }
    compute(f, n);
    return TOOK;
}

// Steps simulation n unless another thread has begun it; false where all mjData are in use.
bool insist(Fleet &f, int64_t n) {
    {
        Hold hold(f);
        if (f.simulations[n].stage.load(std::memory_order_relaxed) != WAITING) return true;
        int64_t from = -1;
        for (int64_t k = 0; !f.spares && from < 0 && k < f.count; k++)
            if (f.simulations[k].stage.load(std::memory_order_acquire) == DONE) from = k;
        if (from >= 0) {
            // A result that nobody has asked for in its turn; it is computed again if somebody does.
            f.spare[f.spares++] = f.simulations[from].next;
            f.simulations[from].stage.store(WAITING, std::memory_order_relaxed);
        }
        if (!f.spares) return false;  // those under way have them
        begin(f.simulations[n], f.spare[--f.spares]);
    }
    compute(f, n);
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
        Patience patience;
        for (Answer answer = TOOK; answer != NONE_WAITS;) {
            if (f.stop.load()) return 0;
            answer = help(f);
            if (answer == NO_SPARE) patience.wait();
        }
    }
}

void wake(Fleet &f) {
    if (!f.sleeping.load()) return;
    pthread_mutex_lock(&f.lock);
    pthread_cond_broadcast(&f.woken);
    pthread_mutex_unlock(&f.lock);
}

// Gives up what is left of a round, as where an environment raised.
void drop_rest(Fleet &f) {
    Hold hold(f);
    for (int64_t n = 0; n < f.count; n++) {
        Simulation &s = f.simulations[n];
        for (Patience p; s.stage.load(std::memory_order_acquire) == RUNNING;) p.wait();
        if (s.stage.load(std::memory_order_relaxed) == DONE) f.spare[f.spares++] = s.next;
        s.stage.store(IDLE, std::memory_order_relaxed);
    }
}

}  // namespace

// `count` simulations with `controls` controls each, stepped in `spares` more mjData than they show, by `workers`
// threads beside the caller's, fewer where the system gives fewer. `simulations` [count][2]: model, memory for a state.
// `data` [count + spares][2]: mjData and its controls, those that are shown first.
EXPORT void *proximo_fleet_open(const void *mujoco, int64_t count, int64_t controls, int64_t spares, int64_t workers,
                                void **simulations, void **data) {
    Fleet *f = (Fleet *)calloc(1, sizeof(Fleet));
    f->mujoco = *(const Mujoco *)mujoco;
    f->count = count, f->controls = controls, f->spares = spares;
    f->simulations = (Simulation *)calloc(count, sizeof(Simulation));
    f->data = (Data *)calloc(count + spares, sizeof(Data));
    f->spare = (int64_t *)calloc(count + spares, sizeof(int64_t));
    f->threads = (pthread_t *)calloc(workers + 1, sizeof(pthread_t));
    f->ctrl = (double *)calloc(count * controls + 1, sizeof(double));
    for (int64_t n = 0; n < count; n++) {
        Simulation &s = f->simulations[n];
        s.model = simulations[2 * n], s.state = (double *)simulations[2 * n + 1], s.shown = n;
    }
    for (int64_t n = 0; n < count + spares; n++) {
        f->data[n] = {data[2 * n], (double *)data[2 * n + 1]};
        if (n >= count) f->spare[n - count] = n;
    }
    pthread_mutex_init(&f->lock, 0);
    pthread_cond_init(&f->woken, 0);
    while (f->workers < workers && !pthread_create(f->threads + f->workers, 0, work, f)) f->workers++;
    return f;
}

// Begins a step of `frames` frames of all simulations with the controls [count][controls].
EXPORT void proximo_fleet_advance(void *fleet, const double *ctrl, int64_t frames) {
    Fleet &f = *(Fleet *)fleet;
    drop_rest(f);
    memcpy(f.ctrl, ctrl, sizeof(double) * f.count * f.controls);
    f.frames = frames;
    {
        Hold hold(f);
        f.first = 0;
        for (int64_t n = 0; n < f.count; n++) f.simulations[n].stage.store(WAITING, std::memory_order_relaxed);
    }
    f.round.fetch_add(1);
    wake(f);
}

// Waits for simulation n, stepping others meanwhile; returns which mjData it shows from now on.
EXPORT int64_t proximo_fleet_result(void *fleet, int64_t n) {
    Fleet &f = *(Fleet *)fleet;
    Simulation &s = f.simulations[n];
    int stage;
    for (Patience p; (stage = s.stage.load(std::memory_order_acquire)) != DONE;) {
        if (stage == IDLE) return s.shown;
        if (stage == WAITING ? !insist(f, n) : help(f) != TOOK) p.wait();
    }
    Hold hold(f);
    f.spare[f.spares++] = s.shown;
    s.shown = s.next;
    s.stage.store(IDLE, std::memory_order_relaxed);
    return s.shown;
}

EXPORT void proximo_fleet_close(void *fleet) {
    Fleet *f = (Fleet *)fleet;
    f->stop.store(true);
    f->sleeping++;  // so that it wakes whoever is about to sleep
    wake(*f);
    for (int64_t n = 0; n < f->workers; n++) pthread_join(f->threads[n], 0);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->woken);
    free(f->simulations), free(f->data), free(f->spare), free(f->threads), free(f->ctrl), free(f);
}
