/* Register tiles: C = A * B for up to MR rows by NV vectors of C, all of them in registers while the sums run. gemm.h
 * makes products of them.
 *
 * A target sets, before it includes this file,
 *   MR, NV         rows and vectors of the largest tile where A is read by rows (dense, dense_dx)
 *   DW_MR, DW_NV   and where A is read by columns (dense_dw)
 * There is one function for every size up to the largest, so a tile's loops are unrolled whatever its size.
 *
 * Letters: k counts the terms of a sum, i the rows of C, j its columns or vectors.
 */
#ifndef FR_REGISTER_TILES_H
#define FR_REGISTER_TILES_H

#include "vec.h"

/* a[i * s + k], a[i + k * s], or blocks of rows as tall as tiles, each by columns with s its height */
typedef enum { A_ROWS, A_COLUMNS, A_BLOCKS } a_layout;

/* What will be touched where C goes next (a weight and its state), row for row of C. A tile asks for one row a term while
 * its sums are running, because all at once they would hold up the loads of A and B. */
typedef struct {
    int64_t rows;
    real *data[1 + FR_SLOTS]; /* NULL for none */
    int64_t ld[1 + FR_SLOTS];
} destination;

INLINE void prefetch_row(const destination *next, int64_t row, int64_t column, const int vectors) {
    for (int i = 0; i < 1 + FR_SLOTS; i++) {
        if (!next->data[i]) continue;
        const char *line = (const char *)(next->data[i] + row * next->ld[i] + column);
        for (int byte = 0; byte < vectors * VBYTES; byte += 64) __builtin_prefetch(line + byte, 1);
    }
}

/* The operands of a tile, which is at `row` and `column` of the destination. */
typedef struct {
    const real *a, *b; /* b[k * ldb + j] */
    int64_t s, ldb, terms;
    int adds; /* to the sums that C already holds */
    int64_t row, column;
    const destination *next; /* read only where A is read by columns; NULL for none */
} tile_operands;

enum { MOST_SUMS = MR * NV > DW_MR *DW_NV ? MR *NV : DW_MR *DW_NV, MOST_VECTORS = NV > DW_NV ? NV : DW_NV };

/* c[mr][nv * VL], its rows FR_PANEL apart */
INLINE void tile_body(real *c, const tile_operands *t, const a_layout layout, const int mr, const int nv) {
    const real *a = t->a, *b = t->b;
    const int64_t s = t->s, ldb = t->ldb, terms = t->terms, row = t->row, column = t->column;
    const destination *next = layout == A_ROWS ? NULL : t->next;
    const int64_t next_row = layout == A_ROWS ? s : 1, next_term = layout == A_ROWS ? 1 : s;
    vec sum[MOST_SUMS]; /* row by row */
    UNROLL
    for (int i = 0; i < mr * nv; i++) sum[i] = (vec){0};
    if (t->adds) {
        UNROLL
        for (int i = 0; i < mr * nv; i++) sum[i] = vload(c + i / nv * FR_PANEL + i % nv * VL);
    }
    for (int64_t k = 0; k < terms; k++) {
        if (next) {
            if (k < mr) prefetch_row(next, row + k, column, nv);
            __builtin_prefetch(a + 64 / sizeof(real)); /* what a later tile reads, at the same distance */
        }
        vec bk[MOST_VECTORS];
        UNROLL
        for (int j = 0; j < nv; j++) bk[j] = vload(b + j * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vec aik = vset1(a[i * next_row]);
            UNROLL
            for (int j = 0; j < nv; j++) sum[i * nv + j] = vfma(aik, bk[j], sum[i * nv + j]);
        }
        a += next_term;
        b += ldb;
    }
    UNROLL
    for (int i = 0; i < mr * nv; i++) vstore(c + i / nv * FR_PANEL + i % nv * VL, sum[i]);
}

typedef void (*tile_fn)(real *c, const tile_operands *t);

#define DEFINE_TILE(layout, mr, nv)                                                                                    \
    static void tile_##layout##_##mr##_##nv(real *c, const tile_operands *t) { tile_body(c, t, layout, mr, nv); }
#define TILE_NAME(layout, mr, nv) tile_##layout##_##mr##_##nv,

/* DO(layout, mr, nv) for every size of tile up to the largest, MR by NV. */
#define FOR_EACH_TILE(DO, layout, MR, NV) PASTE(FOR_VECTORS_, NV)(PASTE(FOR_ROWS_, MR), DO, layout)
#define FOR_VECTORS_2(FOR_ROWS, DO, layout) FOR_ROWS(DO, layout, 1) FOR_ROWS(DO, layout, 2)
#define FOR_VECTORS_4(FOR_ROWS, DO, layout)                                                                            \
    FOR_VECTORS_2(FOR_ROWS, DO, layout) FOR_ROWS(DO, layout, 3) FOR_ROWS(DO, layout, 4)
#define FOR_ROWS_6(DO, layout, nv)                                                                                     \
    DO(layout, 1, nv) DO(layout, 2, nv) DO(layout, 3, nv) DO(layout, 4, nv) DO(layout, 5, nv) DO(layout, 6, nv)
#define FOR_ROWS_12(DO, layout, nv)                                                                                    \
    FOR_ROWS_6(DO, layout, nv)                                                                                         \
    DO(layout, 7, nv) DO(layout, 8, nv) DO(layout, 9, nv) DO(layout, 10, nv) DO(layout, 11, nv) DO(layout, 12, nv)

FOR_EACH_TILE(DEFINE_TILE, A_ROWS, MR, NV)
FOR_EACH_TILE(DEFINE_TILE, A_COLUMNS, DW_MR, DW_NV)
static const tile_fn row_tiles[NV * MR] = {FOR_EACH_TILE(TILE_NAME, A_ROWS, MR, NV)};
static const tile_fn column_tiles[DW_NV * DW_MR] = {FOR_EACH_TILE(TILE_NAME, A_COLUMNS, DW_MR, DW_NV)};

/* A tile of sums of some terms, for some rows of C: c[rows[i] * ldc] = the sum of a[rows[i] * row + terms[k] * term] times
 * b[terms[k] * ldb]. */
typedef struct {
    const real *a, *b;
    int64_t row, term, ldb, ldc, count;
    const int32_t *rows, *terms;
    int adds; /* to the sums that C already holds */
} listed_operands;

INLINE void listed_body(real *c, const listed_operands *t, const int mr, const int nv) {
    const int64_t term = t->term, ldb = t->ldb, count = t->count;
    const int32_t *terms = t->terms;
    const real *rows[DW_MR], *b = t->b;
    real *out[DW_MR];
    vec sum[DW_MR * DW_NV];
    UNROLL
    for (int i = 0; i < mr; i++) rows[i] = t->a + t->rows[i] * t->row, out[i] = c + t->rows[i] * t->ldc;
    UNROLL
    for (int i = 0; i < mr * nv; i++) sum[i] = t->adds ? vload(out[i / nv] + i % nv * VL) : (vec){0};
    for (int64_t k = 0; k < count; k++) {
        const int64_t ak = terms[k] * term;
        vec bk[DW_NV];
        UNROLL
        for (int j = 0; j < nv; j++) bk[j] = vload(b + terms[k] * ldb + j * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vec aik = vset1(rows[i][ak]);
            UNROLL
            for (int j = 0; j < nv; j++) sum[i * nv + j] = vfma(aik, bk[j], sum[i * nv + j]);
        }
    }
    UNROLL
    for (int i = 0; i < mr * nv; i++) vstore(out[i / nv] + i % nv * VL, sum[i]);
}

typedef void (*listed_fn)(real *c, const listed_operands *t);

#define DEFINE_LISTED(layout, mr, nv)                                                                                  \
    static void tile_##layout##_##mr##_##nv(real *c, const listed_operands *t) { listed_body(c, t, mr, nv); }
FOR_EACH_TILE(DEFINE_LISTED, listed, DW_MR, DW_NV)
static const listed_fn listed_tiles[DW_NV * DW_MR] = {FOR_EACH_TILE(TILE_NAME, listed, DW_MR, DW_NV)};

INLINE void sum_listed(real *c, const listed_operands *t, int64_t rows, int64_t vectors) {
    listed_tiles[(vectors - 1) * DW_MR + rows - 1](c, t);
}

/* One tile, of the size given. */
INLINE void sum_tile(real *c, const tile_operands *t, a_layout layout, int64_t rows, int64_t vectors) {
    if (layout == A_ROWS) row_tiles[(vectors - 1) * MR + rows - 1](c, t);
    else column_tiles[(vectors - 1) * DW_MR + rows - 1](c, t);
}

#endif
