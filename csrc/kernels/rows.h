/* Rows of a data set: reading one in the working dtype, and asking for those that are read soon.
 *
 * They come in a random order, which no hardware foresees. What becomes of a row is the business of the ops.
 */
#ifndef FR_ROWS_H
#define FR_ROWS_H

#include "../run.h"
#include "vec.h"

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

INLINE int64_t row_bytes(const fr_source *source) {
#define CASE(DTYPE, TYPE) [DTYPE] = sizeof(TYPE),
    static const int64_t sizes[] = {FOR_EACH_DTYPE(CASE)};
#undef CASE
    return source->columns * sizes[source->dtype];
}

/* Asks for a row. The second-level cache waits for twice as many lines from memory at a time as the first. */
INLINE void fetch_row(const fr_source *source, int64_t index) {
    if (!source->offsets) prefetch_near(source->data + index * source->row_stride, row_bytes(source));
}

/* What the loss reads of a row is as far away. */
INLINE void fetch_label(const fr_feed *feed, int64_t index) {
    if (feed->labels) prefetch_near(feed->labels + index, sizeof *feed->labels);
    if (feed->weights) prefetch_near((const real *)feed->weights + index, sizeof(real));
}

/* The row of the data that is at a position of the epoch. */
INLINE int64_t index_at(const fr_feed *feed, int64_t position) {
    return feed->order ? feed->order[position] : position;
}

enum { ROWS_AT_ONCE = 4 }; /* a row begins in a page that no TLB knows; so many are looked up side by side */

/* Asks for parts from .. to - 1 of `parts` of the inputs that this worker will gather for the next batch: while the last
 * product of this one keeps the arithmetic units busy, memory is idle. (Inline: GCC drops calls of functions that only
 * prefetch, because they have no effect.) */
INLINE void fetch_next_batch(const fr_worker *w, int64_t from, int64_t to, int64_t parts) {
    const fr_feed *feed = w->feed;
    const fr_source *source = &feed->source[0];
    const int64_t first = w->batch.first + w->batch.count, left = feed->rows - first;
    if (left <= 0 || source->offsets || from >= parts) return;
    int64_t begin, end;
    fr_share(w, left < feed->batch_size ? left : feed->batch_size, &begin, &end);
    const int64_t lines = row_bytes(source) / 64 + 1; /* of a row, which may begin anywhere in its first */
    const int64_t all = (end - begin + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE * lines;
    const int64_t stop = to < parts ? all * to / parts : all;
    for (int64_t at = all * from / parts; at < stop; at++) {
        const int64_t row = begin + at / lines * ROWS_AT_ONCE, byte = at % lines * 64;
        for (int64_t i = row; i < row + ROWS_AT_ONCE && i < end; i++) {
            const int64_t index = index_at(feed, first + i);
            if (byte == 0) fetch_label(feed, index);
            prefetch_near(source->data + index * source->row_stride + byte, 1);
        }
    }
}

#endif
