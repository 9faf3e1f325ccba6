/* Register tiles of products on windows: C = A * B for up to MR rows by NV vectors of C, all of them in registers while
 * the sums run. Each row of A is given by its first element; from there on all rows take the same way: runs of terms
 * `step` apart, and a jump after each run. Like those of register_tiles.h, but for windows nothing is copied to make rows.
 */
#ifndef FR_RUN_TILES_H
#define FR_RUN_TILES_H

#include "register_tiles.h"
#include "vec.h"

typedef struct {
    const real *a[MR];
    const real *b; /* b[k * ldb + j], k counts the terms of all runs */
    int64_t ldb, ldc;
    int64_t runs, terms; /* terms of each run */
    int64_t step, jump;  /* of A: from a term to the next, and how much further it is from a run to the next */
    int64_t jump_b;      /* terms of B that are left out between runs, times ldb */
    int adds;            /* to the sums that C already holds */
} run_operands;

INLINE void run_body(real *c, const run_operands *t, const int mr, const int nv) {
    const real *a[MR];
    UNROLL
    for (int i = 0; i < mr; i++) a[i] = t->a[i];
    const real *b = t->b;
    const int64_t ldb = t->ldb, ldc = t->ldc, terms = t->terms, step = t->step, jump = t->jump, jump_b = t->jump_b;
    vec sum[MR * NV];
    UNROLL
    for (int i = 0; i < mr * nv; i++) sum[i] = (vec){0};
    if (t->adds) {
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int j = 0; j < nv; j++) sum[i * nv + j] = vload(c + i * ldc + j * VL);
        }
    }
    int64_t at = 0;
    for (int64_t run = t->runs; run > 0; run--) {
        for (int64_t k = terms; k > 0; k--) {
            vec bk[NV];
            UNROLL
            for (int j = 0; j < nv; j++) bk[j] = vload(b + j * VL);
            UNROLL
            for (int i = 0; i < mr; i++) {
                const vec aik = vset1(a[i][at]);
                UNROLL
                for (int j = 0; j < nv; j++) sum[i * nv + j] = vfma(aik, bk[j], sum[i * nv + j]);
            }
            at += step;
            b += ldb;
        }
        at += jump;
        b += jump_b;
    }
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) vstore(c + i * ldc + j * VL, sum[i * nv + j]);
    }
}

typedef void (*run_fn)(real *c, const run_operands *t);

#define DEFINE_RUN_TILE(layout, mr, nv)                                                                                \
    static void run_##layout##_##mr##_##nv(real *c, const run_operands *t) { run_body(c, t, mr, nv); }
#define RUN_TILE_NAME(layout, mr, nv) run_##layout##_##mr##_##nv,

FOR_EACH_TILE(DEFINE_RUN_TILE, tile, MR, NV)
static const run_fn run_tiles[NV * MR] = {FOR_EACH_TILE(RUN_TILE_NAME, tile, MR, NV)};

/* One tile, of the size given. */
INLINE void sum_runs(real *c, const run_operands *t, int64_t rows, int64_t vectors) {
    run_tiles[(vectors - 1) * MR + rows - 1](c, t);
}

#endif
