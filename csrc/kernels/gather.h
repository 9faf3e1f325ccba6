/* gather: the rows of a batch, from any dtype and strides to the working dtype. On the way come augmentation,
 *         standardization, noise and dropout, in this order.
 * emit:   rows of the last layer to the caller's array.
 *
 * Workers take equal shares of the rows.
 */
#ifndef FR_GATHER_H
#define FR_GATHER_H

#include "activation.h"
#include "augment.h"
#include "rows.h"

/* Sets small numbers to 0, and tells whether all are finite: x - x is 0 for finite x and NaN for all others. What follows
 * them, up to a whole vector, may be anything. With holes NaN is as good as a finite number. */
INLINE int take_floats(real *x, int64_t n, int holes) {
    vec sum = {0};
    int64_t j = 0;
    for (; j + VL <= n; j += VL) {
        const vec a = vload(x + j);
        vstore(x + j, vnormal_or_zero(a));
        const vec difference = a - a;
        sum += holes ? vkeep(a == a, difference) : difference;
    }
    real rest = 0;
    for (int64_t k = j; k < n; k++) rest += holes && x[k] != x[k] ? 0 : x[k] - x[k];
    if (j < n) vstore(x + j, vnormal_or_zero(vload(x + j)));
    for (int i = 0; i < VL; i++) rest += sum[i];
    return rest == 0;
}

/* x = (x - mean) * scale */
static void standardize(real *x, const real *mean, const real *scale, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) vstore(x + j, (vload(x + j) - vload(mean + j)) * vload(scale + j));
}

enum { ROWS_AHEAD = 6 };

static void op_gather(fr_worker *w) {
    const fr_gather_op *op = &w->op->gather;
    const fr_source *source = &w->feed->source[op->source];
    const int is_float = source->dtype == FR_FLOAT32 || source->dtype == FR_FLOAT64;
    augment_room room;
    if (op->augment) room = augment_room_of(op->augment, w->scratch);
    const fr_range mine = fr_share(w, w->batch.rows);
    int64_t asked = mine.begin + 1;
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const int64_t position = w->batch.first + row;
        real *out = (real *)op->out.data + row * op->out.ld;
        if (w->feed->order) {
            for (; asked < mine.end && asked <= row + ROWS_AHEAD; asked++) {
                const int64_t index = w->feed->order[w->batch.first + asked];
                fetch_row(source, index);
                fetch_label(w->feed, index);
            }
        }
        read_row(out, source, fr_index_at(w->feed, position));
        const int64_t columns = source->columns;
        if (is_float && !(op->holes ? take_floats(out, columns, 1) : take_floats(out, columns, 0))) {
            refuse_row(w, position);
        }
        if (op->augment) augment_image(out, &room, w, (uint32_t)position);
        if (op->mean.data) standardize(out, op->mean.data, op->scale.data, op->columns);
        if (op->noise.std == 0 && !masked_as(&op->mask)) continue;
        for (int64_t column = 0; column < op->columns; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(op->columns, column));
            real *x = out + column;
            if (op->noise.std != 0) noise_row(x, x, &op->noise, &part);
            if (masked_as(&op->mask)) forward_row(x, x, FR_LINEAR, &op->mask, &part);
        }
    }
}

#endif
