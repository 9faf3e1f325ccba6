/* The instruction VDPBF16PS of AVX-512: to each sum it adds the product of the upper halves of two words and then that of
 * the lower halves, rounded after each (on AMD, as two fused multiply-adds; cpu.c tries it).
 *
 * So a pair is two terms of the same chain of bf16_tiles.h: terms k and k + 2, the first in the upper half. Of every four
 * terms, the first pair is of the even chain, the second of the odd one.
 *
 * With FR_EMULATE_AMX it is plain C, so that what uses it can be tested on any machine.
 */
#ifndef FR_DOT_H
#define FR_DOT_H

#include "bf16.h"
#include "vec.h"

/* Sizes of products (bf16_packed.h). */
enum {
    PACKED_TERMS = 4096,     /* done in one go */
    PACKED_TALL = 48,        /* rows of a strip */
    PACKED_ROWS = 288,       /* of A that are packed at once */
    PACKED_PANELS = 1 << 17, /* words of packed panels of B: at least the pairs of one go by FR_PANEL */
};

enum { PAIR_GAP = 2 };
INLINE int64_t first_of_pair(int64_t p) { return 2 * (p & ~1) + (p & 1); }
INLINE u32vec pair(vec first, vec second) { return bf16_halves(first, second); }

/* The pairs of a group of terms that follow each other. */
INLINE void pair_group(uint32_t *out, const real *x) {
#ifdef FR_EMULATE_AMX
    real first[FR_BF16_GROUP / 2], second[FR_BF16_GROUP / 2];
    for (int p = 0; p < FR_BF16_GROUP / 2; p++) {
        first[p] = x[first_of_pair(p)], second[p] = x[first_of_pair(p) + PAIR_GAP];
    }
    for (int p = 0; p < FR_BF16_GROUP / 2; p += VL)
        *(u32vec_mem *)(out + p) = pair(vload(first + p), vload(second + p));
#else
    const __m512i firsts = _mm512_set_epi32(29, 28, 25, 24, 21, 20, 17, 16, 13, 12, 9, 8, 5, 4, 1, 0);
    const __m512i seconds = _mm512_add_epi32(firsts, _mm512_set1_epi32(PAIR_GAP));
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + VL);
    const vec first = (vec)_mm512_permutex2var_ps(a, firsts, b), second = (vec)_mm512_permutex2var_ps(a, seconds, b);
    *(u32vec_mem *)out = pair(first, second);
#endif
}

/* What the instruction does, by two fused multiply-adds. */
INLINE vec add_pairs_in_turn(vec sum, u32vec a, u32vec b) {
    const u32vec upper = 0xffff0000u - (u32vec){0};
    sum = vfma((vec)(a & upper), (vec)(b & upper), sum);
    return vfma((vec)(a << 16), (vec)(b << 16), sum);
}

INLINE vec add_pairs(vec sum, u32vec a, u32vec b) {
#ifdef FR_EMULATE_AMX
    return add_pairs_in_turn(sum, a, b);
#else
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
}

INLINE void begin_pairs(void) {}
INLINE void end_pairs(void) {}

#endif
