/* A worker and its batch: all that run.c tells a kernel. Internal.
 *
 * What belongs here: the batch, the worker, and short questions about them. How work is handed out is in
 * kernels/tiles.h, what a thread is in pool.h.
 */
#ifndef FR_WORKER_H
#define FR_WORKER_H

#include <stdatomic.h>

#include "fastreg.h"
#include "philox_keys.h"

/* The current batch. Every worker has its own copy with the same contents. */
typedef struct {
    int64_t count;                    /* M */
    int64_t from, rows;               /* of the current op: its first row, and how many: M, or 2 M */
    int64_t first;                    /* position of its first row in the epoch */
    int64_t step_rows;                /* of the whole step, which may have several batches */
    double weight[FR_MAX_HEADS];      /* sum of a head's sample weights; M where there are none */
    double step_weight[FR_MAX_HEADS]; /* the same of the whole step */
    int empty;                        /* the step has no weight in any head, and is not taken */
    int opens, closes;                /* whether it is the first and the last batch of its step */
    double lr;                        /* learning rate */
    double decay;                     /* of the weights, where there is a schedule of it */
    uint32_t step;                    /* global step: a coordinate of the random draws */
    uint32_t line;                    /* row coordinate of its first row in the random draws */
    double power[FR_POWERS];          /* the running numbers of the optimizer in this step */
} fr_batch;

typedef struct fr_worker {
    int id, n; /* this worker's number; the number of workers */
    const fr_program *program;
    const fr_feed *feed;
    fr_tally *tally;       /* for worker 0 alone */
    const fr_op *op;       /* the current op */
    const fr_op *asks;     /* the op that asks for the rows of the next batch, NULL for none */
    atomic_ullong *taken;  /* counts the tiles of the current op taken from worker 0's share (kernels/tiles.h) */
    int64_t taken_stride;  /* bytes from one worker's count to the next one's */
    atomic_llong *bad_row; /* smallest position in the epoch of a row with a non-finite value, or INT64_MAX */
    uint32_t tuning;       /* see fr_tuning */
    uint64_t scramble;     /* not 0: tiles go to other workers than usual, for tests */
    fr_round_keys keys;    /* of the feed's seed */
    fr_batch batch;
    double *clip; /* the two factors of CLIP_NORM, for all workers */
    char *scratch;
    void *run;             /* run.c's own */
    atomic_int *abandoned; /* the run has ended in the middle of a batch: no more tiles, for anyone */
    int tiles_until_look;  /* worker 0 looks for an interruption after so many tiles of long ops, or rows, */
    double look_at;        /* but not before this time */
    int64_t looked_in;     /* the first row of the batch in which it did so last */
} fr_worker;

/* Whether the kernels of this run do what a tuning says. */
static inline int fr_tunes(const fr_worker *worker, fr_tuning_kind kind) { return worker->tuning >> kind & 1; }

/* run.c: asks the caller whether to interrupt the run, if it is time to. For worker 0. */
void fr_look(fr_worker *worker);

/* Whether a worker goes on with its next row, before which it looks now and then. */
static inline int fr_goes_on(fr_worker *worker) {
    if (worker->id == 0 && --worker->tiles_until_look <= 0) fr_look(worker);
    return !atomic_load_explicit(worker->abandoned, memory_order_relaxed);
}

/* The row of the data that is at a position of the epoch. */
static inline int64_t fr_index_at(const fr_feed *feed, int64_t position) {
    return feed->order ? feed->order[position] : position;
}

/* Items begin .. end - 1, such as rows. */
typedef struct {
    int64_t begin, end;
} fr_range;

/* This worker's share of n equal items. */
static inline fr_range fr_share(const fr_worker *worker, int64_t n) {
    return (fr_range){n * worker->id / worker->n, n * (worker->id + 1) / worker->n};
}

/* All rows of the current op, and this worker's share of them. It has the copies of the rows that are its own. */
static inline fr_range fr_rows(const fr_worker *worker) {
    return (fr_range){worker->batch.from, worker->batch.from + worker->batch.rows};
}
static inline fr_range fr_share_of_rows(const fr_worker *worker) {
    const fr_range share = fr_share(worker, worker->batch.rows);
    return (fr_range){worker->batch.from + share.begin, worker->batch.from + share.end};
}

#endif
