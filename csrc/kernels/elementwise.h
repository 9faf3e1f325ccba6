/* elementwise: out = through'(dropout(x + noise)), for riders that no neighbouring op can carry. Forward there is
 *              no through': its y.data is NULL. Workers take equal shares of the rows.
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
    const fr_range mine = fr_share(w, w->batch.rows);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const real *x = (const real *)op->x.data + row * op->x.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            const real *in = x + column;
            if (op->noise.std != 0) {
                noise_row(out + column, in, &op->noise, &part);
                in = out + column;
            }
            forward_row(out + column, in, FR_LINEAR, &op->mask, &part);
            if (back) backward_row(out + column, out + column, &op->through, &part);
        }
    }
}

static void op_perturb(fr_worker *w) {
    const fr_perturb_op *op = &w->op->perturb;
    fr_tiles tiles_left = {.panels = 1, .groups = op->rows, .weight = 1, .last = 1};
    tiles_left.dynamic = op->rows * op->columns > 1000 * 1000;
    int64_t row;
    while ((row = fr_next_tile(w, &tiles_left)) >= 0) {
        const real *weight = (const real *)op->weight.data + row * op->weight.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t column = 0; column < op->columns; column += FR_PANEL) {
            const row_part part = {w, row, column, panel_columns(op->columns, column), .line = (uint32_t)row};
            noise_row(out + column, weight + column, &op->noise, &part);
        }
    }
}

#endif
