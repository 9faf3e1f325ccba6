/* Norms where the plain sum of squares does not do: it overflows, or squares have underflowed that count.
 *
 * Then the numbers are divided by a power of two near the largest of them, and their squares are added in float64, in
 * order. The factor that brings a norm down to its limit is a product of two, since one alone may underflow although what
 * it makes of a large number would not. All of this is rare, so it is plain and slow. reference/norms.py has the same.
 */
#ifndef FR_EXACT_NORM_H
#define FR_EXACT_NORM_H

#include <float.h>

#include "../worker.h"
#include "vec.h"

#if REAL_BITS == 32
enum { DOWN = 126 };
static const double SMALLEST = FLT_MIN;
#else
enum { DOWN = 1022 };
static const double SMALLEST = DBL_MIN;
#endif

/* Below it squares that underflowed may matter: each has lost at most SMALLEST. */
static const double DOUBTFUL = 0x1p80 * SMALLEST;

/* Whether a plain sum of squares does not tell if a norm is over its limit, or by how much. */
INLINE int is_doubtful(double squares, double limit) {
    return !(squares <= DBL_MAX) || (squares < DOUBTFUL && limit * limit < 2 * DOUBTFUL);
}

/* x * first * second */
typedef struct {
    real first, second;
} two_factors;

/* 2^exponent, for -1022 .. 1023 */
INLINE double power_of_two(int exponent) {
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* The exponent of x >= 0, as far as its power of two and the inverse of that are normal numbers. */
INLINE int exponent_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    return exponent < -1022 ? -1022 : exponent > 1022 ? 1022 : exponent;
}

/* The largest size of some numbers and of `most`. A number that is not finite shows in the sum of squares. */
static double largest_of(double most, const real *x, int64_t count, int64_t step) {
    for (int64_t i = 0; i < count; i++) {
        const double size = __builtin_fabs((double)x[i * step]);
        if (size > most) most = size;
    }
    return most;
}

static double add_squares(double sum, const real *x, int64_t count, int64_t step, double scale) {
    for (int64_t i = 0; i < count; i++) {
        const double scaled = (double)x[i * step] * scale;
        sum += scaled * scaled;
    }
    return sum;
}

/* ratio * 2^-exponent */
static two_factors factors_of(double ratio, int exponent) {
    const double inverse = power_of_two(-exponent), plain = ratio * inverse;
    if (!(plain < SMALLEST)) return (two_factors){(real)plain, 1};
    return (two_factors){(real)power_of_two(-DOWN), (real)(ratio * power_of_two(DOWN) * inverse)};
}

/* What brings a norm down to its limit. `squares` is the sum of the squares times 4^-exponent. */
static two_factors factors_to(double limit, double squares, int exponent) {
    const double root = __builtin_sqrt(squares);
    if (!(root > limit * power_of_two(-exponent))) return (two_factors){1, 1};
    return factors_of(limit / root, exponent);
}

static void scale_exactly(real *x, int64_t count, int64_t step, two_factors by) {
    if (by.first == 1 && by.second == 1) return;
    for (int64_t i = 0; i < count; i++) x[i * step] = x[i * step] * by.first * by.second;
}

/* Scales numbers down to a norm. */
static void limit_exactly(real *x, int64_t count, int64_t step, double limit) {
    const int exponent = exponent_of(largest_of(0, x, count, step));
    const double squares = add_squares(0, x, count, step, power_of_two(-exponent));
    scale_exactly(x, count, step, factors_to(limit, squares, exponent));
}

#endif
