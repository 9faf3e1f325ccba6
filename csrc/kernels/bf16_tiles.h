/* Register tiles of products in bf16: like those of register_tiles.h, with sums in another order.
 *
 * The order is that of AMX (TDPBF16PS). Terms come in groups of FR_BF16_GROUP. Within a group, the even terms and the odd
 * ones are a chain of fused multiply-adds each, from 0; then c = c + (even + odd), where c is 0 at first. What is missing of
 * the last group are zeros, which make 0 of -0. Small numbers are zero everywhere, with their sign, by the mode of ../flush.h.
 *
 * A tile is done in parts of 12 sums. Where there are 32 registers they hold c and one chain of all sums, and only the even
 * chain is put aside: stores of 64 bytes are dear. With 16 registers c is in memory, too.
 *
 * Without fused multiply-add the product of two operands is exact in float32, because each has 8 bits, unless its size
 * is out of range. So a product and a sum give the same bits, and where the processor has noted a result out of range,
 * the tile is done again in double: there the product is exact always, and so is its sum with a float32, or else one of
 * the two is so small that it changes nothing. Rounded once more the result is that of a fused multiply-add.
 */
#ifndef FR_BF16_TILES_H
#define FR_BF16_TILES_H

#include "register_tiles.h"

#if REAL_BITS == 32

#if !defined(HAVE_AVX512) && !defined(HAVE_AVX2) && !defined(HAVE_NEON)
#define MULTIPLIES_AND_ADDS
#include <fenv.h>
#endif

enum { BF16_SUMS = 12, BF16_VECTORS = 2 }; /* of the largest part of a tile */

/* sum = a chain of TERMS terms, every other one from ak and b_row on. Where one is missing, a zero is in its place. */
#define CHAIN(TERMS)                                                                                                   \
    {                                                                                                                  \
        UNROLL                                                                                                         \
        for (int i = 0; i < mr * nv; i++) sum[i] = (vec){0};                                                           \
        for (int64_t k = 0; k < (TERMS); k++) {                                                                        \
            if (next) {                                                                                                \
                if (asked < mr) prefetch_row(next, row + asked++, column, nv);                                         \
                __builtin_prefetch(ak + 64 / sizeof(real)); /* what a later tile reads, at the same distance */        \
            }                                                                                                          \
            vec bk[BF16_VECTORS];                                                                                      \
            UNROLL                                                                                                     \
            for (int j = 0; j < nv; j++) bk[j] = vload(b_row + j * VL);                                                \
            UNROLL                                                                                                     \
            for (int i = 0; i < mr; i++) {                                                                             \
                const vec aik = vset1(ak[i * next_row]);                                                               \
                UNROLL                                                                                                 \
                for (int j = 0; j < nv; j++) sum[i * nv + j] = vfma(aik, bk[j], sum[i * nv + j]);                      \
            }                                                                                                          \
            ak += 2 * next_term;                                                                                       \
            b_row += 2 * ldb;                                                                                          \
        }                                                                                                              \
        if ((TERMS) < FR_BF16_GROUP / 2) {                                                                             \
            UNROLL                                                                                                     \
            for (int i = 0; i < mr * nv; i++) sum[i] += (vec){0};                                                      \
        }                                                                                                              \
    }

/* c[mr][nv * VL], its rows FR_PANEL apart: the part of a tile that begins at row i and vector j of it */
INLINE void bf16_part(real *c, const tile_operands *t, const a_layout layout, const int i0, const int j0, const int mr,
                      const int nv) {
    const int64_t s = t->s, ldb = t->ldb, terms = t->terms, row = t->row + i0, column = t->column + j0 * VL;
    const destination *next = layout == A_ROWS ? NULL : t->next;
    const int64_t next_row = layout == A_ROWS ? s : 1, next_term = layout == A_ROWS ? 1 : s;
    const real *a = t->a + i0 * next_row, *b = t->b + j0 * VL;
    int64_t asked = 0;
    vec total[BF16_SUMS], even[BF16_SUMS], sum[BF16_SUMS]; /* row by row */
    UNROLL
    for (int i = 0; i < mr * nv; i++) total[i] = (vec){0};
    if (t->adds) {
        UNROLL
        for (int i = 0; i < mr * nv; i++) total[i] = vload(c + i / nv * FR_PANEL + i % nv * VL);
    }
    for (int64_t first = 0; first < terms || first == 0; first += FR_BF16_GROUP) {
        const int64_t count = terms - first < FR_BF16_GROUP ? terms - first : FR_BF16_GROUP;
        const real *ak = a, *b_row = b;
        CHAIN((count + 1) / 2);
        UNROLL
        for (int i = 0; i < mr * nv; i++) even[i] = sum[i];
        ak = a + next_term, b_row = b + ldb;
        CHAIN(count / 2);
        UNROLL
        for (int i = 0; i < mr * nv; i++) total[i] += even[i] + sum[i];
        a += FR_BF16_GROUP * next_term;
        b += FR_BF16_GROUP * ldb;
    }
    UNROLL
    for (int i = 0; i < mr * nv; i++) vstore(c + i / nv * FR_PANEL + i % nv * VL, total[i]);
}
#undef CHAIN

/* A whole tile: wide ones are cut between columns, tall ones between rows. None is both. */
INLINE void bf16_body(real *c, const tile_operands *t, const a_layout layout, const int mr, const int nv) {
    const int tall = mr * BF16_VECTORS > BF16_SUMS ? (mr + 1) / 2 : mr, left = nv > BF16_VECTORS ? BF16_VECTORS : nv;
    bf16_part(c, t, layout, 0, 0, tall, left);
    if (nv > left) bf16_part(c + left * VL, t, layout, 0, left, tall, nv - left);
    if (mr > tall) bf16_part(c + tall * FR_PANEL, t, layout, tall, 0, mr - tall, left);
}

#define DEFINE_BF16_TILE(layout, mr, nv)                                                                               \
    static void bf16_##layout##_##mr##_##nv(real *c, const tile_operands *t) { bf16_body(c, t, layout, mr, nv); }
#define BF16_TILE_NAME(layout, mr, nv) bf16_##layout##_##mr##_##nv,

FOR_EACH_TILE(DEFINE_BF16_TILE, A_ROWS, MR, NV)
FOR_EACH_TILE(DEFINE_BF16_TILE, A_COLUMNS, DW_MR, DW_NV)
static const tile_fn bf16_row_tiles[NV * MR] = {FOR_EACH_TILE(BF16_TILE_NAME, A_ROWS, MR, NV)};
static const tile_fn bf16_column_tiles[DW_NV * DW_MR] = {FOR_EACH_TILE(BF16_TILE_NAME, A_COLUMNS, DW_MR, DW_NV)};

INLINE void sum_bf16_registers(real *c, const tile_operands *t, a_layout layout, int64_t rows, int64_t vectors) {
    if (layout == A_ROWS) bf16_row_tiles[(vectors - 1) * MR + rows - 1](c, t);
    else bf16_column_tiles[(vectors - 1) * DW_MR + rows - 1](c, t);
}

#ifdef MULTIPLIES_AND_ADDS

/* The same tile in double. */
static void sum_bf16_exactly(real *c, const tile_operands *t, a_layout layout, int64_t rows, int64_t vectors) {
    const int64_t next_row = layout == A_ROWS ? t->s : 1, next_term = layout == A_ROWS ? 1 : t->s;
    for (int64_t first = 0; first < t->terms || first == 0; first += FR_BF16_GROUP) {
        const int64_t end = t->terms - first < FR_BF16_GROUP ? t->terms : first + FR_BF16_GROUP;
        for (int64_t i = 0; i < rows; i++) {
            real sum[2][FR_PANEL] = {0};
            for (int64_t k = first; k < end; k++) {
                const double a = (double)t->a[i * next_row + k * next_term];
                const real *b = t->b + k * t->ldb;
                real *chain = sum[k & 1];
                for (int64_t j = 0; j < vectors * VL; j++) chain[j] = (real)(a * (double)b[j] + (double)chain[j]);
            }
            for (int odd = 0; odd < 2; odd++) {
                if (end - first - odd >= FR_BF16_GROUP - 1) continue;
                for (int64_t j = 0; j < vectors * VL; j++) sum[odd][j] += 0;
            }
            real *ci = c + i * FR_PANEL;
            for (int64_t j = 0; j < vectors * VL; j++) {
                ci[j] = (t->adds || first > 0 ? ci[j] : 0) + (sum[0][j] + sum[1][j]);
            }
        }
    }
}

#endif

/* One tile, of the size given. Its operands are bf16. */
INLINE void sum_bf16_tile(real *c, const tile_operands *t, a_layout layout, int64_t rows, int64_t vectors) {
#if !defined(MULTIPLIES_AND_ADDS)
    sum_bf16_registers(c, t, layout, rows, vectors);
#elif !defined(FE_UNDERFLOW) || !defined(FE_OVERFLOW)
    sum_bf16_exactly(c, t, layout, rows, vectors);
#else
    const int out_of_range = FE_UNDERFLOW | FE_OVERFLOW;
    real before[MOST_SUMS * VL];
    for (int64_t i = 0; t->adds && i < rows; i++) {
        memcpy(before + i * vectors * VL, c + i * FR_PANEL, (size_t)(vectors * VL) * sizeof(real));
    }
    if (fetestexcept(out_of_range)) feclearexcept(out_of_range);
    sum_bf16_registers(c, t, layout, rows, vectors); /* by a pointer: it is not moved across what asks for its flags */
    if (!fetestexcept(out_of_range)) return;
    for (int64_t i = 0; t->adds && i < rows; i++) {
        memcpy(c + i * FR_PANEL, before + i * vectors * VL, (size_t)(vectors * VL) * sizeof(real));
    }
    sum_bf16_exactly(c, t, layout, rows, vectors);
#endif
}

#else

INLINE void sum_bf16_tile(real *c, const tile_operands *t, a_layout layout, int64_t rows, int64_t vectors) {
    (void)c, (void)t, (void)layout, (void)rows, (void)vectors; /* never called: such programs are float32 */
}

#endif

#endif
