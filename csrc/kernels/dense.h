/* dense:    out = dropout(activation(x * weight + bias))
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
#include "transpose.h"

INLINE int64_t panels_of(int64_t columns) { return (columns + FR_PANEL - 1) / FR_PANEL; }

/* Long enough for the counter's cost not to show, and for a neighbour's interruption to hurt. */
INLINE int is_long(int64_t flops, int workers) { return flops / workers > 10 * 1000 * 1000; }

/* Tiles of an (M x columns) result whose sums have K terms. Groups of row blocks are as tall as leaves every
 * worker some eight tiles, so that shares come out even. */
INLINE fr_tiles tiles_of(const fr_worker *w, int64_t M, int64_t columns, int64_t K, int64_t *group_blocks) {
    const int64_t blocks = row_blocks(M, MR), panels = panels_of(columns);
    int64_t tall = w->n == 1 ? blocks : blocks * panels / (8 * w->n);
    tall = tall < 1 ? 1 : tall > STRIP_ROWS / MR ? STRIP_ROWS / MR : tall;
    *group_blocks = tall;
    return (fr_tiles){
        .panels = panels,
        .groups = (blocks + tall - 1) / tall,
        .weight = FR_PANEL / VL,
        .last = vectors_of(columns, panels - 1),
        .dynamic = is_long(2 * M * columns * K, w->n),
    };
}

/* Rows [*begin, *end) of a group of row blocks. */
INLINE void rows_of(int64_t M, int64_t group, int64_t group_blocks, int64_t *begin, int64_t *end) {
    const int64_t blocks = row_blocks(M, MR), last = (group + 1) * group_blocks;
    *begin = M * (group * group_blocks) / blocks;
    *end = M * (last < blocks ? last : blocks) / blocks;
}

/* Rows done before their epilogue: one register tile where a sum takes one go, so that it stays in the nearest cache. */
INLINE int64_t strips_of(int64_t rows, int64_t K) {
    return K <= KC ? row_blocks(rows, MR) : (rows + STRIP_ROWS - 1) / STRIP_ROWS;
}

/* The worker's scratch: c and spare (STRIP_ROWS panels' rows each), then the packed panel of a weight. */
INLINE real *scratch_c(const fr_worker *w) { return (real *)w->scratch; }
INLINE real *scratch_spare(const fr_worker *w) { return scratch_c(w) + STRIP_ROWS * FR_PANEL; }
INLINE real *scratch_packed(const fr_worker *w) { return scratch_spare(w) + STRIP_ROWS * FR_PANEL; }

static void op_dense(fr_worker *w) {
    const fr_op *op = w->op;
    const int64_t M = w->batch.rows;
    const real *weight = op->weight.value.data, *bias = op->bias.value.data;
    real *c = scratch_c(w);
    int64_t tall, t;
    fr_tiles tiles_left = tiles_of(w, M, op->N, op->K, &tall);
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t panel = t / tiles_left.groups, column = panel * FR_PANEL;
        const int vectors = vectors_of(op->N, panel);
        const product p = {op->x.data, A_ROWS, op->x.ld, weight + column, op->weight.value.ld, op->K, NULL};
        int64_t begin, end;
        rows_of(M, t % tiles_left.groups, tall, &begin, &end);
        const int64_t strips = strips_of(end - begin, op->K);
        for (int64_t s = 0; s < strips; s++) {
            const int64_t first = begin + (end - begin) * s / strips, last = begin + (end - begin) * (s + 1) / strips;
            multiply(c, scratch_spare(w), &p, first, last - first, vectors);
            for (int64_t row = first; row < last; row++) {
                real *z = c + (row - first) * FR_PANEL;
                if (bias) {
                    for (int j = 0; j < vectors * VL; j += VL) vstore(z + j, vload(z + j) + vload(bias + column + j));
                }
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
    const int64_t M = w->batch.rows;
    const real *weight = op->weight.value.data;
    const int64_t ld = op->weight.value.ld;
    real *c = scratch_c(w), *packed = scratch_packed(w);
    int64_t tall, t;
    fr_tiles tiles_left = tiles_of(w, M, op->K, op->N, &tall);
    w->packed = -1; /* the weight has changed since the last batch */
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t panel = t / tiles_left.groups, column = panel * FR_PANEL;
        const int vectors = vectors_of(op->K, panel);
        if (w->packed != panel) {
            const int64_t rows = op->K - column < FR_PANEL ? op->K - column : FR_PANEL;
            pack_transposed(packed, weight + column * ld, ld, rows, op->N);
            w->packed = panel;
        }
        const product p = {op->x.data, A_ROWS, op->x.ld, packed, FR_PANEL, op->N, NULL};
        int64_t begin, end;
        rows_of(M, t % tiles_left.groups, tall, &begin, &end);
        const int64_t strips = strips_of(end - begin, op->N);
        for (int64_t s = 0; s < strips; s++) {
            const int64_t first = begin + (end - begin) * s / strips, last = begin + (end - begin) * (s + 1) / strips;
            multiply(c, scratch_spare(w), &p, first, last - first, vectors);
            for (int64_t row = first; row < last; row++) {
                real *dz = (real *)op->out.data + row * op->out.ld + column;
                backward_row(dz, c + (row - first) * FR_PANEL, vectors, &op->through, w, row, column);
            }
        }
    }
}

#endif
