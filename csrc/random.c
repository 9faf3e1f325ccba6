/* Draws outside the step: initial weights, the order of the samples. Plain scalar C without fused operations and
 * without the system's libm (but sqrt, which is exact), so every machine gives the same bits.
 *
 * Words come from Philox4x32-7 (Salmon et al., SC11), by the same kernel as the draws of a mask. fr_philox is the
 * same generator, one block at a time, to be held against the published answers.
 */
#include <string.h>

#include "fastreg.h"
#include "philox_keys.h"
#include "targets.h"

void fr_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2], int rounds) {
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < rounds; round++) {
        const uint64_t p0 = (uint64_t)FR_PHILOX_MULTIPLIER_0 * x0, p1 = (uint64_t)FR_PHILOX_MULTIPLIER_1 * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += FR_PHILOX_WEYL_0, k1 += FR_PHILOX_WEYL_1;
    }
    out[0] = x0, out[1] = x1, out[2] = x2, out[3] = x3;
}

enum { CHUNK = FR_PANEL / 4 }; /* 64-bit words that the kernel gives in one go */

/* The 64-bit words 16 * chunk .. 16 * chunk + 15 of a stream. A word is made of two of Philox's, the first one high. */
static void words_of(uint64_t words[CHUNK], int64_t chunk, uint64_t seed, uint32_t step, uint32_t stream) {
    uint16_t draws[FR_PANEL];
    uint32_t halves[2 * CHUNK];
    const uint64_t column = (uint64_t)chunk * FR_PANEL; /* what does not fit into the column goes into the row */
    fr_current_table(FR_F32)->draws(draws, seed, (uint32_t)column, (uint32_t)(column >> 32), step, stream);
    memcpy(halves, draws, sizeof halves); /* a draw is half a word, the low one first */
    for (int i = 0; i < CHUNK; i++) words[i] = (uint64_t)halves[2 * i] << 32 | halves[2 * i + 1];
}

void fr_fill_uniform(double *out, int64_t n, uint64_t seed, uint32_t stream, int64_t first) {
    for (int64_t i = 0; i < n; i += CHUNK) {
        uint64_t words[CHUNK];
        words_of(words, (first + i) / CHUNK, seed, 0, stream);
        for (int64_t j = i; j < n && j < i + CHUNK; j++) {
            out[j] = ((double)(words[j - i] >> 12) + 0.5) * 0x1p-52; /* the middle of an interval: never 0, never 1 */
        }
    }
}

/* log(x) for normal x > 0: x = m 2^e with m in [sqrt(1/2), sqrt(2)), then the series of atanh in s = (m - 1)/(m + 1). */
static double plain_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof x);
    int64_t e = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) m *= 0.5, e++;
    const double s = (m - 1) / (m + 1), q = s * s;
    double series = 0;
    for (int k = 23; k >= 1; k -= 2) series = series * q + 1.0 / k;
    return (double)e * 0.6931471805599453 + 2 * s * series;
}

/* The inverse of the normal distribution function, error below 1e-15 relative.
 * Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988). */
static double inverse_normal(double p) {
    static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1.0,
                                4.2313330701600911252e+1,
                                6.8718700749205790830e+2,
                                5.3941960214247511077e+3,
                                2.1213794301586595867e+4,
                                3.9307895800092710610e+4,
                                2.8729085735721942674e+4,
                                5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1.0,
                                5.99832206555887937690e-1,
                                1.36929880922735805310e-1,
                                1.48753612908506148525e-2,
                                7.86869131145613259100e-4,
                                1.84631831751005468180e-5,
                                1.42151175831644588870e-7,
                                2.04426310338993978564e-15};
    const double q = p - 0.5;
    const double *top, *bottom;
    double r, sign = 1;
    if (q >= -0.425 && q <= 0.425) {
        r = 0.180625 - q * q;
        top = a, bottom = b, sign = q;
    } else {
        r = __builtin_sqrt(-plain_log(q < 0 ? p : 1 - p));
        sign = q < 0 ? -1 : 1;
        if (r <= 5) r -= 1.6, top = c, bottom = d;
        else r -= 5, top = e, bottom = f;
    }
    double numerator = top[7], denominator = bottom[7];
    for (int i = 6; i >= 0; i--) {
        numerator = numerator * r + top[i];
        denominator = denominator * r + bottom[i];
    }
    return sign * numerator / denominator;
}

void fr_fill_normal(double *out, int64_t n, uint64_t seed, uint32_t stream, int64_t first) {
    fr_fill_uniform(out, n, seed, stream, first);
    for (int64_t i = 0; i < n; i++) out[i] = inverse_normal(out[i]);
}

/* exp(x) for |x| up to 700: x = k log(2) + r with |r| at most log(2) / 2, then Taylor's series of r. */
static double plain_exp(double x) {
    const int64_t k = (int64_t)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
    const double r = (x - (double)k * 0x1.62e42fee00000p-1) - (double)k * 0x1.a39ef35793c76p-33;
    double series = 1;
    for (int i = 14; i >= 1; i--) series = 1 + series * r / i;
    const uint64_t bits = (uint64_t)(1023 + k) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return series * scale;
}

static double unit(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

/* The logarithm of a draw from the gamma distribution of this shape. Marsaglia and Tsang, "A simple method for generating
 * gamma variables", ACM TOMS 26 (2000): d (1 + c x)^3 with a normal x, accepted with a probability near 1. A shape below 1
 * takes the one above it, times u^(1 / shape). */
static double log_gamma_draw(double shape, uint32_t number, uint64_t seed, uint32_t step, uint32_t stream) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / __builtin_sqrt(9 * d);
    for (uint32_t attempt = 0;; attempt++) {
        const uint32_t counter[4] = {attempt, number, step, stream};
        uint32_t word[4];
        fr_philox(word, counter, key, FR_PHILOX_ROUNDS);
        const double p = ((double)(((uint64_t)word[0] << 32 | word[1]) >> 12) + 0.5) * 0x1p-52;
        const double x = inverse_normal(p), root = 1 + c * x, v = root * root * root;
        if (v <= 0) continue;
        const double log_v = plain_log(v);
        if (plain_log(unit(word[2])) >= 0.5 * x * x + d - d * v + d * log_v) continue;
        const double found = plain_log(d) + log_v;
        return shape < 1 ? found + plain_log(unit(word[3])) / shape : found;
    }
}

/* Two gamma draws a and b give a / (a + b) of the beta distribution. */
fr_mixture fr_draw_mixture(const fr_mix *mix, uint64_t seed, uint32_t step, int64_t rows) {
    if (mix->alpha <= 0 || rows < 2) return (fr_mixture){.share = 1};
    const double a = log_gamma_draw(mix->alpha, 0, seed, step, mix->stream);
    const double b = log_gamma_draw(mix->alpha, 1, seed, step, mix->stream);
    const uint32_t counter[4] = {0, 2, step, mix->stream}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t word[4];
    fr_philox(word, counter, key, FR_PHILOX_ROUNDS);
    const uint64_t draw = (uint64_t)word[0] << 32 | word[1];
    return (fr_mixture){
        .share = b - a > 700    ? 0
                 : b - a < -700 ? 1
                                : 1 / (1 + plain_exp(b - a)),
        .shift = 1 + (int64_t)(((unsigned __int128)draw * (uint64_t)(rows - 1)) >> 64),
    };
}

/* Fisher and Yates, from the end; the index comes from 64 bits by multiplication (bias below 2^-32 for n below 2^32). */
void fr_shuffle(int64_t *order, int64_t n, uint64_t seed, uint32_t epoch, int64_t piece) {
    int64_t last = n - 1 - piece * FR_AT_ONCE, chunk = piece * (FR_AT_ONCE / CHUNK);
    const int64_t end = last > FR_AT_ONCE ? last - FR_AT_ONCE : 0;
    for (; last > end; chunk++) {
        uint64_t words[CHUNK];
        words_of(words, chunk, seed, epoch, FR_SHUFFLE_STREAM);
        for (int k = 0; k < CHUNK && last > end; k++, last--) {
            const int64_t j = (int64_t)(((unsigned __int128)words[k] * (uint64_t)(last + 1)) >> 64);
            const int64_t swap = order[last];
            order[last] = order[j];
            order[j] = swap;
        }
    }
}
