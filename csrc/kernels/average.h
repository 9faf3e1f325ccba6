/* average: the exponential mean of a parameter over the steps, out += rate * (param - out).
 *
 * rate = (1 - decay) / (1 - decay^count), which is 1 in the first step: the weights of all steps then add up to 1 (Kingma
 * and Ba, 2015, correct Adam's moments in the same way). count: the number of the step, from the op before.
 *
 * Elements are independent of each other, so the bits do not depend on who does which.
 */
#ifndef FR_AVERAGE_H
#define FR_AVERAGE_H

#include "../worker.h"
#include "tiles.h"
#include "update.h"
#include "vec.h"

static void op_count(fr_worker *w) {
    if (w->id == 0) *(real *)w->op->count.count.data += 1;
}

/* base^n by squaring: no function of the system's libm, so every machine gives the same bits. */
static double whole_power(double base, int64_t n) {
    double power = 1;
    for (; n > 0; n >>= 1, base *= base) {
        if (n & 1) power *= base;
    }
    return power;
}

static void op_average(fr_worker *worker) {
    const fr_average_op *op = &worker->op->average;
    const real count = *(const real *)op->count.data; /* 0 only where the op before has not run */
    const double rest = 1 - whole_power(op->decay, count < 1 ? 1 : (int64_t)count);
    const vec rate = vset1((real)((1 - op->decay) / rest));
    const int plain = 1 - op->decay == rest; /* a copy, to the bit */
    const fr_param param = {.value = op->param, .rows = op->rows, .columns = op->columns};
    fr_tiles tiles_left = update_tiles(&param);
    int64_t t;
    while ((t = fr_next_tile(worker, &tiles_left)) >= 0) {
        const region tile = update_tile(&param, &tiles_left, t);
        for (int64_t row = tile.row; row < tile.row + tile.rows; row++) {
            const real *new = address(&op->param, row, tile.column);
            real *out = address(&op->out, row, tile.column);
            for (int64_t j = 0; j < tile.columns; j += VL) {
                const vec w = vload(new + j), old = vload(out + j);
                vstore(out + j, plain ? w : vfma(rate, w - old, old));
            }
        }
    }
}

#endif
