/* Philox's constants, and the keys of its rounds under a seed. Internal.
 *
 * The generator itself is in kernels/philox.h (a panel of draws at once) and in random.c (one block at a time).
 */
#ifndef FR_PHILOX_KEYS_H
#define FR_PHILOX_KEYS_H

#include <stdint.h>

enum { FR_PHILOX_ROUNDS = 7 };
#define FR_PHILOX_MULTIPLIER_0 0xD2511F53u
#define FR_PHILOX_MULTIPLIER_1 0xCD9E8D57u
#define FR_PHILOX_WEYL_0 0x9E3779B9u /* what the keys grow by from round to round */
#define FR_PHILOX_WEYL_1 0xBB67AE85u

/* The two keys of every round, made once a run. Each has 64 bits, because kernels/philox.h adds them to such lanes. */
typedef struct {
    uint64_t word[2 * FR_PHILOX_ROUNDS];
} fr_round_keys;

static inline fr_round_keys fr_round_keys_of(uint64_t seed) {
    fr_round_keys keys;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < FR_PHILOX_ROUNDS; round++) {
        keys.word[2 * round] = k0, keys.word[2 * round + 1] = k1;
        k0 += FR_PHILOX_WEYL_0, k1 += FR_PHILOX_WEYL_1;
    }
    return keys;
}

#endif
