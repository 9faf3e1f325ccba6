/* append: rows M .. 2 M - 1 of out become its rows 0 .. M - 1, moved by epsilon sign(gradient) and cut to low .. high;
 *         a plain copy without a gradient. Under a standardization, (x - mean) * scale, epsilon and the bounds are
 *         those of x.
 *
 * Workers take equal shares of the M rows.
 */
#ifndef FR_APPEND_H
#define FR_APPEND_H

#include "vec.h"

static void append_row(real *y, const real *x, const real *g, const fr_append_op *op) {
    const real *mean = op->mean.data, *scale = op->scale.data;
    const vec zero = {0}, epsilon = vset1((real)op->epsilon);
    const vec low = vset1((real)op->low), high = vset1((real)op->high);
    for (int64_t j = 0; j < op->N; j += VL) {
        const vec gj = vload(g + j), scaled = scale ? vload(scale + j) : vset1(1);
        const vec step = epsilon * vabs(scaled);
        vec moved = vload(x + j) + (vkeep(gj > zero, step) - vkeep(gj < zero, step));
        if (op->clipped) {
            const vec shift = mean ? vload(mean + j) : zero;
            const vec a = (low - shift) * scaled, b = (high - shift) * scaled; /* b < a where the scale is negative */
            moved = vmin(vmax(moved, vmin(a, b)), vmax(a, b));
        }
        vstore(y + j, moved);
    }
}

static void op_append(fr_worker *w) {
    const fr_append_op *op = &w->op->append;
    const fr_range mine = fr_share(w, w->batch.count);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *x = (const real *)op->out.data + row * op->out.ld;
        real *y = (real *)op->out.data + (w->batch.count + row) * op->out.ld;
        if (!op->gradient.data) {
            memcpy(y, x, sizeof(real) * (size_t)op->N);
            continue;
        }
        append_row(y, x, (const real *)op->gradient.data + row * op->gradient.ld, op);
    }
}

#endif
