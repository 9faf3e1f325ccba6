/* Products with sparse rows of the data as they are: terms that are 0 are left out, in the forward product and in the
 * gradient of the weight. So wide rows of text take as long as their words, not as their columns.
 *
 * The bits are those of the rows with their zeros. Both products sum in the order of gemm.h, and a fused multiply-add with
 * 0 changes nothing. Only rows whose places ascend are read like this.
 *
 * Only the products are here. dense.h and dense_dw.h ask for them, and do the same with the result as with any other.
 */
#ifndef FR_SPARSE_H
#define FR_SPARSE_H

#include <float.h>

#include "../worker.h"
#include "gemm.h"
#include "rows.h"

/* The rows of which x has the values, if a product reads them as they are; NULL if it reads x. */
INLINE const fr_source *sparse_rows(const fr_worker *w, int32_t source) {
    const fr_source *found = source < 0 ? NULL : &w->feed->source[source];
    return found && found->starts && found->in_order ? found : NULL;
}

/* An element in the working dtype, small numbers as 0. */
INLINE real element_value(const fr_source *source, int64_t element) {
    const real smallest = REAL_BITS == 32 ? (real)FLT_MIN : (real)DBL_MIN;
    real value = 0;
    switch (source->dtype) {
#define CASE(KIND, NAME, TYPE)                                                                                         \
    case FR_##KIND: value = (real)((const TYPE *)source->data)[element]; break;
        FR_FOR_EACH_DTYPE(CASE)
#undef CASE
    }
    return value > -smallest && value < smallest ? 0 : value;
}

/* Whether all elements of a row are finite. */
static int is_finite_row(const fr_source *source, int64_t index) {
    real sum = 0;
    for (int64_t e = source->starts[index]; e < source->starts[index + 1]; e++) {
        const real value = element_value(source, e);
        sum += value - value; /* NaN, unless it is finite */
    }
    return sum == 0;
}

/* Elements of one row, read once for all columns of a panel. */
enum { ELEMENTS = 128 };

typedef struct {
    int64_t count, place[ELEMENTS];
    real value[ELEMENTS];
} elements;

/* A place out of range, which only a change under way can bring, is left out. */
INLINE void read_some(elements *out, const fr_source *source, int64_t begin, int64_t end) {
    int64_t count = 0;
    for (int64_t e = begin; e < end; e++) {
        const int64_t place = element_place(source, e);
        if (place < 0 || place >= source->columns) continue;
        out->place[count] = place, out->value[count] = element_value(source, e);
        count++;
    }
    out->count = count;
}

/* sum (`vectors` of them) += the elements first .. last - 1 times their rows of the weight */
INLINE void add_elements(real *sum, const elements *e, int64_t first, int64_t last, const real *weight, int64_t ld,
                         int vectors) {
    vec s[4];
    for (int j = 0; j < vectors; j++) s[j] = vload(sum + j * VL);
    for (int64_t i = first; i < last; i++) {
        const vec x = vset1(e->value[i]);
        const real *row = weight + e->place[i] * ld;
        for (int j = 0; j < vectors; j++) s[j] = vfma(x, vload(row + j * VL), s[j]);
    }
    for (int j = 0; j < vectors; j++) vstore(sum + j * VL, s[j]);
}

/* c (FR_PANEL) = one row times `vectors` vectors of columns of the weight */
static void sum_sparse_row(real *c, const fr_source *source, int64_t index, const real *weight, int64_t ld,
                           int vectors) {
    real sum[FR_PANEL] __attribute__((aligned(64)));
    elements e;
    int64_t chain = 0;
    for (int j = 0; j < vectors * VL; j += VL) vstore(c + j, (vec){0}), vstore(sum + j, (vec){0});
    for (int64_t begin = source->starts[index], end = source->starts[index + 1]; begin < end; begin += ELEMENTS) {
        read_some(&e, source, begin, begin + ELEMENTS < end ? begin + ELEMENTS : end);
        for (int64_t i = 0; i < e.count; i++) {
            prefetch_near(weight + e.place[i] * ld, vectors * (int64_t)VBYTES);
        }
        for (int64_t first = 0, last; first < e.count; first = last) {
            if (e.place[first] / FR_CHAIN != chain) {
                for (int j = 0; j < vectors * VL; j += VL) {
                    vstore(c + j, vload(c + j) + vload(sum + j));
                    vstore(sum + j, (vec){0});
                }
                chain = e.place[first] / FR_CHAIN;
            }
            last = first + 1;
            while (last < e.count && e.place[last] / FR_CHAIN == chain) last++;
            int j = 0;
            for (; j + 4 <= vectors; j += 4) add_elements(sum + j * VL, &e, first, last, weight + j * VL, ld, 4);
            for (; j < vectors; j++) add_elements(sum + j * VL, &e, first, last, weight + j * VL, ld, 1);
        }
    }
    for (int j = 0; j < vectors * VL; j += VL) vstore(c + j, vload(c + j) + vload(sum + j));
}

/* Where a worker is in a row of the batch: its first element that belongs to the current rows of the weight or to later
 * ones, the end of the row, and the place of that element, past all others where there is none. */
typedef struct {
    int64_t element, end, place;
} cursor;

INLINE size_t cursor_bytes(int64_t rows) { return (size_t)rows * sizeof(cursor); }

INLINE void move_on(cursor *at, const fr_source *source, int64_t row) {
    while (at->place < row) {
        at->element++;
        at->place = at->element < at->end ? element_place(source, at->element) : INT64_MAX;
    }
}

INLINE void begin_cursors(cursor *at, const fr_worker *w, const fr_source *source) {
    for (int64_t m = 0; m < w->batch.rows; m++) {
        const int64_t index = fr_index_at(w->feed, w->batch.first + m);
        at[m] = (cursor){source->starts[index] - 1, source->starts[index + 1], -1};
    }
}

/* c (`rows` x FR_PANEL) = x^T * dz for rows of the weight, in `vectors` vectors of columns. The rows may not come before
 * those of the last call, unless the cursors begin anew. `spare` is as large as c. */
static void sum_sparse_columns(real *c, real *spare, cursor *at, const fr_worker *w, const fr_source *source,
                               fr_range rows, const real *dz, int64_t ld, int vectors) {
    const int64_t M = w->batch.rows, size = (rows.end - rows.begin) * FR_PANEL;
    for (int64_t chain = 0; chain < M; chain += FR_CHAIN) {
        const int64_t end = chain + FR_CHAIN < M ? chain + FR_CHAIN : M;
        real *sum = chain == 0 ? c : spare;
        memset(sum, 0, (size_t)size * sizeof(real));
        for (int64_t m = chain; m < end; m++) {
            move_on(&at[m], source, rows.begin);
            if (at[m].place >= rows.end) continue;
            int64_t place = at[m].place;
            for (int64_t e = at[m].element; place >= rows.begin && place < rows.end;) {
                const vec x = vset1(element_value(source, e));
                real *row = sum + (place - rows.begin) * FR_PANEL;
                for (int j = 0; j < vectors * VL; j += VL) {
                    vstore(row + j, vfma(x, vload(dz + m * ld + j), vload(row + j)));
                }
                if (++e >= at[m].end) break;
                place = element_place(source, e);
            }
        }
        for (int64_t i = 0; chain > 0 && i < size; i += VL) vstore(c + i, vload(c + i) + vload(sum + i));
    }
}

#endif
