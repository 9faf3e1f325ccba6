/* Tiles: how the work of an op is handed out among the workers.
 *
 * What belongs here: who does which tile, when. What a tile covers is the business of division.h and of the ops. Nothing
 * here depends on the target.
 */
#ifndef FR_TILES_H
#define FR_TILES_H

#include "../worker.h"

/* The tiles of an op: `panels` of `groups` each, in that order. All panels weigh `weight` except the last, which weighs
 * `last`. Every worker has a contiguous share of the tiles, the same in every batch, so that what it reads and writes
 * stays in its caches. In a long op a worker that has finished its own share takes tiles from the ends of the others'. */
typedef struct {
    int64_t panels, groups, weight, last;
    int dynamic; /* a long op */
    int own;     /* all tiles are this worker's: they cover its share of the rows */
    int begun;
    int64_t begin, end, next; /* of this worker's share */
    int others;               /* the number of shares that are used up */
} fr_tiles;

/* The first tile of a worker's share: the first whose middle, by weight, lies in it. */
static inline int64_t fr_share_begin(const fr_tiles *tiles, int id, int n) {
    const int64_t heavy = (tiles->panels - 1) * tiles->groups, weight = tiles->weight * n, last = tiles->last * n;
    const int64_t from =
        2 * (heavy * tiles->weight + tiles->groups * tiles->last) * id; /* times n, like all of these */
    const int64_t t = (from - weight + 2 * weight - 1) / (2 * weight);
    if (t < heavy) return t;
    const int64_t after = from - 2 * heavy * weight - last;
    return heavy + (after > 0 ? (after + 2 * last - 1) / (2 * last) : 0);
}

/* A tile of a long op: from the front of this worker's share, then from the back of another's. The two halves of one word
 * count the tiles taken from the front and from the back, so each tile is taken once: the first `size` takers get one
 * each. */
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

#endif
