/* What run.c and the kernels share: the batch at hand, the worker, and the handing-out of tiles. Internal. */
#ifndef FR_RUN_H
#define FR_RUN_H

#include <stdatomic.h>

#include "fastreg.h"

/* The batch at hand. Every worker has its own copy with the same contents. */
typedef struct {
    int64_t count;     /* M */
    int64_t rows;      /* of the op at hand: M, or 2 M where it is doubled */
    int64_t first;     /* position of its first row in the epoch */
    double weight;     /* sum of the sample weights; M where there are none */
    int64_t step_rows; /* rows and weight of the whole step, which may have several batches */
    double step_weight;
    int opens, closes;  /* whether it is the first and the last batch of its step */
    double lr;          /* learning rate */
    uint32_t step;      /* global step: a coordinate of the masks */
    uint32_t line;      /* and so is its first row */
    double bias_fix[2]; /* 1 - beta1^t, 1 - beta2^t for this step's t (Adam) */
} fr_batch;

/* The keys of the rounds of Philox under a seed, made once a run: each in a lane of 64 bits, as kernels/philox.h adds
 * them. */
enum { FR_PHILOX_ROUNDS = 7 };
#define FR_PHILOX_WEYL_0 0x9E3779B9u /* what the keys grow by from round to round */
#define FR_PHILOX_WEYL_1 0xBB67AE85u
typedef struct {
    uint64_t word[2 * FR_PHILOX_ROUNDS];
} fr_round_keys;

static inline fr_round_keys fr_round_keys_of(uint64_t seed) {
    fr_round_keys keys;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < FR_PHILOX_ROUNDS; round++) {
        keys.word[2 * round] = k0, keys.word[2 * round + 1] = k1;
        k0 += FR_PHILOX_WEYL_0, k1 += FR_PHILOX_WEYL_1;
    }
    return keys;
}

typedef struct fr_worker {
    int id, n; /* this worker, all workers */
    const fr_program *program;
    const fr_feed *feed;
    fr_tally *tally;       /* for worker 0 alone */
    const fr_op *op;       /* at hand */
    atomic_llong *counter; /* of the op at hand */
    atomic_llong *bad_row; /* smallest position in the epoch of a row with a non-finite value, or INT64_MAX */
    uint64_t scramble;
    fr_round_keys keys; /* of the feed's seed */
    fr_batch batch;
    double *clip; /* the factor of CLIP_NORM, one for all workers */
    char *scratch;
    int64_t packed;        /* which panel of which op lies in the scratch, -1 for none */
    void *run;             /* run.c's own */
    atomic_int *abandoned; /* the run has ended in the middle of a batch: no more tiles, for anyone */
    int tiles_until_look;  /* of worker 0: it looks for an interruption every so many long tiles, */
    double look_at;        /* but not before this time */
} fr_worker;

typedef void (*fr_kernel)(fr_worker *worker);

/* The kernels of one instruction set and one dtype. draws: the FR_PANEL 16-bit draws of columns column .. column + 63. */
typedef struct {
    fr_kernel op[FR_OP_KINDS];
    void (*draws)(uint16_t *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream);
    void (*normals)(void *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream);
    double (*fma_loop)(int64_t rounds); /* returns the floating-point operations done */
} fr_table;

/* Tiles of an op: `panels` of `groups` each, in that order. All panels weigh `weight` but the last, which weighs `last`. */
typedef struct {
    int64_t panels, groups, weight, last;
    int dynamic;  /* from a counter, for long ops; else fixed contiguous shares */
    int own;      /* all of them are this worker's: they cover its share of the rows */
    int64_t next; /* of this worker, in a fixed share */
} fr_tiles;

enum { FR_TILES_BETWEEN_LOOKS = 16 };

/* run.c: lets the caller look for an interruption, if it is time; the run is then abandoned. For worker 0. */
void fr_look(fr_worker *worker);

/* The next tile of this worker, or -1. Who gets a tile never changes a result: every output element has one owner. */
static inline int64_t fr_next_tile(fr_worker *worker, fr_tiles *tiles) {
    const int64_t count = tiles->panels * tiles->groups;
    if (tiles->dynamic) {
        if (worker->id == 0 && --worker->tiles_until_look <= 0) fr_look(worker);
        if (atomic_load_explicit(worker->abandoned, memory_order_relaxed)) return -1;
    }
    if (tiles->own) return tiles->next < count ? tiles->next++ : -1;
    if (worker->scramble) {
        const int64_t i = atomic_fetch_add_explicit(worker->counter, 1, memory_order_relaxed);
        if (i >= count) return -1;
        return (int64_t)(((uint64_t)i * 1000003u + worker->scramble % 1000003u) % (uint64_t)count);
    }
    if (worker->n == 1) return tiles->next < count ? tiles->next++ : -1;
    if (tiles->dynamic) {
        const int64_t i = atomic_fetch_add_explicit(worker->counter, 1, memory_order_relaxed);
        return i < count ? i : -1;
    }
    const int64_t total = ((tiles->panels - 1) * tiles->weight + tiles->last) * tiles->groups;
    for (; tiles->next < count; tiles->next++) {
        const int64_t panel = tiles->next / tiles->groups, group = tiles->next % tiles->groups;
        const int64_t weight = panel == tiles->panels - 1 ? tiles->last : tiles->weight;
        const int64_t middle = 2 * (panel * tiles->groups * tiles->weight + group * weight) + weight;
        const int64_t owner = middle * worker->n / (2 * total);
        if (owner == worker->id) return tiles->next++;
        if (owner > worker->id) return -1;
    }
    return -1;
}

/* This worker's share [*begin, *end) of n equal items. */
static inline void fr_share(const fr_worker *worker, int64_t n, int64_t *begin, int64_t *end) {
    *begin = n * worker->id / worker->n;
    *end = n * (worker->id + 1) / worker->n;
}

/* pool.c */
typedef void (*fr_job)(void *arg, int id);
int fr_pool_begin(int n); /* takes the pool for n threads, the caller's included; returns how many it got */
void fr_pool_start(fr_job job, void *arg); /* wakes the workers 1 .. n - 1 */
void fr_pool_end(void);                    /* waits for them and gives the pool back */

/* cpu.c */
int fr_cpu_here(void);      /* the processor that runs the caller, -1 where that is not known */
void fr_cpu_leave(int cpu); /* moves the caller to another processor it may use, if there is one */

/* targets */
extern const fr_table fr_avx512_f32, fr_avx512_f64, fr_avx2_f32, fr_avx2_f64; /* x86-64 */
extern const fr_table fr_neon_f32, fr_neon_f64;                               /* aarch64 */
extern const fr_table fr_generic_f32, fr_generic_f64;
const fr_table *fr_current_table(fr_real real);

#endif
