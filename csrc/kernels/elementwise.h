/* elementwise: out = dropout(activation(x + plus + noise)), for sums, and for riders that no neighbouring op can carry.
 *              On the way back out = or += through'(mask * x). Workers take equal shares of the rows.
 * perturb:     out = weight + noise, the copy of a weight that a batch is multiplied by. A tile is one of its rows.
 */
#ifndef FR_ELEMENTWISE_H
#define FR_ELEMENTWISE_H

#include "activation.h"
#include "tiles.h"

static void op_elementwise(fr_worker *w) {
    const fr_elementwise_op *op = &w->op->elementwise;
    const int64_t N = op->N;
    const int back = op->through.y.data != NULL;
    const int within = op->within;
    real from[FR_PANEL] = {0}, to[FR_PANEL];
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *x = (const real *)op->x.data + row * op->x.ld + op->x_column;
        const real *plus = op->plus.data ? (const real *)op->plus.data + row * op->plus.ld : NULL;
        real *z = op->z.data ? (real *)op->z.data + row * op->z.ld : NULL;
        real *out = (real *)op->out.data + row * op->out.ld + op->out_column;
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            const int vectors = vectors_of(part.columns);
            const size_t bytes = sizeof(real) * (size_t)part.columns;
            real *y = within || op->add ? to : out + column;
            const real *in = x + column;
            if (within) in = memcpy(from, in, bytes);
            if (plus) {
                for (int j = 0; j < vectors * VL; j += VL) vstore(y + j, vload(in + j) + vload(plus + column + j));
                in = y;
            }
            if (op->noise.std != 0) {
                noise_row(y, in, &op->noise, &part, NULL);
                in = y;
            }
            if (z) memcpy(z + column, in, sizeof(vec) * (size_t)vectors);
            forward_row(y, in, op->activation, &op->mask, &part);
            if (back) backward_row(y, y, &op->through, &part);
            if (op->add) {
                for (int64_t j = 0; j < part.columns; j++) out[column + j] += y[j];
            } else if (within) {
                memcpy(out + column, y, bytes);
            }
        }
    }
}

static void op_perturb(fr_worker *w) {
    const fr_perturb_op *op = &w->op->perturb;
    fr_tiles tiles_left = {.panels = 1, .groups = op->rows, .weight = 1, .last = 1};
    tiles_left.dynamic = op->rows * op->columns > 1000 * 1000;
    late_draws late;
    late.count = 0;
    int64_t row;
    while ((row = fr_next_tile(w, &tiles_left)) >= 0) {
        const real *weight = (const real *)op->weight.data + row * op->weight.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        const row_part all = {w, row, 0, op->columns, .line = (uint32_t)row};
        noise_row(out, weight, &op->noise, &all, &late);
    }
    finish_late(&late, vset1((real)op->noise.std));
}

#endif
