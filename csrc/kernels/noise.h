/* Normal draws from the words of Philox, by the inverse of the normal distribution function.
 *
 * The words are those of the masks in philox.h, two columns to a word: eight words are sixteen columns. Column c < 8 of
 * such a sixteen takes word c as it is, and column c + 8 takes PAIR_FACTOR * word + PAIR_SHIFT. Both are bijections, so
 * every draw has all 32 bits. A pair is a point of a lattice of 2^32 points, and the factor, near the golden section,
 * spreads them evenly over the square (all partial quotients of factor / 2^32 are at most 3).
 * `python bench/normals.py` measures what is left of a dependence.
 *
 * Of a word, the sign is bit 31. The others, k, give the tail t = (k + 1/2) / 2^32 beyond the draw: 0 < t < 1/2. So the far
 * tails keep their digits. The size of the draw is that of the normal quantile at t, as a quotient of polynomials.
 * For double: Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988).
 */
#ifndef FR_NOISE_H
#define FR_NOISE_H

#include "philox.h"
#include "vmath.h"

typedef int32_t i32vec __attribute__((vector_size(VL * 4)));
typedef int32_t i32vec_mem __attribute__((vector_size(VL * 4), aligned(2), may_alias));
typedef uint32_t u32vec __attribute__((vector_size(VL * 4)));
typedef uint32_t u32vec_mem __attribute__((vector_size(VL * 4), aligned(2), may_alias));

#define PAIR_FACTOR 0x9E3A75A9u
#define PAIR_SHIFT 0x5A827999u

/* Quotients of polynomials, the highest power first. In the centre they are of float in t (1 - t), where the error is below
 * 3e-6, and of double in 0.425^2 - (1/2 - t)^2. In the tails, t < TAIL_WORDS / 2^32, they are of sqrt(-log t) - 1.6. */
#if REAL_BITS == 32
enum { TAIL_WORDS = 1 << 21, CENTRE_TERMS = 7 };
static const real CENTRE_TOP[CENTRE_TERMS] = {0x1.c891c8p+39f, 0x1.7ea85cp+40f, 0x1.d16fe2p+37f, 0x1.a17e2ap+32f,
                                              0x1.3fe342p+25f, 0x1.88bc08p+15f, 0x1.015c84p+3f};
static const real CENTRE_BOTTOM[CENTRE_TERMS] = {0x1.be7152p+39f, 0x1.34b5cep+39f, 0x1.f93506p+35f, 0x1.60320ap+30f,
                                                 0x1.bf7cc4p+22f, 0x1.d3a852p+12f, 0x1p+0f};
#else
enum { TAIL_WORDS = 322122547, CENTRE_TERMS = 8 };
static const real CENTRE_TOP[CENTRE_TERMS] = {
    2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
    1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e0};
static const real CENTRE_BOTTOM[CENTRE_TERMS] = {
    5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
    5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0};
#endif
enum { TAIL_TERMS = 8 };
static const real TAIL_TOP[TAIL_TERMS] = {(real)7.74545014278341407640e-4, (real)2.27238449892691845833e-2,
                                          (real)2.41780725177450611770e-1, (real)1.27045825245236838258e0,
                                          (real)3.64784832476320460504e0,  (real)5.76949722146069140550e0,
                                          (real)4.63033784615654529590e0,  (real)1.42343711074968357734e0};
static const real TAIL_BOTTOM[TAIL_TERMS] = {(real)1.05075007164441684324e-9, (real)5.47593808499534494600e-4,
                                             (real)1.51986665636164571966e-2, (real)1.48103976427480074590e-1,
                                             (real)6.89767334985100004550e-1, (real)1.67638483018380384940e0,
                                             (real)2.05319162663775882187e0,  (real)1.0};

INLINE vec horner(vec x, const real *coefficients, int terms) {
    vec sum = vset1(coefficients[0]);
    for (int i = 1; i < terms; i++) sum = vfma(sum, x, vset1(coefficients[i]));
    return sum;
}

/* t */
INLINE vec tail_of(i32vec word) {
    return vfma(__builtin_convertvector(word & INT32_MAX, vec), vset1((real)0x1p-32), vset1((real)0x1p-33));
}

INLINE ivec in_tail(vec t) { return t < vset1((real)(TAIL_WORDS * 0x1p-32)); }

/* The size of a draw with its sign. */
INLINE vec signed_as(vec size, i32vec word) {
#if REAL_BITS == 32
    return (vec)((ivec)size ^ (word & INT32_MIN));
#else
    return (vec)((ivec)size ^ (__builtin_convertvector(word, ivec) & INT64_MIN));
#endif
}

/* Right where t >= TAIL_WORDS / 2^32. */
INLINE vec central_normal(vec t) {
    const vec centre = (real)0.5 - t;
#if REAL_BITS == 32
    const vec x = vfma(-t, t, t);
#else
    const vec x = vfma(-centre, centre, vset1((real)0.180625));
#endif
    return centre * horner(x, CENTRE_TOP, CENTRE_TERMS) / horner(x, CENTRE_BOTTOM, CENTRE_TERMS);
}

/* Right elsewhere. */
INLINE vec tail_normal(vec t) {
    const vec x = vsqrt(-vlog(t)) - (real)1.6;
    return horner(x, TAIL_TOP, TAIL_TERMS) / horner(x, TAIL_BOTTOM, TAIL_TERMS);
}

/* The words of columns j .. j + VL - 1 of a panel, from what Philox has drawn for it. */
INLINE i32vec words_at(const uint16_t *philox, int j) {
#if VBYTES == 64 && REAL_BITS == 32
#define EIGHT(x) x, x, x, x, x, x, x, x
    const u32vec factor = {EIGHT(1), EIGHT(PAIR_FACTOR)}, shift = {EIGHT(0), EIGHT(PAIR_SHIFT)};
#undef EIGHT
    const __m512i eight = _mm512_broadcast_i32x8(_mm256_loadu_si256((const __m256i *)(philox + j)));
    return (i32vec)((u32vec)eight * factor + shift);
#else
    const u32vec word = *(const u32vec_mem *)(philox + j / 16 * 16 + j % 8 * 2);
    return (i32vec)(j % 16 < 8 ? word : word * PAIR_FACTOR + PAIR_SHIFT);
#endif
}

/* The draws of at least that number of vectors of a panel, and their words. Returns whether some are in the tails; these
 * are not right yet. */
INLINE int central_draws(real *out, int32_t *words, const uint16_t *philox, int vectors) {
    vec least = vset1((real)0.5);
    for (int first = 0; first < vectors * VL; first += 16) {
        UNROLL
        for (int j = first; j < first + 16; j += VL) {
            const i32vec word = words_at(philox, j);
            const vec t = tail_of(word);
            least = vmin(least, t);
            *(i32vec_mem *)(words + j) = word;
            vstore(out + j, signed_as(central_normal(t), word));
        }
    }
    return vany(in_tail(least));
}

/* Draws in the tails: side by side they fill vectors. For each, y = x + std * draw is still to do. */
typedef struct {
    int count;
    int32_t word[VL + FR_PANEL];
    real x[VL + FR_PANEL];
    real *y[VL + FR_PANEL];
} late_draws;

static void finish_late(late_draws *late, vec std) {
    for (int i = late->count; i % VL; i++) late->word[i] = 0, late->x[i] = 0;
    for (int i = 0; i < late->count; i += VL) {
        const i32vec word = *(const i32vec_mem *)(late->word + i);
        real y[VL];
        vstore(y, vfma(std, signed_as(tail_normal(tail_of(word)), word), vload(late->x + i)));
        for (int k = 0; k < VL && i + k < late->count; k++) *late->y[i + k] = y[k];
    }
    late->count = 0;
}

/* Takes note of the tails among the words of a panel. There is room for all if fewer than VL draws are late. */
static void note_late(late_draws *late, real *y, const real *x, const int32_t *words, int vectors) {
    for (int j = 0; j < vectors * VL; j += VL) {
        if (!vany(in_tail(tail_of(*(const i32vec_mem *)(words + j))))) continue;
        for (int i = j; i < j + VL; i++) {
            late->word[late->count] = words[i], late->x[late->count] = x ? x[i] : 0, late->y[late->count] = y + i;
            late->count += (words[i] & INT32_MAX) < TAIL_WORDS;
        }
    }
}

/* The normal draws of the columns from `column` on, a multiple of 16, of one row: at least that number of vectors of them, at
 * most a panel. */
INLINE void normal_draws(real *out, const draw_place *place, int vectors) {
    uint16_t philox[FR_PANEL];
    int32_t words[FR_PANEL];
    philox_draws(philox, place);
    if (!central_draws(out, words, philox, vectors)) return;
    late_draws late;
    late.count = 0;
    note_late(&late, out, NULL, words, vectors);
    finish_late(&late, vset1(1));
}

/* y = x + std * draws in the columns from `column` on, any number of them. The draws in the tails may be left for later; y
 * and x may be the same. */
INLINE void add_normals(real *y, const real *x, vec std, int64_t columns, const draw_place *place, late_draws *late) {
    uint16_t philox[2][FR_PANEL];
    int32_t words[FR_PANEL];
    real draws[FR_PANEL];
    draw_place next = *place;
    int here = 0;
    philox_draws(philox[here], &next);
    for (int64_t column = 0; column < columns; column += FR_PANEL, here = !here) {
        const int vectors = panel_vectors(columns, column);
        if (column + FR_PANEL < columns) { /* a long chain, beside which the quotients of this panel are computed */
            next.column += FR_PANEL;
            philox_draws(philox[!here], &next);
        }
        if (central_draws(draws, words, philox[here], vectors)) {
            note_late(late, y + column, x + column, words, vectors);
        }
        for (int j = 0; j < vectors * VL; j += VL) {
            vstore(y + column + j, vfma(std, vload(draws + j), vload(x + column + j)));
        }
        if (late->count >= VL) finish_late(late, std);
    }
}

#endif
