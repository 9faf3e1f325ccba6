/* The most floating-point work this target can do in a loop: shares of the peak refer to it. */
#ifndef FR_PEAK_H
#define FR_PEAK_H

#include "vec.h"

enum { PEAK_CHAINS = NV * MR }; /* independent, to hide the latency of the multiply-add, and in registers */

/* Runs `rounds` rounds; returns the floating-point operations done, negative if the sum came out wrong. */
static double fma_loop(int64_t rounds) {
    vec sum[PEAK_CHAINS];
    vec a = vset1((real)0.5), b = vset1((real)1);
    __asm__ volatile("" : "+m"(a), "+m"(b)); /* not constants to the compiler */
    for (int i = 0; i < PEAK_CHAINS; i++) sum[i] = (vec){0};
    for (int64_t round = 0; round < rounds; round++) {
        UNROLL
        for (int i = 0; i < PEAK_CHAINS; i++) sum[i] = vfma(sum[i], a, b);
    }
    real total = 0;
    for (int i = 0; i < PEAK_CHAINS; i++) {
        for (int lane = 0; lane < VL; lane++) total += sum[i][lane];
    }
    const double flops = 2.0 * (double)rounds * PEAK_CHAINS * VL;
    return total >= 0 ? flops : -flops;
}

#endif
