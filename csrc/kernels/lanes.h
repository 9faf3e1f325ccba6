/* Sums along a row run over 16 virtual lanes, combined in one fixed tree, whatever the width of the hardware. */
#ifndef FR_LANES_H
#define FR_LANES_H

#include "vec.h"

enum { LANES = FR_LANES, LANE_VECS = LANES / VL };

/* 16 virtual lanes */
typedef struct {
    vec v[LANE_VECS];
} lanes;

INLINE lanes lanes_set(real x) {
    lanes r;
    for (int i = 0; i < LANE_VECS; i++) r.v[i] = vset1(x);
    return r;
}

/* -1 where column + lane < n */
INLINE ivec lanes_below(int64_t column, int64_t n, int part) {
    ivec number = {0};
    for (int i = 0; i < VL; i++) number[i] = part * VL + i;
    const int64_t left = n - column;
    return number < (ireal)(left < LANES ? left : LANES);
}

/* Zeros after the last column of a panel. */
INLINE void clear_tail(real *x, int64_t columns) {
    const int64_t last = columns / VL * VL;
    if (last < columns) vstore(x + last, vkeep(lanes_below(last, columns, 0), vload(x + last)));
}

INLINE real lanes_sum(const lanes *a) {
    real t[LANES];
    memcpy(t, a, sizeof t);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) t[i] += t[i + width];
    }
    return t[0];
}

INLINE real lanes_max(const lanes *a) {
    real t[LANES];
    memcpy(t, a, sizeof t);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) t[i] = t[i] > t[i + width] ? t[i] : t[i + width];
    }
    return t[0];
}

/* The sum of |x| of n numbers; what follows them, up to a whole number of lanes, may be anything. */
static real sum_of_sizes(const real *x, int64_t n) {
    lanes sum = lanes_set(0);
    for (int64_t j = 0; j < n; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) sum.v[i] += vkeep(lanes_below(j, n, i), vabs(vload(x + j + i * VL)));
    }
    return lanes_sum(&sum);
}

#endif
