/* dense:    out = dropout(activation(x * weight + bias + noise))
 * dense_dx: out = through'(dz * weight^T)
 *
 * Where an activity penalty asks for it, dense also leaves the sums of |out| over the columns of every panel.
 *
 * Both are done in pieces of some columns by some groups of row blocks (division.h).
 *
 * A target sets, before it includes this file,
 *   FAR_KC   terms of a weight from far done in one go: the second-level cache is to hold all of x, the terms at hand, those
 *            asked for ahead, and those just done, which it does not know to be of no more use
 */
#ifndef FR_DENSE_H
#define FR_DENSE_H

#include "activation.h"
#include "division.h"
#include "gemm.h"
#include "lanes.h"

/* What this worker does of an op on the batch: `blocks` row blocks in groups of some. */
typedef struct {
    division parts;
    int64_t first, rows, blocks, group_blocks;
    int far; /* the weight */
} work;

/* Of a result of so many columns whose sums have K terms. Groups of row blocks are as tall as leaves every worker some
 * eight tiles, so that shares come out even; a worker with rows of its own need not care, and a share in columns may end at
 * any block. */
INLINE work work_of(const fr_worker *w, int64_t columns, int64_t K) {
    const int own = w->op->rowwise;
    int64_t first = 0, end = w->batch.rows;
    if (own) fr_share(w, w->batch.rows, &first, &end);
    const int64_t rows = end - first, blocks = row_blocks(rows, MR);
    work todo = {.first = first, .rows = rows, .blocks = blocks, .group_blocks = 1, .far = is_far(K * columns)};
    const int dynamic = is_long(2 * rows * columns * K, w->n);
    /* sums of sizes (activity) are kept for whole panels */
    if (!own && !w->op->activity.data && shares_columns(w, columns, dynamic, todo.far)) {
        todo.parts = divide_columns(w, columns, blocks);
        return todo;
    }
    const int64_t tall = own || w->n == 1 ? blocks : blocks * panels_of(columns) / (8 * w->n);
    todo.group_blocks = tall < 1 ? 1 : tall > STRIP_ROWS / MR ? STRIP_ROWS / MR : tall;
    todo.parts = divide_tiles(columns, row_blocks(blocks, todo.group_blocks), dynamic, own, 0);
    return todo;
}

/* Rows [*begin, *end) of a piece. */
INLINE void rows_of(const work *todo, const piece *p, int64_t *begin, int64_t *end) {
    const int64_t last = p->last * todo->group_blocks;
    *begin = todo->first + todo->rows * (p->first * todo->group_blocks) / todo->blocks;
    *end = todo->first + todo->rows * (last < todo->blocks ? last : todo->blocks) / todo->blocks;
}

/* Rows done before their epilogue: one register tile where a sum takes one go, so that it stays in the nearest cache. */
INLINE int64_t strips_of(int64_t rows, const product *p) {
    return p->K <= p->terms ? row_blocks(rows, MR) : (rows + STRIP_ROWS - 1) / STRIP_ROWS;
}

/* Columns of a weight, or of the weight transposed. */
INLINE b_panel panel_of(const fr_matrix *weight, const piece *at, int transposed) {
    return (b_panel){
        .data = (const real *)weight->data + at->column * (transposed ? weight->ld : 1),
        .ld = weight->ld,
        .columns = at->columns,
        .transposed = transposed,
    };
}

/* x * weight, or x * weight^T, with sums of K terms: the columns at hand, and those that this worker will need next, if they
 * are others and come from far. */
INLINE product product_of(const fr_worker *w, const work *todo, const piece *at, int64_t K, int transposed) {
    const fr_matrix *x = &w->op->x, *weight = &w->op->weight.value;
    product p = {.a = x->data, .layout = A_ROWS, .s = x->ld, .K = K, .terms = todo->far ? FAR_KC : KC};
    if (w->n > 1) p.claimed = (fr_matrix){(real *)w->op->out.data + at->column, w->op->out.ld};
    p.b = panel_of(weight, at, transposed);
    if (todo->far && fr_is_mine(&todo->parts.tiles, at->tile + 1)) {
        const piece after = piece_of(&todo->parts, at->tile + 1);
        if (after.column != at->column) p.after = panel_of(weight, &after, transposed);
    }
    return p;
}

static void op_dense(fr_worker *w) {
    const fr_op *op = w->op;
    const real *bias = op->bias.value.data;
    product_scratch *scratch = scratch_of(w);
    real *c = scratch->c;
    work todo = work_of(w, op->N, op->K);
    fetch(w, &op->weight.value, op->K, op->N);
    piece at;
    while (next_piece(w, &todo.parts, &at)) {
        const int64_t column = at.column;
        const int vectors = vectors_of(at.columns);
        const product p = product_of(w, &todo, &at, op->K, 0);
        int64_t begin, end;
        rows_of(&todo, &at, &begin, &end);
        const int64_t strips = strips_of(end - begin, &p);
        const row_heights heights = heights_of(end - begin, strips);
        for (int64_t s = 0, first = begin, last; s < strips; s++, first = last) {
            last = first + height_of(&heights, s);
            multiply(c, scratch->spare, &p, first, last - first, vectors, s, strips);
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
                    real *sums = (real *)op->activity.data + row * op->activity.ld;
                    sums[column / FR_PANEL] = sum_of_sizes(y, at.columns);
                }
            }
        }
    }
}

static void op_dense_dx(fr_worker *w) {
    const fr_op *op = w->op;
    product_scratch *scratch = scratch_of(w);
    real *c = scratch->c;
    work todo = work_of(w, op->K, op->N);
    piece at;
    int64_t held_column = -1, held = -1;
    while (next_piece(w, &todo.parts, &at)) {
        const int vectors = vectors_of(at.columns);
        if (at.column != held_column) held_column = at.column, held = -1;
        product p = product_of(w, &todo, &at, op->N, 1);
        p.packed = scratch->packed, p.held = &held;
        int64_t begin, end;
        rows_of(&todo, &at, &begin, &end);
        const int64_t strips = strips_of(end - begin, &p);
        const row_heights heights = heights_of(end - begin, strips);
        for (int64_t s = 0, first = begin, last; s < strips; s++, first = last) {
            last = first + height_of(&heights, s);
            multiply(c, scratch->spare, &p, first, last - first, vectors, s, strips);
            for (int64_t row = first; row < last; row++) {
                real *dz = (real *)op->out.data + row * op->out.ld + at.column;
                backward_row(dz, c + (row - first) * FR_PANEL, at.columns, &op->through, w, row, at.column);
            }
        }
    }
}

#endif
