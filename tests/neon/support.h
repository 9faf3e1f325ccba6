/* What the cases of driver.c have in common: deterministic inputs, digests, buffers that free themselves, and a run.
 *
 * NaNs count as equal, whatever their sign and payload: processors differ there, and no result depends on them.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/fastreg.h"

enum { MAX_BUFFERS = 64, SEEDS = 1000 };

static fr_real real; /* the working dtype of the cases at hand */
static int threads, target;
static uint64_t scramble;
static int failures;

/* ---- numbers ---- */

static size_t real_size(void) { return real == FR_F32 ? sizeof(float) : sizeof(double); }

static void put(void *x, int64_t i, double value) {
    if (real == FR_F32) ((float *)x)[i] = (float)value;
    else ((double *)x)[i] = value;
}

/* splitmix64 (Steele, Lea, Flood, 2014), so that inputs do not come from the code under test */
static uint64_t bits_of(uint64_t seed, uint64_t i) {
    uint64_t z = (seed * SEEDS * SEEDS + i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* in [-1, 1) */
static double uniform(uint64_t seed, uint64_t i) { return (double)(int64_t)bits_of(seed, i) * 0x1p-63; }

/* The order of the samples in an epoch. */
static void fill_permutation(int64_t *order, int64_t n, uint64_t seed, uint32_t epoch) {
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t piece = 0; piece * FR_AT_ONCE < n; piece++) fr_shuffle(order, n, seed, epoch, piece);
}

/* ---- digests: FNV-1a ---- */

static uint64_t digest;

static void digest_start(void) { digest = 0xcbf29ce484222325u; }

static void digest_bytes(const void *x, size_t n) {
    for (size_t i = 0; i < n; i++) digest = (digest ^ ((const unsigned char *)x)[i]) * 0x100000001b3u;
}

static void digest_doubles(const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint64_t nan = 0x7ff8000000000000u;
        digest_bytes(x[i] == x[i] ? (const void *)&x[i] : &nan, sizeof x[i]);
    }
}

static void digest_reals(const void *x, int64_t n) {
    if (real == FR_F64) {
        digest_doubles(x, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const float value = ((const float *)x)[i];
        const uint32_t nan = 0x7fc00000u;
        digest_bytes(value == value ? (const void *)&value : &nan, sizeof value);
    }
}

static void digest_print(const char *name) {
    printf("f%d %s %016llx\n", real == FR_F32 ? 32 : 64, name, (unsigned long long)digest);
}

/* ---- buffers of a case: kept in a list, for the digest and to be freed ---- */

static struct {
    void *memory;
    fr_matrix matrix;
    int64_t rows, columns;
} buffers[MAX_BUFFERS];
static int n_buffers;

static void *cleared(size_t bytes) {
    const size_t whole = (bytes + 127) / 64 * 64; /* a vector more: kernels may read behind the last column */
    void *memory = aligned_alloc(64, whole);
    if (!memory) exit(2);
    return memset(memory, 0, whole);
}

static fr_matrix matrix_of(int64_t rows, int64_t columns) {
    if (n_buffers == MAX_BUFFERS) exit(2);
    const int64_t ld = (columns + 15) / 16 * 16;
    void *memory = cleared((size_t)(rows * ld) * real_size());
    const fr_matrix matrix = {.data = memory, .ld = ld};
    buffers[n_buffers].memory = memory;
    buffers[n_buffers].matrix = matrix;
    buffers[n_buffers].rows = rows;
    buffers[n_buffers++].columns = columns;
    return matrix;
}

static fr_matrix random_matrix(int64_t rows, int64_t columns, uint64_t seed, double size) {
    const fr_matrix m = matrix_of(rows, columns);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++)
            put(m.data, i * m.ld + j, size * uniform(seed, (uint64_t)(i * columns + j)));
    }
    return m;
}

/* only what stands before the last column: behind it buffers may hold anything */
static void digest_buffers(void) {
    for (int b = 0; b < n_buffers; b++) {
        for (int64_t i = 0; i < buffers[b].rows; i++) {
            const size_t row = (size_t)(i * buffers[b].matrix.ld) * real_size();
            digest_reals((const char *)buffers[b].memory + row, buffers[b].columns);
        }
        free(buffers[b].memory);
    }
    n_buffers = 0;
}

/* ---- ops ---- */

static const fr_mask NO_MASK = {.threshold = 65536, .scale = 1};

static fr_mask mask_of(uint32_t threshold, uint32_t stream) {
    return (fr_mask){.threshold = threshold, .stream = stream, .scale = threshold ? 65536.0 / threshold : 0};
}

static fr_op op_of(fr_op_kind kind, int wait) {
    return (fr_op){.kind = kind, .flags = fr_op_flags(kind), .wait = wait};
}

/* with both slots, not negative because either may hold mean squares, and room for penalties */
static fr_param param_of(int64_t rows, int64_t columns, const fr_rule *rule, uint64_t seed, double size) {
    fr_param p = {.rows = rows, .columns = columns, .rule = *rule};
    p.value = random_matrix(rows, columns, seed, size);
    for (int slot = 0; slot < 2; slot++) {
        p.slot[slot] = matrix_of(rows, columns);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < columns; j++) {
                const double draw = uniform(seed + 1 + (uint64_t)slot, (uint64_t)(i * columns + j));
                put(p.slot[slot].data, i * p.slot[slot].ld + j, size * draw * draw);
            }
        }
    }
    p.penalty = matrix_of((rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP, columns).data;
    return p;
}

/* Runs the ops over all batches and digests the tally; the buffers are digested by the caller. */
static void run(fr_op *ops, int n_ops, int accumulate, const fr_feed *feed, fr_code expected, const char *name) {
    double clip[2] = {1, 1};
    void *row_loss = matrix_of(1, feed->batch_size).data, *row_hit = matrix_of(1, feed->batch_size).data;
    for (int i = 0; i < n_ops; i++) {
        if (ops[i].kind == FR_LOSS) ops[i].loss.row_loss = row_loss, ops[i].loss.row_hit = row_hit;
        if (ops[i].kind == FR_TOTALS) ops[i].totals.row_loss = row_loss, ops[i].totals.row_hit = row_hit;
    }
    const fr_program program = {
        .real = real,
        .n_ops = n_ops,
        .ops = ops,
        .max_rows = feed->batch_size,
        .accumulate = accumulate,
        .clip = clip,
    };
    void *scratch = cleared(fr_scratch_bytes(&program, threads));
    const fr_options options = {.threads = threads, .stop_op = n_ops, .scramble = scramble, .scratch = scratch};
    fr_tally tally = {.power = {1, 1, 1}, .bad_row = -1};
    const int64_t batches = (feed->rows + feed->batch_size - 1) / feed->batch_size;
    const int64_t next = fr_run(&program, feed, &tally, 0, batches, &options);
    free(scratch);
    const double numbers[] = {tally.head[0].loss,    tally.head[0].weight,  tally.head[0].hits, tally.penalty,
                              (double)tally.batches, (double)tally.updates, tally.power[0],     tally.power[1],
                              (double)tally.bad_row, (double)next};
    digest_doubles(numbers, sizeof numbers / sizeof *numbers);
    if (tally.code != (int32_t)expected) {
        fprintf(stderr, "%s: code %d, expected %d\n", name, tally.code, expected);
        failures++;
    }
}

#endif
