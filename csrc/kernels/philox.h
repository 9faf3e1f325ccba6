/* Counter-based random bits for masks: Philox4x32-7 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11).
 *
 * A call gives four 32-bit words, so eight 16-bit draws: column j of a row takes half j mod 2 of word (j mod 8) / 2 of
 * counter (j / 8, row, step, stream). Draws outside the step are in random.c.
 */
#ifndef FR_PHILOX_H
#define FR_PHILOX_H

#include "../philox_keys.h"
#include "vec.h"

enum { WORDS = VBYTES / 8 }; /* counters a vector holds, one in every 64-bit lane */

typedef uint16_t u16vec __attribute__((vector_size(VL * 2)));
typedef uint16_t u16vec_mem __attribute__((vector_size(VL * 2), aligned(2), may_alias));
typedef uint64_t u64vec_mem __attribute__((vector_size(VBYTES), aligned(2), may_alias));

/* u0 v0 u1 v1 ...: the low or the high half of the lanes */
#if VBYTES == 64
#define LOW_LANES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_LANES 4, 12, 5, 13, 6, 14, 7, 15
#define LANE_NUMBERS 0, 1, 2, 3, 4, 5, 6, 7
#elif VBYTES == 32
#define LOW_LANES 0, 4, 1, 5
#define HIGH_LANES 2, 6, 3, 7
#define LANE_NUMBERS 0, 1, 2, 3
#else
#define LOW_LANES 0, 2
#define HIGH_LANES 1, 3
#define LANE_NUMBERS 0, 1
#endif
#ifdef __clang__
#define INTERLEAVE(u, v, ...) __builtin_shufflevector(u, v, __VA_ARGS__)
#else
#define INTERLEAVE(u, v, ...) __builtin_shuffle(u, v, (u64vec){__VA_ARGS__})
#endif

/* Where draws come from: what they are a function of. */
typedef struct {
    const fr_round_keys *keys;
    uint32_t column, row, step, stream;
} draw_place;

/* The FR_PANEL draws of columns column .. column + 63 (a multiple of 8) of one row. */
INLINE void philox_draws(uint16_t *out, const draw_place *place) {
    const fr_round_keys *keys = place->keys;
    const u64vec lanes = {LANE_NUMBERS}, low = 0xffffffffu - (u64vec){0};
    const u64vec m0 = FR_PHILOX_MULTIPLIER_0 - (u64vec){0}, m1 = FR_PHILOX_MULTIPLIER_1 - (u64vec){0};
    for (int i = 0; i < FR_PANEL / 8; i += WORDS) {
        /* only the low half of every lane counts; products leave the high half dirty */
        u64vec x0 = lanes + (place->column / 8 + (uint32_t)i), x1 = place->row - (u64vec){0};
        u64vec x2 = place->step - (u64vec){0}, x3 = place->stream - (u64vec){0};
        for (int round = 0; round < FR_PHILOX_ROUNDS; round++) {
            const u64vec k0 = keys->word[2 * round] - (u64vec){0}, k1 = keys->word[2 * round + 1] - (u64vec){0};
            const u64vec p0 = umul32(m0, x0), p1 = umul32(m1, x2);
            x0 = (p1 >> 32) ^ x1 ^ k0;
            x1 = p1;
            x2 = (p0 >> 32) ^ x3 ^ k1;
            x3 = p0;
        }
        const u64vec u = (x0 & low) | (x1 << 32), v = (x2 & low) | (x3 << 32);
        *(u64vec_mem *)(out + 8 * i) = INTERLEAVE(u, v, LOW_LANES);
        *(u64vec_mem *)(out + 8 * i + 4 * WORDS) = INTERLEAVE(u, v, HIGH_LANES);
    }
}

/* x in the lanes whose draw is below the threshold, 0 in the others. */
INLINE vec vkeep_below(const uint16_t *draws, uint32_t threshold, vec x) {
    const u16vec d = *(const u16vec_mem *)draws;
#if defined(HAVE_AVX512) && REAL_BITS == 32
    const __mmask16 some = threshold ? 0xffff : 0; /* at most threshold - 1, which fits into 16 bits */
    const __m256i most = _mm256_set1_epi16((short)(threshold - 1));
    return (vec)_mm512_maskz_mov_ps(_mm256_mask_cmple_epu16_mask(some, (__m256i)d, most), (__m512)x);
#elif defined(HAVE_AVX512)
    const __mmask8 some = threshold ? 0xff : 0;
    const __m128i most = _mm_set1_epi16((short)(threshold - 1));
    return (vec)_mm512_maskz_mov_pd(_mm_mask_cmple_epu16_mask(some, (__m128i)d, most), (__m512d)x);
#else
    return vkeep(__builtin_convertvector(d, ivec) < (ireal)threshold, x);
#endif
}

#endif
