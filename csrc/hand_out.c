/* Says which worker gets which part of an op, without computing anything. For tests. */
#include <assert.h>
#include <limits.h>
#include <stdatomic.h>

/* All targets divide work alike, so any one will do. */
#define REAL_BITS 32
#include "targets/generic.h"

#include "kernels/division.h"

enum { FR_BLOCK_IN_TESTS = 3 }; /* panels */

/* What the workers of an op share. */
typedef struct {
    atomic_ullong taken[FR_MAX_THREADS];
    atomic_int abandoned;
} shared;

/* A worker that nobody interrupts. */
static fr_worker worker(const fr_turns *turns, shared *all, int id) {
    return (fr_worker){.id = id,
                       .n = turns->workers,
                       .scramble = turns->scramble,
                       .taken = all->taken,
                       .taken_stride = sizeof all->taken[0],
                       .abandoned = &all->abandoned,
                       .tiles_until_look = INT_MAX};
}

static void begin(shared *all, const fr_turns *turns) {
    assert(turns->workers >= 1 && turns->workers <= FR_MAX_THREADS);
    for (int i = 0; i < turns->workers; i++) atomic_init(&all->taken[i], 0);
    atomic_init(&all->abandoned, 0);
}

void fr_hand_out_tiles(int64_t *got, const fr_turns *turns, int64_t panels, int64_t groups, int64_t weight,
                       int64_t last) {
    shared all;
    fr_tiles tiles[FR_MAX_THREADS];
    begin(&all, turns);
    for (int i = 0; i < turns->workers; i++) {
        tiles[i] =
            (fr_tiles){.panels = panels, .groups = groups, .weight = weight, .last = last, .dynamic = turns->dynamic};
    }
    for (int64_t i = 0; i < turns->count; i++) {
        fr_worker w = worker(turns, &all, turns->id[i]);
        got[i] = fr_next_tile(&w, &tiles[w.id]);
    }
}

void fr_hand_out_pieces(int64_t *got, const fr_turns *turns, int64_t columns, int64_t groups, fr_cut cut) {
    shared all;
    division parts[FR_MAX_THREADS];
    begin(&all, turns);
    for (int i = 0; i < turns->workers; i++) {
        const fr_worker w = worker(turns, &all, i);
        if (cut == FR_CUT_COLUMNS) parts[i] = divide_columns(&w, columns, groups);
        else if (cut == FR_CUT_BLOCKS) parts[i] = divide_blocks(columns, groups, turns->dynamic, FR_BLOCK_IN_TESTS);
        else parts[i] = divide_tiles(columns, groups, turns->dynamic, 0, cut == FR_CUT_ROWS);
    }
    for (int64_t i = 0; i < turns->count; i++) {
        fr_worker w = worker(turns, &all, turns->id[i]);
        piece p = {0};
        next_piece(&w, &parts[w.id], &p);
        got[4 * i] = p.column, got[4 * i + 1] = p.columns, got[4 * i + 2] = p.first, got[4 * i + 3] = p.last;
    }
}
