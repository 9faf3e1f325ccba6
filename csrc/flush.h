/* Small numbers are zero: the rule of a run, and the floating-point mode that carries it out. Internal to run.c.
 *
 * The rule. In a run, a number that is not zero but smaller in size than the smallest normal number of its dtype (2^-126
 * in float32, 2^-1022 in float64) counts as zero. It is zero as an operand of any operation, and it is zero as a result.
 * A result is first rounded as if exponents had no limit. So what rounds up to the smallest normal number is that number.
 *
 * Why. Such numbers (denormals) come up where a training has gone on for long: tails of activations, gradients of what
 * has been learned, state that decays. They hold nothing that a training needs, and every operation on one takes some
 * hundred cycles. With the rule none comes up anywhere: neither in memory nor within a sum.
 *
 * Why it is a mode of the processor. Thresholds where numbers are stored would leave the sums: two normal numbers may
 * have a product that is none. Thresholds so high that no product of two stored numbers is too small, 2^-63 in
 * float32, would take away half the range. The mode covers every operation, and costs nothing.
 *
 * Same bits. AVX2 and AVX-512 obey one control register, which decides after rounding: the rule, to the letter. So does
 * the generic target on x86-64. ARM decides before rounding, which differs in one place: an exact result of size
 * m - m 2^-p or more, but below m, where m is the smallest normal number and p is 25 in float32 and 54 in float64. It
 * rounds up to m by the rule, and is 0 on ARM. No threshold on what is stored rules such a sum out, short of 2^-51 in
 * float32: a partial sum of normal products can come as near to m as one likes. So between x86-64 and ARM, and only
 * there, a result next to the smallest normal number may differ, in one of 2^25 that are within a factor of two of it.
 *
 * The rule holds for every step of a computation, not for its end alone: the slope of silu at -88 would be -5e-37, but
 * is made from e^-88, which is 0 in float32.
 *
 * Where the rule ends. A function in Python that a run calls sees its own thread's mode, not this one. Numbers that are
 * copied pass no operation, so gather applies the rule to the data itself (vnormal_or_zero in kernels/vec.h). A parameter
 * that was set to a small number keeps it in memory until an update writes it, and counts as zero until then.
 */
#ifndef FR_FLUSH_H
#define FR_FLUSH_H

#include <fenv.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* This thread: the rule, and rounding to nearest, whatever the mode was. Where the processor knows no such mode, small
 * numbers keep their values. */
static inline void fr_small_is_zero(void) {
    fesetenv(FE_DFL_ENV);
#if defined(__x86_64__)
    enum { RESULTS = 1 << 15, OPERANDS = 1 << 6 };
    _mm_setcsr(_mm_getcsr() | RESULTS | OPERANDS);
#elif defined(__aarch64__)
    const uint64_t both = 1 << 24;
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | both));
#endif
}

#endif
