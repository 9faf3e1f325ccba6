/* Normal draws from the words of Philox, by the inverse of the normal distribution function.
 *
 * A column takes one 32-bit word: word j mod 4 of counter (j / 4, row, step, stream). With s the word as a signed number,
 * p - 1/2 = (s + 1/2) / 2^32. What is left in the tail is counted in integers, so it keeps its digits.
 * Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988).
 */
#ifndef FR_NOISE_H
#define FR_NOISE_H

#include "philox.h"
#include "vmath.h"

typedef int32_t i32vec __attribute__((vector_size(VL * 4)));
typedef int32_t i32vec_mem __attribute__((vector_size(VL * 4), aligned(2), may_alias));
typedef ireal ivec_mem __attribute__((vector_size(VBYTES), aligned(sizeof(ireal)), may_alias));

/* numerators and denominators, highest power first: |p - 1/2| <= 0.425, and the tails (in r - 1.6) */
static const double CENTRE_TOP[8] = {2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4,
                                     4.5921953931549871457e+4, 1.3731693765509461125e+4, 1.9715909503065514427e+3,
                                     1.3314166789178437745e+2, 3.3871328727963666080e0};
static const double CENTRE_BOTTOM[8] = {
    5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
    5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0};
static const double TAIL_TOP[8] = {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
                                   1.27045825245236838258e0,  3.64784832476320460504e0,  5.76949722146069140550e0,
                                   4.63033784615654529590e0,  1.42343711074968357734e0};
static const double TAIL_BOTTOM[8] = {
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
    6.89767334985100004550e-1, 1.67638483018380384940e0,  2.05319162663775882187e0,  1.0};

/* p - 1/2 */
INLINE vec centre_of(i32vec word) { return (__builtin_convertvector(word, vec) + (real)0.5) * (real)0x1p-32; }

INLINE vec rational(vec x, const double *tops, const double *bottoms) {
    vec top = {0}, bottom = {0};
    for (int i = 0; i < 8; i++) {
        top = vfma(top, x, vset1((real)tops[i]));
        bottom = vfma(bottom, x, vset1((real)bottoms[i]));
    }
    return top / bottom;
}

/* Right where |centre| <= 0.425. */
INLINE vec central_normal(vec centre) {
    return centre * rational(vfma(-centre, centre, vset1((real)0.180625)), CENTRE_TOP, CENTRE_BOTTOM);
}

/* Right elsewhere. */
INLINE vec tail_normal(i32vec word) {
    const i32vec size = word ^ (word >> 31); /* |s + 1/2| - 1/2 */
    const vec tail = (__builtin_convertvector(0x7fffffff - size, vec) + (real)0.5) * (real)0x1p-32;
    return vcopysign(rational(vsqrt(-vlog(tail)) - (real)1.6, TAIL_TOP, TAIL_BOTTOM), centre_of(word));
}

/* The normal draws of columns column .. column + 63 (a multiple of FR_PANEL) of one row. */
INLINE void normal_draws(real *out, const draw_place *place) {
    draw_place half = *place;
    uint16_t draws[2 * FR_PANEL]; /* 8 columns of draws are one counter, and so are 4 of normals */
    half.column *= 2;
    philox_draws(draws, &half);
    half.column += FR_PANEL;
    philox_draws(draws + FR_PANEL, &half);
    ireal away[FR_PANEL];
    for (int j = 0; j < FR_PANEL; j += VL) {
        const vec centre = centre_of(*(const i32vec_mem *)(draws + 2 * j));
        *(ivec_mem *)(away + j) = vabs(centre) > vset1((real)0.425);
        vstore(out + j, central_normal(centre));
    }
    /* 15 % are in the tails, and nearly every vector has one. Side by side they fill few vectors. */
    int32_t words[FR_PANEL] = {0};
    uint8_t where[FR_PANEL + 1];
    int count = 0;
    for (int j = 0; j < FR_PANEL; j++) {
        where[count] = (uint8_t)j;
        count += away[j] != 0;
    }
    for (int k = 0; k < count; k++) memcpy(words + k, draws + 2 * where[k], sizeof(int32_t));
    for (int k = 0; k < count; k += VL) {
        real tails[VL];
        vstore(tails, tail_normal(*(const i32vec_mem *)(words + k)));
        for (int i = 0; i < VL && k + i < count; i++) out[where[k + i]] = tails[i];
    }
}

#endif
