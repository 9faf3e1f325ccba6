/* Numbers of 8 bits (bf16), the operands of products in that precision. They are kept as float32, whose upper half they
 * are.
 *
 * round: out = x in bf16: to the nearest, of two the even one; NaN stays NaN; small numbers (../flush.h) become 0.
 */
#ifndef FR_BF16_H
#define FR_BF16_H

#include "../worker.h"
#include "vec.h"

#if REAL_BITS == 32

/* Half a unit is added, less the smallest number where the last digit is even, and what is behind it goes. The sum carries
 * into the exponent where it should, and to infinity. */
INLINE vec to_bf16(vec x) {
    const ivec bits = vbits(x), upper = viset1((ireal)0xffff0000u), sign = viset1((ireal)0x80000000u);
    const vec nearest = vfrombits(bits + (viset1(0x7fff) + ((bits >> 16) & viset1(1))));
#if defined(HAVE_AVX512)
    const __m512i nan_stays = _mm512_set1_epi32(0x22); /* of both kinds, as a quiet one */
    const __m512i chosen = (__m512i)_mm512_fixupimm_ps((__m512)nearest, (__m512)x, nan_stays, 0);
    const __mmask16 normal = _mm512_test_epi32_mask((__m512i)bits, _mm512_set1_epi32(0x7f800000));
    return (vec)_mm512_mask_and_epi32((__m512i)(bits & sign), normal, chosen, (__m512i)upper);
#else
    const ivec size = bits & ~sign;
    const vec chosen = vselect(size > viset1(0x7f800000), vfrombits(bits | viset1(0x00400000)), nearest);
    return vfrombits(vbits(chosen) & upper & ((size >= viset1(0x00800000)) | sign));
#endif
}

typedef uint32_t u32vec __attribute__((vector_size(VBYTES)));
typedef uint32_t u32vec_mem __attribute__((vector_size(VBYTES), aligned(sizeof(uint32_t)), may_alias));

/* Two numbers in a word, rounded. */
INLINE u32vec bf16_halves(vec upper, vec lower) {
#if defined(HAVE_AVX512) && defined(__AVX512BF16__)
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)upper, (__m512)lower);
    const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (u32vec)_mm512_permutexvar_epi16(turns, both);
#else
    return (u32vec)vbits(to_bf16(upper)) | (u32vec)vbits(to_bf16(lower)) >> 16;
#endif
}

#else

INLINE vec to_bf16(vec x) { return x; } /* never called: such programs are float32 */

#endif

/* Whole vectors of a row. out may be x. */
INLINE void round_row(real *out, const real *x, int64_t vectors) {
    for (int64_t j = 0; j < vectors * VL; j += VL) vstore(out + j, to_bf16(vload(x + j)));
}

/* What an op has written to columns `column` .. of a row, rounded too, if that is asked for. */
INLINE void also_rounded(const fr_matrix *rounded, const real *x, int64_t row, int64_t column, int vectors) {
    if (rounded->data) round_row((real *)rounded->data + row * rounded->ld + column, x, vectors);
}

/* Workers take equal shares of the rows. */
static void op_round(fr_worker *w) {
    const fr_round_op *op = &w->op->round;
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        also_rounded(&op->out, (const real *)op->x.data + row * op->x.ld, row, 0, vectors_of(op->N));
    }
}

#endif
