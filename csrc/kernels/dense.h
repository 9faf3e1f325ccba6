/* dense:    out = dropout(activation(x * weight + bias + noise))
 * dense_dx: out = through'(dz * weight^T)
 *
 * Where an activity penalty asks for it, dense also leaves the sums of |out| over the columns of every panel.
 *
 * A tile of work is one panel of columns by a group of row blocks.
 */
#ifndef FR_DENSE_H
#define FR_DENSE_H

#include "activation.h"
#include "gemm.h"
#include "lanes.h"

INLINE int64_t panels_of(int64_t columns) { return (columns + FR_PANEL - 1) / FR_PANEL; }

/* Long enough for the counter's cost not to show, and for a neighbour's interruption to hurt. */
INLINE int is_long(int64_t flops, int workers) { return flops / workers > 10 * 1000 * 1000; }

/* Whether a weight with so many elements comes from beyond the second-level caches. */
INLINE int is_far(int64_t elements) { return elements > 512 * 1024; }

/* Terms of such a weight done in one go: beside all of x, the second-level cache is to hold those at hand, those asked for
 * ahead, and those just done, which it does not know to be of no more use. */
enum { FAR_KC = 256 };

/* What this worker does of an op on the batch: its tiles, and the rows that they cover. */
typedef struct {
    fr_tiles tiles;
    int64_t first, rows, blocks, group_blocks;
} work;

/* Of a result of so many columns whose sums have K terms. Groups of row blocks are as tall as leaves every worker some
 * eight tiles, so that shares come out even; a worker with rows of its own need not care. */
INLINE work work_of(const fr_worker *w, int64_t columns, int64_t K) {
    const int own = w->op->rowwise;
    int64_t first = 0, end = w->batch.rows;
    if (own) fr_share(w, w->batch.rows, &first, &end);
    const int64_t rows = end - first, blocks = row_blocks(rows, MR), panels = panels_of(columns);
    int64_t tall = own || w->n == 1 ? blocks : blocks * panels / (8 * w->n);
    tall = tall < 1 ? 1 : tall > STRIP_ROWS / MR ? STRIP_ROWS / MR : tall;
    return (work){
        .first = first,
        .rows = rows,
        .blocks = blocks,
        .group_blocks = tall,
        .tiles = {.panels = panels,
                  .groups = (blocks + tall - 1) / tall,
                  .weight = FR_PANEL / VL,
                  .last = vectors_of(columns, panels - 1),
                  .dynamic = is_long(2 * rows * columns * K, w->n),
                  .own = own},
    };
}

/* Rows [*begin, *end) of a tile. */
INLINE void rows_of(const work *todo, int64_t tile, int64_t *begin, int64_t *end) {
    const int64_t group = tile % todo->tiles.groups, last = (group + 1) * todo->group_blocks;
    *begin = todo->first + todo->rows * (group * todo->group_blocks) / todo->blocks;
    *end = todo->first + todo->rows * (last < todo->blocks ? last : todo->blocks) / todo->blocks;
}

/* Rows done before their epilogue: one register tile where a sum takes one go, so that it stays in the nearest cache. */
INLINE int64_t strips_of(int64_t rows, const product *p) {
    return p->K <= p->KC ? row_blocks(rows, MR) : (rows + STRIP_ROWS - 1) / STRIP_ROWS;
}

/* The worker's scratch: c and spare (STRIP_ROWS panels' rows each), then the packed panel of a weight. */
INLINE real *scratch_c(const fr_worker *w) { return (real *)w->scratch; }
INLINE real *scratch_spare(const fr_worker *w) { return scratch_c(w) + STRIP_ROWS * FR_PANEL; }
INLINE real *scratch_packed(const fr_worker *w) { return scratch_spare(w) + STRIP_ROWS * FR_PANEL; }

/* Asks for all of a small matrix at once: other workers have just written parts of it, and one line after the other
 * would wait for each. */
INLINE void fetch(const fr_worker *w, const fr_matrix *m, int64_t rows, int64_t columns) {
    if (w->n == 1 || rows * m->ld > 16 * 1024) return;
    for (int64_t row = 0; row < rows; row++) {
        prefetch((const real *)m->data + row * m->ld, columns * (int64_t)sizeof(real));
    }
}

/* Panel `panel` of a weight, or of the weight transposed, which has `columns` columns in all. */
INLINE b_panel panel_of(const fr_matrix *weight, int64_t panel, int64_t columns, int transposed) {
    const int64_t column = panel * FR_PANEL, left = columns - column;
    return (b_panel){
        .data = (const real *)weight->data + column * (transposed ? weight->ld : 1),
        .ld = weight->ld,
        .columns = left < FR_PANEL ? left : FR_PANEL,
        .transposed = transposed,
    };
}

/* x * weight, or x * weight^T, `columns` wide, with sums of K terms: the panel that tile t needs, and the one that this
 * worker will need next, if that is another and comes from far. */
INLINE product product_of(const fr_worker *w, const work *todo, int64_t t, int64_t columns, int64_t K, int transposed) {
    const fr_matrix *x = &w->op->x, *weight = &w->op->weight.value;
    const int64_t panel = t / todo->tiles.groups, after = (t + 1) / todo->tiles.groups;
    const int far = is_far(K * columns);
    product p = {.a = x->data, .layout = A_ROWS, .s = x->ld, .K = K, .KC = far ? FAR_KC : FR_KC};
    p.b = panel_of(weight, panel, columns, transposed);
    if (far && fr_is_mine(&todo->tiles, t + 1) && after != panel)
        p.after = panel_of(weight, after, columns, transposed);
    return p;
}

static void op_dense(fr_worker *w) {
    const fr_op *op = w->op;
    const real *bias = op->bias.value.data;
    real *c = scratch_c(w);
    work todo = work_of(w, op->N, op->K);
    fetch(w, &op->weight.value, op->K, op->N);
    int64_t t;
    while ((t = fr_next_tile(w, &todo.tiles)) >= 0) {
        const int64_t panel = t / todo.tiles.groups, column = panel * FR_PANEL;
        const int vectors = vectors_of(op->N, panel);
        const product p = product_of(w, &todo, t, op->N, op->K, 0);
        int64_t begin, end;
        rows_of(&todo, t, &begin, &end);
        const int64_t strips = strips_of(end - begin, &p);
        for (int64_t s = 0; s < strips; s++) {
            const int64_t first = begin + (end - begin) * s / strips, last = begin + (end - begin) * (s + 1) / strips;
            multiply(c, scratch_spare(w), &p, first, last - first, vectors, s, strips);
            for (int64_t row = first; row < last; row++) {
                real *z = c + (row - first) * FR_PANEL;
                if (bias) {
                    for (int j = 0; j < vectors * VL; j += VL) vstore(z + j, vload(z + j) + vload(bias + column + j));
                }
                if (op->noise.std != 0) noise_row(z, z, vectors, &op->noise, w, w->batch.line + row, column);
                if (op->z.data) memcpy((real *)op->z.data + row * op->z.ld + column, z, sizeof(vec) * (size_t)vectors);
                real *y = (real *)op->out.data + row * op->out.ld + column;
                forward_row(y, z, vectors, op->activation, &op->mask, w, row, column);
                if (op->activity.data) {
                    const int64_t left = op->N - column;
                    real *sums = (real *)op->activity.data + row * op->activity.ld;
                    sums[panel] = sum_of_sizes(y, left < FR_PANEL ? left : FR_PANEL);
                }
            }
        }
    }
}

static void op_dense_dx(fr_worker *w) {
    const fr_op *op = w->op;
    real *c = scratch_c(w);
    work todo = work_of(w, op->K, op->N);
    int64_t t, held_panel = -1, held = -1;
    while ((t = fr_next_tile(w, &todo.tiles)) >= 0) {
        const int64_t panel = t / todo.tiles.groups, column = panel * FR_PANEL;
        const int vectors = vectors_of(op->K, panel);
        if (panel != held_panel) held_panel = panel, held = -1;
        product p = product_of(w, &todo, t, op->K, op->N, 1);
        p.packed = scratch_packed(w), p.held = &held;
        int64_t begin, end;
        rows_of(&todo, t, &begin, &end);
        const int64_t strips = strips_of(end - begin, &p);
        for (int64_t s = 0; s < strips; s++) {
            const int64_t first = begin + (end - begin) * s / strips, last = begin + (end - begin) * (s + 1) / strips;
            multiply(c, scratch_spare(w), &p, first, last - first, vectors, s, strips);
            for (int64_t row = first; row < last; row++) {
                real *dz = (real *)op->out.data + row * op->out.ld + column;
                backward_row(dz, c + (row - first) * FR_PANEL, op->K, &op->through, w, row, column);
            }
        }
    }
}

#endif
