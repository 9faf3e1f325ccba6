/* Register tiles: up to MR rows by NV vectors of C = A * B, all of them in registers while the sums run. gemm.h puts tiles
 * together.
 *
 * A target sets, before it includes this file,
 *   MR, NV         rows and vectors of the largest tile where A is read by rows (dense, dense_dx)
 *   DW_MR, DW_NV   and where A is read by columns (dense_dw)
 * There is one function for every size up to the largest, so a tile's loops are unrolled whatever its size.
 */
#ifndef FR_REGISTER_TILES_H
#define FR_REGISTER_TILES_H

#include "vec.h"

/* What will be touched where C goes next (a weight and its state), row for row of C: asked for one row a term while the
 * sums are running, because all at once they would hold up the loads of A and B. */
typedef struct {
    real *data[1 + FR_SLOTS]; /* NULL for none */
    int64_t ld[1 + FR_SLOTS];
} destination;

enum { MOST_SUMS = MR * NV > DW_MR *DW_NV ? MR *NV : DW_MR *DW_NV, MOST_VECTORS = NV > DW_NV ? NV : DW_NV };

INLINE void prefetch_row(const destination *next, int64_t row, int64_t column, const int nv) {
    for (int i = 0; i < 1 + FR_SLOTS; i++) {
        if (!next->data[i]) continue;
        const char *line = (const char *)(next->data[i] + row * next->ld[i] + column);
        for (int byte = 0; byte < nv * VBYTES; byte += 64) __builtin_prefetch(line + byte, 1);
    }
}

/* c[mr][nv * VL] (rows FR_PANEL apart) = (fresh ? 0 : c) + A * B over K terms, all of c in registers. */
INLINE void tile_body(real *c, const real *a, int64_t rs, int64_t cs, const real *b, int64_t ldb, int64_t K, int fresh,
                      const destination *next, int64_t row, int64_t column, const int mr, const int nv) {
    vec sum[MOST_SUMS]; /* row by row */
    UNROLL
    for (int i = 0; i < mr * nv; i++) sum[i] = (vec){0};
    if (!fresh) {
        UNROLL
        for (int i = 0; i < mr * nv; i++) sum[i] = vload(c + i / nv * FR_PANEL + i % nv * VL);
    }
    for (int64_t k = 0; k < K; k++) {
        if (next) {
            if (k < mr) prefetch_row(next, row + k, column, nv);
            __builtin_prefetch(a + 64 / sizeof(real)); /* what a later tile reads, as far apart */
        }
        vec bk[MOST_VECTORS];
        UNROLL
        for (int j = 0; j < nv; j++) bk[j] = vload(b + j * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vec aik = vset1(a[i * rs]);
            UNROLL
            for (int j = 0; j < nv; j++) sum[i * nv + j] = vfma(aik, bk[j], sum[i * nv + j]);
        }
        a += cs;
        b += ldb;
    }
    UNROLL
    for (int i = 0; i < mr * nv; i++) vstore(c + i / nv * FR_PANEL + i % nv * VL, sum[i]);
}

typedef void (*tile_fn)(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K, int fresh,
                        const destination *next, int64_t row, int64_t column);

#define rows_tile(c, a, s, b, ldb, K, fresh, next, row, column, mr, nv)                                                \
    ((void)next, (void)row, (void)column, tile_body(c, a, s, 1, b, ldb, K, fresh, NULL, 0, 0, mr, nv))
#define columns_tile(c, a, s, b, ldb, K, fresh, next, row, column, mr, nv)                                             \
    tile_body(c, a, 1, s, b, ldb, K, fresh, next, row, column, mr, nv)

#define DEFINE_TILE(way, mr, nv)                                                                                       \
    static void way##_tile_##mr##_##nv(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K,       \
                                       int fresh, const destination *next, int64_t row, int64_t column) {              \
        way##_tile(c, a, s, b, ldb, K, fresh, next, row, column, mr, nv);                                              \
    }
#define TILE_NAME(way, mr, nv) way##_tile_##mr##_##nv,

/* DO(way, mr, nv) for every size of tile up to the largest, MR by NV. */
#define FOR_EACH_TILE(DO, way, MR, NV) PASTE(FOR_VECTORS_, NV)(PASTE(FOR_ROWS_, MR), DO, way)
#define FOR_VECTORS_2(FOR_ROWS, DO, way) FOR_ROWS(DO, way, 1) FOR_ROWS(DO, way, 2)
#define FOR_VECTORS_4(FOR_ROWS, DO, way) FOR_VECTORS_2(FOR_ROWS, DO, way) FOR_ROWS(DO, way, 3) FOR_ROWS(DO, way, 4)
#define FOR_ROWS_6(DO, way, nv)                                                                                        \
    DO(way, 1, nv) DO(way, 2, nv) DO(way, 3, nv) DO(way, 4, nv) DO(way, 5, nv) DO(way, 6, nv)
#define FOR_ROWS_12(DO, way, nv)                                                                                       \
    FOR_ROWS_6(DO, way, nv)                                                                                            \
    DO(way, 7, nv) DO(way, 8, nv) DO(way, 9, nv) DO(way, 10, nv) DO(way, 11, nv) DO(way, 12, nv)

FOR_EACH_TILE(DEFINE_TILE, rows, MR, NV)
FOR_EACH_TILE(DEFINE_TILE, columns, DW_MR, DW_NV)
static const tile_fn rows_tiles[NV * MR] = {FOR_EACH_TILE(TILE_NAME, rows, MR, NV)};
static const tile_fn columns_tiles[DW_NV * DW_MR] = {FOR_EACH_TILE(TILE_NAME, columns, DW_MR, DW_NV)};

#endif
