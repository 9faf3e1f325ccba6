/* Where the workers of a run meet. Internal to run.c. */
#ifndef FR_BARRIER_H
#define FR_BARRIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "fastreg.h"

enum { SPIN_NANOSECONDS = 50 * 1000, SPINS_BETWEEN_LOOKS = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Workers spin for a while, then sleep. If there are more of them than processors, they sleep at once. Two phases in a
 * row use different condition variables, because the next one may begin before all workers have woken: see pool.c. */
typedef struct {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_uint phase;
    atomic_int sleepers;
    int n;
    int spin;
    pthread_mutex_t lock;
    pthread_cond_t changed[2]; /* indexed by the last bit of the phase */
} barrier;

static void barrier_init(barrier *b, int n) {
    atomic_init(&b->arrived, 0);
    atomic_init(&b->phase, 0);
    atomic_init(&b->sleepers, 0);
    b->n = n;
    b->spin = n <= fr_cpu_count();
    pthread_mutex_init(&b->lock, NULL);
    for (int i = 0; i < 2; i++) pthread_cond_init(&b->changed[i], NULL);
}

static void barrier_destroy(barrier *b) {
    pthread_mutex_destroy(&b->lock);
    for (int i = 0; i < 2; i++) pthread_cond_destroy(&b->changed[i]);
}

static int spin_until_changed(barrier *b, unsigned phase) {
    double end = 0;
    for (int i = 0;; i++) {
        if (atomic_load_explicit(&b->phase, memory_order_acquire) != phase) return 1;
        pause_cpu();
        if (i % SPINS_BETWEEN_LOOKS == SPINS_BETWEEN_LOOKS - 1) {
            const double t = now();
            if (end == 0) end = t + 1e-9 * SPIN_NANOSECONDS;
            if (t > end) return 0;
        }
    }
}

static void barrier_wait(barrier *b) {
    if (b->n == 1) return;
    const unsigned phase = atomic_load_explicit(&b->phase, memory_order_relaxed);
    if (atomic_fetch_add(&b->arrived, 1) == b->n - 1) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        /* Before the look at sleepers: see below. Not a store: QEMU 7 on x86 lets a load overtake one. */
        atomic_fetch_add(&b->phase, 1);
        if (atomic_load(&b->sleepers) > 0) {
            pthread_mutex_lock(&b->lock);
            pthread_cond_broadcast(&b->changed[phase & 1]);
            pthread_mutex_unlock(&b->lock);
        }
        return;
    }
    if (b->spin && spin_until_changed(b, phase)) return;
    pthread_mutex_lock(&b->lock);
    atomic_fetch_add(&b->sleepers, 1); /* before the look at phase: one of the two sides sees the other */
    while (atomic_load(&b->phase) == phase) pthread_cond_wait(&b->changed[phase & 1], &b->lock);
    atomic_fetch_sub(&b->sleepers, 1);
    pthread_mutex_unlock(&b->lock);
}

#endif
