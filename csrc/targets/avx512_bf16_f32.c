#include "avx512_bf16.h"

#if defined(COMPILES) || defined(FR_EMULATE_AMX)
#pragma GCC diagnostic ignored "-Wunused-function" /* three kernels are used of these */
#include "../flush.h"
#include "../kernels/bf16_table.h"

/* Tries numbers of all sizes, small ones and those out of range too: sums of two products near each other, in the mode
 * that workers have. */
int fr_adds_pairs_in_order(void) {
    enum { TRIES = 2048 };
    fenv_t before;
    fegetenv(&before);
    fr_small_is_zero();
    uint64_t random = 0x9e3779b97f4a7c15u;
    int same = 1;
    for (int i = 0; i < TRIES && same; i++) {
        union {
            uint32_t word[3][VL];
            real number[3][VL];
        } in;
        for (int j = 0; j < VL; j++) {
            for (int k = 0; k < 3; k++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                in.word[k][j] = (uint32_t)(random >> 32);
            }
            const uint32_t one = 0x3f803f80u, sign = 0x80008000u, digits = 0x007f007fu;
            if (i % 4 < 2) in.word[1][j] = (in.word[1][j] & (sign | digits)) | one;
            if (i % 4 == 0) in.word[2][j] = (in.word[2][j] & (sign | digits)) | one;
            if (i % 4 == 0) in.word[0][j] = (in.word[0][j] & 0x80ffffffu) | 0x3f000000u;
        }
        const u32vec a = *(const u32vec_mem *)in.word[1], b = *(const u32vec_mem *)in.word[2];
        const vec sum = vload(in.number[0]), told = add_pairs(sum, a, b), right = add_pairs_in_turn(sum, a, b);
        same = !vany((vbits(told) != vbits(right)) & ((told == told) | (right == right))); /* NaN is NaN */
    }
    fesetenv(&before);
    return same;
}
#else
#include "../targets.h"
const fr_bf16_ops fr_avx512_bf16_f32 = {0}; /* of other compilers: as on a processor without it */
int fr_adds_pairs_in_order(void) { return 0; }
#endif
