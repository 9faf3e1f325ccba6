/* elementwise: out = through'(dropout(x + noise)), where these have no neighbour to ride on. Forward there is no way back
 * (through.y.data is NULL). A tile is one row by COLUMNS columns.
 */
#ifndef FR_ELEMENTWISE_H
#define FR_ELEMENTWISE_H

#include "activation.h"

static void op_elementwise(fr_worker *w) {
    enum { COLUMNS = 4096 };
    const fr_op *op = w->op;
    const int64_t M = w->batch.rows, N = op->N;
    const int back = op->through.y.data != NULL;
    fr_tiles tiles_left = {.panels = (N + COLUMNS - 1) / COLUMNS, .groups = M, .weight = 1, .last = 1};
    tiles_left.dynamic = M * N > 1000 * 1000;
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t row = t % M, begin = t / M * COLUMNS, end = begin + COLUMNS < N ? begin + COLUMNS : N;
        const real *x = (const real *)op->x.data + row * op->x.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t column = begin; column < end; column += FR_PANEL) {
            const int vectors = vectors_of(N, column / FR_PANEL);
            const real *in = x + column;
            if (op->noise.std != 0) {
                noise_row(out + column, in, vectors, &op->noise, w, row, column);
                in = out + column;
            }
            forward_row(out + column, in, vectors, FR_LINEAR, &op->mask, w, row, column);
            if (back) backward_row(out + column, out + column, vectors, &op->through, w, row, column);
        }
    }
}

#endif
