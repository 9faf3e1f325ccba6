/* gather: the rows of a batch, from any dtype and strides to the working dtype. On the way come augmentation,
 *         standardization, mixup with another row, noise and dropout, in this order.
 * emit:   rows of the last layer to the caller's array.
 *
 * Workers take equal shares of the rows.
 */
#ifndef FR_GATHER_H
#define FR_GATHER_H

#include "activation.h"
#include "augment.h"
#include "bf16.h"
#include "rows.h"
#include "sparse.h"

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

/* A row of the data as it is at this position of the epoch, before it is mixed. */
INLINE void take_row(real *out, fr_worker *w, const fr_gather_op *op, const fr_source *source, const augment_room *room,
                     int64_t position) {
    const int is_float = source->dtype == FR_FLOAT32 || source->dtype == FR_FLOAT64;
    read_row(out, source, fr_index_at(w->feed, position));
    const int64_t columns = source->columns;
    if (is_float && !(op->holes ? take_floats(out, columns, 1) : take_floats(out, columns, 0))) {
        refuse_row(w, position);
    }
    if (op->augment) augment_image(out, room, w, (uint32_t)position);
    if (op->mean.data) standardize(out, op->mean.data, op->scale.data, op->columns);
}

/* The same, of a row to mix with: seldom wanted, so out of the way of the others. */
static void take_other(real *out, fr_worker *w, const augment_room *room, int64_t position) {
    const fr_gather_op *op = &w->op->gather;
    take_row(out, w, op, &w->feed->source[op->source], room, position);
}

/* x = share * x + (1 - share) * other */
INLINE void mix_row(real *x, const real *other, const fr_mixture *mixture, int64_t n) {
    const vec share = vset1((real)mixture->share), rest = vset1((real)(1 - mixture->share));
    for (int64_t j = 0; j < n; j += VL) vstore(x + j, vfma(share, vload(x + j), rest * vload(other + j)));
}

/* The row of the batch that row `row` is mixed with. */
INLINE int64_t mixed_with(const fr_worker *w, const fr_mixture *mixture, int64_t row) {
    return (row + mixture->shift) % w->batch.count;
}

/* Where the room for another row begins, after that for images. */
INLINE size_t other_row_at(const fr_gather_op *op) {
    return op->augment ? (size_t)fr_augment_layout(op->augment).size * sizeof(real) : 0;
}

static size_t gather_scratch_bytes(const fr_gather_op *op) {
    return other_row_at(op) + (op->mix.alpha > 0 ? (size_t)(op->columns + FR_PANEL) * sizeof(real) : 0);
}

/* Rows that products read as they are. */
static void check_rows(fr_worker *w, const fr_source *source) {
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const int64_t position = w->batch.first + row;
        if (!is_finite_row(source, fr_index_at(w->feed, position))) refuse_row(w, position);
    }
}

static void op_gather(fr_worker *w) {
    const fr_gather_op *op = &w->op->gather;
    const fr_source *source = &w->feed->source[op->source];
    augment_room room;
    if (op->augment) room = augment_room_of(op->augment, w->scratch);
    if (op->direct && sparse_rows(w, op->source)) {
        check_rows(w, source);
        return;
    }
    const fr_mixture mixture = fr_draw_mixture(&op->mix, w->feed->seed, w->batch.step, w->batch.count);
    real *other = (real *)(w->scratch + other_row_at(op));
    const fr_range mine = fr_share_of_rows(w);
    int64_t asked = mine.begin + 1;
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        real *out = (real *)op->out.data + row * op->out.ld;
        if (w->feed->order) {
            for (; asked < mine.end && asked <= row + ROWS_AHEAD; asked++) {
                const int64_t index = w->feed->order[w->batch.first + asked];
                fetch_row(source, index);
                fetch_label(w->feed, index);
            }
        }
        take_row(out, w, op, source, &room, w->batch.first + row);
        if (mixture.shift) {
            take_other(other, w, &room, w->batch.first + mixed_with(w, &mixture, row));
            mix_row(out, other, &mixture, op->columns);
        }
        if (op->noise.std != 0) {
            const row_part all = part_of_row(w, row, 0, op->columns);
            noise_row(out, out, &op->noise, &all, NULL);
        }
        for (int64_t column = 0; masked_as(&op->mask) && column < op->columns; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(op->columns, column));
            forward_row(out + column, out + column, FR_LINEAR, &op->mask, &part);
        }
        also_rounded(&op->rounded, out, row, 0, vectors_of(op->columns));
    }
}

#endif
