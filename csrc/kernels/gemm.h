/* Products of matrices, tile by tile: C (rows x one panel) = A * B, with C in the scratch of the worker.
 *
 * Only sums of products live here; what happens to C (bias, activation, update) is the business of the op that asked.
 *
 * The bits of an element depend on the length of its sum alone: one chain of fused multiply-adds over k in order,
 * starting from 0, for every FR_CHAIN terms; the sums of chains are added in order. Cutting a chain into KC pieces
 * does not change it, because C is stored and loaded without rounding.
 *
 * A is read element by element and broadcast, so it may lie either way: a[i * rs + k * cs], rs or cs being 1.
 * B is read by vectors: b[k * ldb + j].
 */
#ifndef FR_GEMM_H
#define FR_GEMM_H

#include "../fastreg.h"
#include "vec.h"

enum { KC = 1024 };        /* terms of a sum done in one go: KC x 64 floats of B stay in the second-level cache */
enum { STRIP_ROWS = 240 }; /* rows of C in the scratch where a sum takes several goes */
enum { TILE_COLUMNS = NV * VL };

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

/* c[mr][nv * VL] (rows FR_PANEL apart) = (fresh ? 0 : c) + A * B over K terms, all of c in registers. */
INLINE void tile_body(real *c, const real *a, int64_t rs, int64_t cs, const real *b, int64_t ldb, int64_t K, int fresh,
                      const int mr, const int nv) {
    vec sum[MR][NV];
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) sum[i][j] = (vec){0};
    }
    if (!fresh) {
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int j = 0; j < nv; j++) sum[i][j] = vload(c + i * FR_PANEL + j * VL);
        }
    }
    for (int64_t k = 0; k < K; k++) {
        vec bk[NV];
        UNROLL
        for (int j = 0; j < nv; j++) bk[j] = vload(b + j * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vec aik = vset1(a[i * rs]);
            UNROLL
            for (int j = 0; j < nv; j++) sum[i][j] = vfma(aik, bk[j], sum[i][j]);
        }
        a += cs;
        b += ldb;
    }
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) vstore(c + i * FR_PANEL + j * VL, sum[i][j]);
    }
}

typedef void (*tile_fn)(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K, int fresh);

#define TILE(mr, nv)                                                                                                   \
    static void tile_rows_##mr##_##nv(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K,        \
                                      int fresh) {                                                                     \
        tile_body(c, a, s, 1, b, ldb, K, fresh, mr, nv);                                                               \
    }                                                                                                                  \
    static void tile_columns_##mr##_##nv(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K,     \
                                         int fresh) {                                                                  \
        tile_body(c, a, 1, s, b, ldb, K, fresh, mr, nv);                                                               \
    }
#define TILES(nv) TILE(1, nv) TILE(2, nv) TILE(3, nv) TILE(4, nv) TILE(5, nv) TILE(6, nv)
#define NAMES(way, nv)                                                                                                 \
    {tile_##way##_1_##nv, tile_##way##_2_##nv, tile_##way##_3_##nv,                                                    \
     tile_##way##_4_##nv, tile_##way##_5_##nv, tile_##way##_6_##nv}

TILES(1)
TILES(2)
#if NV == 4
TILES(3)
TILES(4)
static const tile_fn tiles[2][NV][MR] = {{NAMES(rows, 1), NAMES(rows, 2), NAMES(rows, 3), NAMES(rows, 4)},
                                         {NAMES(columns, 1), NAMES(columns, 2), NAMES(columns, 3), NAMES(columns, 4)}};
#else
static const tile_fn tiles[2][NV][MR] = {{NAMES(rows, 1), NAMES(rows, 2)}, {NAMES(columns, 1), NAMES(columns, 2)}};
#endif

typedef enum { A_ROWS, A_COLUMNS } a_layout; /* a[i * s + k] or a[i + k * s] */

/* The operands of C = A * B: A (rows x K) with stride s, B (K x a panel). */
typedef struct {
    const real *a;
    a_layout layout;
    int64_t s;
    const real *b;
    int64_t ldb, K;
} product;

/* Rows are cut into blocks of nearly equal height, at most MR: no ragged last block. */
INLINE int64_t row_blocks(int64_t rows) { return (rows + MR - 1) / MR; }

/* One go over K terms from k on, for `rows` rows of C from `row` on and `vectors` vectors of columns. */
static void multiply_rows(real *c, const product *p, int64_t row, int64_t rows, int vectors, int64_t k, int64_t K,
                          int fresh) {
    const int64_t blocks = row_blocks(rows);
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t i = rows * block / blocks, mr = rows * (block + 1) / blocks - i;
        const real *a = p->layout == A_ROWS ? p->a + (row + i) * p->s + k : p->a + (row + i) + k * p->s;
        for (int j = 0; j < vectors; j += NV) {
            const int nv = vectors - j < NV ? vectors - j : NV;
            tiles[p->layout][nv - 1][mr - 1](c + i * FR_PANEL + j * VL, a, p->s, p->b + k * p->ldb + j * VL, p->ldb, K,
                                             fresh);
        }
    }
}

/* c (rows x FR_PANEL) = rows row .. row + rows - 1 of A * B. spare is as large as c. */
static void multiply(real *c, real *spare, const product *p, int64_t row, int64_t rows, int vectors) {
    for (int64_t chain = 0; chain < p->K || chain == 0; chain += FR_CHAIN) {
        const int64_t end = chain + FR_CHAIN < p->K ? chain + FR_CHAIN : p->K;
        real *sum = chain == 0 ? c : spare;
        for (int64_t k = chain; k < end; k += KC) {
            multiply_rows(sum, p, row, rows, vectors, k, end - k < KC ? end - k : KC, k == chain);
        }
        for (int64_t i = 0; chain > 0 && i < rows * FR_PANEL; i += VL) vstore(c + i, vload(c + i) + vload(spare + i));
    }
}

#endif
