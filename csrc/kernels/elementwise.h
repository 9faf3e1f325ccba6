/* elementwise: out = through'(dropout(x + noise)), where these have no neighbour to ride on. Forward there is no way back
 * (through.y.data is NULL). Workers take equal shares of the rows.
 * perturb:     out = weight + noise, the copy of a weight that a batch is multiplied by. A tile is one row of it.
 */
#ifndef FR_ELEMENTWISE_H
#define FR_ELEMENTWISE_H

#include "activation.h"
#include "tiles.h"

static void op_elementwise(fr_worker *w) {
    const fr_op *op = w->op;
    const int64_t N = op->N;
    const int back = op->through.y.data != NULL;
    int64_t begin, end;
    fr_share(w, w->batch.rows, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const real *x = (const real *)op->x.data + row * op->x.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            const int vectors = panel_vectors(N, column);
            const real *in = x + column;
            if (op->noise.std != 0) {
                noise_row(out + column, in, vectors, &op->noise, w, w->batch.line + row, column);
                in = out + column;
            }
            forward_row(out + column, in, vectors, FR_LINEAR, &op->mask, w, row, column);
            if (back) backward_row(out + column, out + column, panel_columns(N, column), &op->through, w, row, column);
        }
    }
}

static void op_perturb(fr_worker *w) {
    const fr_op *op = w->op;
    const fr_param *p = &op->weight;
    fr_tiles tiles_left = {.panels = 1, .groups = p->rows, .weight = 1, .last = 1};
    tiles_left.dynamic = p->rows * p->columns > 1000 * 1000;
    int64_t row;
    while ((row = fr_next_tile(w, &tiles_left)) >= 0) {
        const real *weight = (const real *)p->value.data + row * p->value.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t column = 0; column < p->columns; column += FR_PANEL) {
            noise_row(out + column, weight + column, panel_vectors(p->columns, column), &op->noise, w, row, column);
        }
    }
}

#endif
