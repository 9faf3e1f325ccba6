/* Rows of a data set: reads one in the working dtype, and asks for those that are read soon.
 *
 * They come in a random order, which no prefetcher can predict. What happens to a row is the business of the ops.
 */
#ifndef FR_ROWS_H
#define FR_ROWS_H

#include <string.h>

#include "../worker.h"
#include "vec.h"

/* Takes note of a row of the epoch that cannot be used, which ends the run. The first one counts. */
static void refuse_row(const fr_worker *w, long long position) {
    long long worst = atomic_load(w->bad_row);
    while (position < worst && !atomic_compare_exchange_weak(w->bad_row, &worst, position)) {
    }
}

/* The column of an element of a sparse source. */
INLINE int64_t element_place(const fr_source *source, int64_t element) {
    return source->wide ? ((const int64_t *)source->places)[element] : ((const int32_t *)source->places)[element];
}

/* Adds elements from `begin` to `end` of a sparse source to a row of zeros. A place out of range, which only a change
 * under way can bring, is left out. */
static void read_elements(real *out, const fr_source *source, int64_t begin, int64_t end) {
    switch (source->dtype) {
#define CASE(KIND, NAME, TYPE)                                                                                         \
    case FR_##KIND: {                                                                                                  \
        const TYPE *values = (const TYPE *)source->data;                                                               \
        for (int64_t k = begin; k < end; k++) {                                                                        \
            const int64_t j = element_place(source, k);                                                                \
            if (j >= 0 && j < source->columns) out[j] += (real)values[k];                                              \
        }                                                                                                              \
        break;                                                                                                         \
    }
        FR_FOR_EACH_DTYPE(CASE)
#undef CASE
    }
}

/* One row of the source in the working dtype. Elements of dense rows need not be aligned. */
static void read_row(real *out, const fr_source *source, int64_t index) {
    if (source->starts) {
        memset(out, 0, (size_t)source->columns * sizeof(real));
        read_elements(out, source, source->starts[index], source->starts[index + 1]);
        return;
    }
    const char *in = source->data + index * source->row_stride;
    const int64_t *offsets = source->offsets;
    switch (source->dtype) {
#define CASE(KIND, NAME, TYPE)                                                                                         \
    case FR_##KIND: {                                                                                                  \
        typedef TYPE element __attribute__((aligned(1), may_alias));                                                   \
        if (offsets) {                                                                                                 \
            for (int64_t j = 0; j < source->columns; j++) out[j] = (real) * (const element *)(in + offsets[j]);        \
        } else {                                                                                                       \
            for (int64_t j = 0; j < source->columns; j++) out[j] = (real)((const element *)in)[j];                     \
        }                                                                                                              \
        break;                                                                                                         \
    }
        FR_FOR_EACH_DTYPE(CASE)
#undef CASE
    }
}

INLINE int64_t element_bytes(const fr_source *source) {
#define CASE(KIND, NAME, TYPE) [FR_##KIND] = sizeof(TYPE),
    static const int64_t sizes[] = {FR_FOR_EACH_DTYPE(CASE)};
#undef CASE
    return sizes[source->dtype];
}

INLINE int64_t row_bytes(const fr_source *source) { return source->columns * element_bytes(source); }

/* Asks for a row. The second-level cache waits for twice as many lines from memory at a time as the first. */
INLINE void fetch_row(const fr_source *source, int64_t index) {
    if (source->starts) {
        const int64_t begin = source->starts[index], count = source->starts[index + 1] - begin;
        const int64_t bytes = element_bytes(source), place_bytes = source->wide ? 8 : 4;
        prefetch_near(source->data + begin * bytes, count * bytes);
        prefetch_near((const char *)source->places + begin * place_bytes, count * place_bytes);
    } else if (!source->offsets) prefetch_near(source->data + index * source->row_stride, row_bytes(source));
}

/* The labels and weights of a row are just as far away. */
INLINE void fetch_label(const fr_feed *feed, int64_t index) {
    for (int h = 0; h < feed->n_heads; h++) {
        const fr_head *head = &feed->head[h];
        if (head->labels) prefetch_near(head->labels + index, sizeof *head->labels);
        if (head->weights) prefetch_near((const real *)head->weights + index, sizeof(real));
    }
}

/* Each row starts on a page that is not in the TLB; several pages are looked up side by side. */
enum { ROWS_AT_ONCE = 4 };

/* What a worker will gather for the next batch, asked for piece by piece. */
typedef struct {
    const fr_feed *feed; /* NULL: there is nothing to ask for */
    int64_t row, end;    /* positions in the epoch */
    int64_t byte, bytes; /* of the rows from `row` on: the next line, and all lines */
    double asked, rate;  /* rounds of ROWS_AT_ONCE lines: until now, and for every unit of work */
} asking;

/* For asking spread over `units` units of work. */
INLINE asking asking_of(const fr_worker *w, int64_t units) {
    const fr_feed *feed = w->feed;
    const int64_t first = w->batch.first + w->batch.count, left = feed->rows - first;
    if (left <= 0 || feed->source[0].offsets || feed->source[0].starts) return (asking){0};
    const fr_range mine = fr_share(w, left < feed->batch_size ? left : feed->batch_size);
    const int64_t lines = row_bytes(&feed->source[0]) / 64 + 1; /* of a row, which may begin anywhere in its first */
    const int64_t rounds = (mine.end - mine.begin + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE * lines;
    return (asking){.feed = feed,
                    .row = first + mine.begin,
                    .end = first + mine.end,
                    .bytes = lines * 64,
                    .rate = (double)rounds / (double)(units > 0 ? units : 1)};
}

/* Asks for what is due after `units` more units. The last product of a batch keeps the arithmetic busy while memory is
 * idle. (Inline: GCC drops calls of functions that only prefetch, because they have no effect.) */
INLINE void ask_on(asking *next, int64_t units) {
    if (!next->feed) return;
    const fr_source *source = &next->feed->source[0];
    next->asked += next->rate * (double)units;
    for (; next->asked >= 1 && next->row < next->end; next->asked -= 1) {
        const int64_t last = next->row + ROWS_AT_ONCE < next->end ? next->row + ROWS_AT_ONCE : next->end;
        for (int64_t row = next->row; row < last; row++) {
            const int64_t index = fr_index_at(next->feed, row);
            if (next->byte == 0) fetch_label(next->feed, index);
            prefetch_near(source->data + index * source->row_stride + next->byte, 1);
        }
        next->byte += 64;
        if (next->byte == next->bytes) next->row = last, next->byte = 0;
    }
}

#endif
