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

/* What the scratch of a worker has room for. */
enum { FR_KC = 1024 };        /* terms of a sum done in one go */
enum { FR_STRIP_ROWS = 264 }; /* rows of a panel of C where a sum takes several goes */

typedef struct fr_worker {
    int id, n; /* this worker, all workers */
    const fr_program *program;
    const fr_feed *feed;
    fr_tally *tally;      /* for worker 0 alone */
    const fr_op *op;      /* at hand */
    const fr_op *last_dw; /* the last dense_dw of a batch, NULL for none */
    atomic_ullong
        *taken; /* tiles of the op at hand that were taken from worker 0's share; those of the others follow */
    int64_t taken_stride;  /* bytes from one worker's to the next one's */
    atomic_llong *bad_row; /* smallest position in the epoch of a row with a non-finite value, or INT64_MAX */
    uint64_t scramble;
    fr_round_keys keys; /* of the feed's seed */
    fr_batch batch;
    double *clip; /* the factor of CLIP_NORM, one for all workers */
    char *scratch;
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

/* Tiles of an op: `panels` of `groups` each, in that order. All panels weigh `weight` but the last, which weighs `last`.
 * Every worker has a contiguous share of them, the same in every batch, so what it reads and writes stays in its caches.
 * In long ops a worker that is done with its own share takes tiles from the ends of the others'. */
typedef struct {
    int64_t panels, groups, weight, last;
    int dynamic; /* a long op */
    int own;     /* all of them are this worker's: they cover its share of the rows */
    int begun;
    int64_t begin, end, next; /* of this worker's share */
    int others;               /* whose shares are used up */
} fr_tiles;

enum { FR_TILES_BETWEEN_LOOKS = 16 };

/* run.c: lets the caller look for an interruption, if it is time; the run is then abandoned. For worker 0. */
void fr_look(fr_worker *worker);

/* The first tile of a worker's share: the first whose middle, by weight, lies in it. */
static inline int64_t fr_share_begin(const fr_tiles *tiles, int id, int n) {
    const int64_t heavy = (tiles->panels - 1) * tiles->groups, weight = tiles->weight * n, last = tiles->last * n;
    const int64_t from = 2 * (heavy * tiles->weight + tiles->groups * tiles->last) * id; /* times n, as all of these */
    const int64_t t = (from - weight + 2 * weight - 1) / (2 * weight);
    if (t < heavy) return t;
    const int64_t behind = from - 2 * heavy * weight - last;
    return heavy + (behind > 0 ? (behind + 2 * last - 1) / (2 * last) : 0);
}

/* A tile of a long op: of this worker's share from the front, then of another's from the back. How many have been taken
 * from either end is counted in the halves of one word, so a tile is taken once: the first `size` takers get one each. */
static inline int64_t fr_take_tile(fr_worker *worker, fr_tiles *tiles) {
    for (; tiles->others < worker->n; tiles->others++) {
        const int whose = (worker->id + tiles->others) % worker->n, mine = tiles->others == 0;
        const int64_t begin = mine ? tiles->begin : fr_share_begin(tiles, whose, worker->n);
        const int64_t size = (mine ? tiles->end : fr_share_begin(tiles, whose + 1, worker->n)) - begin;
        atomic_ullong *taken = (atomic_ullong *)((char *)worker->taken + worker->taken_stride * whose);
        const uint64_t before = atomic_fetch_add_explicit(taken, mine ? 1 : 1ull << 32, memory_order_relaxed);
        const int64_t front = (int64_t)(before & 0xffffffffu), back = (int64_t)(before >> 32);
        if (front + back < size) return mine ? begin + front : begin + size - 1 - back;
    }
    return -1;
}

/* The next tile of this worker, or -1. Who gets a tile never changes a result: every output element has one owner. */
static inline int64_t fr_next_tile(fr_worker *worker, fr_tiles *tiles) {
    const int64_t count = tiles->panels * tiles->groups;
    if (!tiles->begun) {
        const int all = tiles->own || worker->n == 1;
        tiles->begun = 1;
        tiles->begin = tiles->next = all ? 0 : fr_share_begin(tiles, worker->id, worker->n);
        tiles->end = all ? count : fr_share_begin(tiles, worker->id + 1, worker->n);
    }
    if (tiles->dynamic) {
        if (worker->id == 0 && --worker->tiles_until_look <= 0) fr_look(worker);
        if (atomic_load_explicit(worker->abandoned, memory_order_relaxed)) return -1;
    }
    if (!tiles->own && worker->scramble) {
        const int64_t t = fr_take_tile(worker, tiles);
        return t < 0 ? t : (int64_t)(((uint64_t)t * 1000003u + worker->scramble % 1000003u) % (uint64_t)count);
    }
    if (tiles->dynamic && !tiles->own && worker->n > 1) return fr_take_tile(worker, tiles);
    return tiles->next < tiles->end ? tiles->next++ : -1;
}

/* Whether a tile is in this worker's own share, which it does in order. */
static inline int fr_is_mine(const fr_tiles *tiles, int64_t tile) { return tile >= tiles->begin && tile < tiles->end; }

/* The row of the data that is at a position of the epoch. */
static inline int64_t fr_index_at(const fr_feed *feed, int64_t position) {
    return feed->order ? feed->order[position] : position;
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
