/* gather: the rows of a batch, from any dtype and strides to the working dtype; augmentation, standardization, noise
 *         and dropout on the way, in this order.
 * emit:   rows of the last layer to the caller's array.
 *
 * Workers take equal shares of the rows.
 */
#ifndef FR_GATHER_H
#define FR_GATHER_H

#include "activation.h"
#include "augment.h"

#define FOR_EACH_DTYPE(CASE)                                                                                           \
    CASE(FR_U8, uint8_t)                                                                                               \
    CASE(FR_I8, int8_t)                                                                                                \
    CASE(FR_U16, uint16_t)                                                                                             \
    CASE(FR_I16, int16_t)                                                                                              \
    CASE(FR_I32, int32_t)                                                                                              \
    CASE(FR_I64, int64_t)                                                                                              \
    CASE(FR_FLOAT32, float)                                                                                            \
    CASE(FR_FLOAT64, double)

/* One row of the source in the working dtype. Elements need not be aligned. */
static void read_row(real *out, const fr_source *source, int64_t index) {
    const char *in = source->data + index * source->row_stride;
    const int64_t *offsets = source->offsets;
    switch (source->dtype) {
#define CASE(DTYPE, TYPE)                                                                                              \
    case DTYPE: {                                                                                                      \
        typedef TYPE element __attribute__((aligned(1), may_alias));                                                   \
        if (offsets) {                                                                                                 \
            for (int64_t j = 0; j < source->columns; j++) out[j] = (real) * (const element *)(in + offsets[j]);        \
        } else {                                                                                                       \
            for (int64_t j = 0; j < source->columns; j++) out[j] = (real)((const element *)in)[j];                     \
        }                                                                                                              \
        break;                                                                                                         \
    }
        FOR_EACH_DTYPE(CASE)
#undef CASE
    }
}

enum { ROWS_AHEAD = 6 };

/* Asks for a row that is read soon: rows come in a random order, which no hardware foresees. The second-level cache waits
 * for twice as many lines from memory at a time as the first. */
static void fetch_row(const fr_source *source, int64_t index) {
#define CASE(DTYPE, TYPE) [DTYPE] = sizeof(TYPE),
    static const int64_t sizes[] = {FOR_EACH_DTYPE(CASE)};
#undef CASE
    if (!source->offsets)
        prefetch_near(source->data + index * source->row_stride, source->columns * sizes[source->dtype]);
}

/* What the loss reads of a row is as far away. */
static void fetch_label(const fr_feed *feed, int64_t index) {
    if (feed->labels) prefetch_near(feed->labels + index, sizeof *feed->labels);
    if (feed->weights) prefetch_near((const real *)feed->weights + index, sizeof(real));
}

/* x - x is 0 for finite x and NaN for all others */
static int all_finite(const real *x, int64_t n) {
    vec sum = {0};
    int64_t j = 0;
    for (; j + VL <= n; j += VL) sum += vload(x + j) - vload(x + j);
    real rest = 0;
    for (; j < n; j++) rest += x[j] - x[j];
    for (int i = 0; i < VL; i++) rest += sum[i];
    return rest == 0;
}

/* x = (x - mean) * scale */
static void standardize(real *x, const real *mean, const real *scale, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) vstore(x + j, (vload(x + j) - vload(mean + j)) * vload(scale + j));
}

static void op_gather(fr_worker *w) {
    const fr_op *op = w->op;
    const fr_source *source = &w->feed->source[op->source];
    const int is_float = source->dtype == FR_FLOAT32 || source->dtype == FR_FLOAT64;
    augment_room room;
    if (op->augment) room = augment_room_of(op->augment, w->scratch);
    int64_t begin, end;
    fr_share(w, w->batch.rows, &begin, &end);
    int64_t asked = begin + 1;
    for (int64_t row = begin; row < end; row++) {
        const int64_t position = w->batch.first + row;
        real *out = (real *)op->out.data + row * op->out.ld;
        if (w->feed->order) {
            for (; asked < end && asked <= row + ROWS_AHEAD; asked++) {
                const int64_t index = w->feed->order[w->batch.first + asked];
                fetch_row(source, index);
                fetch_label(w->feed, index);
            }
        }
        read_row(out, source, w->feed->order ? w->feed->order[position] : position);
        if (is_float && !all_finite(out, source->columns)) {
            long long worst = atomic_load(w->bad_row);
            while (position < worst && !atomic_compare_exchange_weak(w->bad_row, &worst, position)) {
            }
        }
        if (op->augment) augment_image(out, &room, w, (uint32_t)position);
        if (op->x.data) standardize(out, op->x.data, op->z.data, op->K);
        if (op->noise.std == 0 && !masked_as(&op->mask)) continue;
        for (int64_t column = 0; column < op->K; column += FR_PANEL) {
            const int vectors = vectors_of(op->K, column / FR_PANEL);
            real *x = out + column;
            if (op->noise.std != 0) noise_row(x, x, vectors, &op->noise, w, w->batch.line + row, column);
            if (masked_as(&op->mask)) forward_row(x, x, vectors, FR_LINEAR, &op->mask, w, row, column);
        }
    }
}

#endif
