/* Elementary functions on a vec: exp, log, log1p, erf, and the activations with their derivatives.
 *
 * Belongs here: functions of one real variable, lane by lane, branch-free, with polynomials inline.
 * Does not: loops over memory, losses, layers, random numbers; vector types and bit tricks of general use (vec.h).
 *
 * Only + - * /, vfma, comparisons and integer operations are used: every target that has the fused multiply-add gives
 * the same bits. No estimates (rcp, rsqrt), no libm, no tables, no rounding instruction. On the generic target, whose
 * vfma rounds twice, the errors grow by a few tenths of an ulp, except far out in the tail of gelu (see vm_gauss).
 *
 * Letters: x the argument, a = |x| (clamped where the result has reached its limit), z = a^2, n and k integers (k held
 * in a real), r a reduced argument, e = exp(-something >= 0), E = exp(something >= 0) - 1, f and m - 1 the same.
 *
 * Coefficients: fitted for this file by weighted least squares on Chebyshev nodes in 400-bit arithmetic (quotients: the
 * linearized problem, repeated), close to minimax; the low orders rounded first, the others then fitted again. "2^-k"
 * beside them is the largest relative error of the approximation, its coefficients rounded.
 *
 * Errors are measured by bench/ulp.py: f32 over all 2^32 arguments, f64 over some millions. "ulp" is relative to the
 * exact result, subnormal results included (in a run they are 0: see ../flush.h); "abs" is the error over max(1, |x|, |result|).
 *
 * W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980: reduction by a constant in two parts.
 * P. T. P. Tang, Table-driven implementation of the logarithm function, ACM TOMS 16, 1990: the series in f / (2 + f).
 * W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23, 1969: erf by cases.
 */
#ifndef FR_VMATH_H
#define FR_VMATH_H

#include "vec.h"

#if REAL_BITS == 32
typedef uint32_t uvec __attribute__((vector_size(VBYTES)));
enum { VM_MANT = 23, VM_BIAS = 127, VM_SHIFT = 64 }; /* mantissa bits, exponent bias, about half the bias */
static const real vm_ln2_hi = 0x1.62e4p-1f;          /* 15 bits: n vm_ln2_hi is exact */
static const real vm_ln2_lo = 0x1.7f7d1cp-20f;
static const real vm_exp_max = 89;       /* exp(this) overflows */
static const real vm_exp_min = 104;      /* exp(-this) rounds to 0 */
static const real vm_gelu_max = 14.43f;  /* exp(-this^2 / 2) rounds to 0 */
static const real vm_gelu_tanh_max = 11; /* sigmoid(-2 u(this)) rounds to 0 */
static const real vm_silu_max = 110;     /* 2 this exp(-this) rounds to 0 */
static const real vm_tanh_max = 10;      /* tanh(this) rounds to 1 */
static const real vm_erf_max = 4;        /* erf(this) rounds to 1 */
static const real vm_min_normal = 0x1p-126f;
#else
typedef uint64_t uvec __attribute__((vector_size(VBYTES)));
enum { VM_MANT = 52, VM_BIAS = 1023, VM_SHIFT = 512 };
static const real vm_ln2_hi = 0x1.62e42fefa38p-1; /* 42 bits */
static const real vm_ln2_lo = 0x1.ef35793c7673p-45;
static const real vm_exp_max = 710;
static const real vm_exp_min = 746;
static const real vm_gelu_max = 38.62;
static const real vm_gelu_tanh_max = 22;
static const real vm_silu_max = 753;
static const real vm_tanh_max = 20;
static const real vm_erf_max = 6;
static const real vm_min_normal = 0x1p-1022;
#endif
static const real vm_log2e = (real)1.4426950408889634074;
static const real vm_magic = (real)3 * ((ireal)1 << (VM_MANT - 1)); /* 1.5 2^VM_MANT: adding it rounds to an integer */

/* c[0] + c[1] x + ... + c[n - 1] x^(n - 1), by Horner's rule: the shortest code, and the calls around overlap */
INLINE vec vm_poly(vec x, const real *c, int n) {
    vec p = vset1(c[n - 1]);
    for (int i = n - 2; i >= 0; i--) {
        p = vfma(p, x, vset1(c[i]));
    }
    return p;
}
#define VM_POLY(x, c) vm_poly(x, c, (int)(sizeof(c) / sizeof((c)[0])))

/* ---- exp ---- */

/* (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2 */
INLINE vec vm_exp_tail(vec r) {
#if REAL_BITS == 32 /* 2^-26 of exp(r) - 1 */
    static const real c[] = {0x1.fffffep-2f, 0x1.5554aep-3f, 0x1.555722p-5f, 0x1.1228d2p-7f, 0x1.6b6550p-10f};
#else /* 2^-55.5 */
    static const real c[] = {0x1.0000000000005p-1,  0x1.555555555553dp-3,  0x1.5555555552109p-5,  0x1.1111111118209p-7,
                             0x1.6c16c17f3156ap-10, 0x1.a01a017989e54p-13, 0x1.a019a6966ef8ep-16, 0x1.71de7e5652f86p-19,
                             0x1.28a29df94b8a6p-22, 0x1.ae7aaebae4521p-26};
#endif
    return VM_POLY(r, c);
}

/* exp(r) for |r| <= ln(2) / 2 */
INLINE vec vm_exp_poly(vec r) { return vfma(vfma(vm_exp_tail(r), r, vset1(1)), r, vset1(1)); }

/* x = n ln(2) + r, n an integer, |r| <= ln(2) / 2 (Cody & Waite). Gives r, and n + shift in the low bits of *i. */
INLINE vec vm_exp_reduce(vec x, int shift, ivec *i) {
    const vec magic = vset1(vm_magic + (real)shift);
    const vec t = vfma(x, vset1(vm_log2e), magic);
    const vec n = t - magic;
    *i = vbits(t);
    return vfma(n, vset1(-vm_ln2_lo), vfma(n, vset1(-vm_ln2_hi), x));
}

/* exp(-a - lo) for 0 <= a <= vm_silu_max and a tiny lo. 2^n = 2^(n + VM_SHIFT) 2^-VM_SHIFT: the first, made by moving
 * its biased exponent into place, is always normal, and the product with the second, vm_down(), rounds once to a
 * subnormal. vm_exp_neg_up is what is multiplied by the second. */
INLINE vec vm_exp_neg_up(vec a, vec lo) {
    ivec i;
    const vec r = vm_exp_reduce(-a, VM_SHIFT + VM_BIAS, &i) - lo;
    return vm_exp_poly(r) * vfrombits(i << VM_MANT);
}

INLINE vec vm_down(void) { return vfrombits(viset1((ireal)(VM_BIAS - VM_SHIFT) << VM_MANT)); }

INLINE vec vm_exp_neg(vec a, vec lo) { return vm_exp_neg_up(a, lo) * vm_down(); }

/* exp(-|x|) - 1: 2^n (e^r - 1) + (2^n - 1), which keeps the small arguments exact */
INLINE vec vm_expm1_neg(vec x) {
    ivec i;
    const vec r =
        vm_exp_reduce(-vmin(vset1(2 * vm_tanh_max), vabs(x)), VM_BIAS, &i); /* there the result rounds to -1 */
    const vec p = vfma(r * r, vm_exp_tail(r), r);
    const vec s = vfrombits(i << VM_MANT);
    return vfma(p, s, s - vset1(1));
}

/* e^x. f32 0.91 ulp, f64 0.88. */
INLINE vec vexp(vec x) {
    ivec i;
    const vec clamped = vmin(vset1(vm_exp_max), vmax(vset1(-vm_exp_min), x));
    const vec r = vm_exp_reduce(clamped, 2 * VM_BIAS, &i);
    /* 2^n = 2^floor(n / 2) 2^(n - floor(n / 2)): the last product rounds to a subnormal, or overflows */
    const ivec half = (i << (VM_MANT - 1)) & viset1(-((ireal)1 << VM_MANT));
    const ivec rest = (ivec)((uvec)(i << VM_MANT) - (uvec)half); /* without a sign: a NaN's bits may overflow */
    return vm_exp_poly(r) * vfrombits(half) * vfrombits(rest);
}

/* ---- log ---- */

/* x > 0 normal: x = 2^k m, sqrt(1/2) <= m < sqrt(2) */
INLINE vec vm_split(vec x, vec *k) {
    const ivec root = vbits(vset1((real)0.70710678118654752440));
    const ivec mantissa = viset1(((ireal)1 << VM_MANT) - 1);
    const real two = (real)((ireal)1 << VM_MANT);
    const ivec y = (ivec)((uvec)x + (uvec)(vbits(vset1(1)) - root));
    /* the biased exponent becomes the low bits of a real between 2^VM_MANT and 2^(VM_MANT + 1) */
    *k = vfrombits((ivec)((uvec)y >> VM_MANT) | vbits(vset1(two))) - vset1(two + VM_BIAS);
    return vfrombits((y & mantissa) + root);
}

/* k ln(2) + log(1 + f), sqrt(1/2) <= 1 + f <= sqrt(2): with s = f / (2 + f),
 * log(1 + f) = 2 atanh(s) = f - f^2 / 2 + s (f^2 / 2 + R), R = 2 (s^2 / 3 + s^4 / 5 + ...) */
INLINE vec vm_log(vec k, vec f) {
#if REAL_BITS == 32 /* 2^-30 */
    static const real c[] = {0x1.55557ap-1f, 0x1.995ed0p-2f, 0x1.31e1a8p-2f};
#else /* 2^-59 */
    static const real c[] = {0x1.5555555555595p-1, 0x1.999999997f26cp-2, 0x1.249249427c47dp-2, 0x1.c71c51a26870dp-3,
                             0x1.746652b1500b2p-3, 0x1.399fd376aebe3p-3, 0x1.2f17efa94bb3cp-3};
#endif
    const vec s = f / (f + vset1(2));
    const vec z = s * s;
    const vec h = vset1((real)0.5) * f * f;
    const vec u = vfma(z, VM_POLY(z, c), h);
    const vec small = vfma(s, u, k * vset1(vm_ln2_lo));
    return vfma(k, vset1(vm_ln2_hi), f - (h - small));
}

/* y = log(x) as computed for 0 < x < inf; the other cases */
INLINE vec vm_log_cases(vec x, vec y) {
    const vec inf = vset1((real)__builtin_inf());
    const vec outside = vselect(x == vset1(0), -inf, vset1((real)__builtin_nan("")));
    return vselect(x > vset1(0), vselect(x < inf, y, x), outside);
}

/* log x; log 0 = -inf. f32 0.83 ulp, f64 0.82. */
INLINE vec vlog(vec x) {
    const ivec tiny = x < vset1(vm_min_normal);
    const real up = (real)((ireal)1 << (VM_MANT + 1)); /* a power of two that makes a subnormal normal */
    vec k;
    const vec m = vm_split(vselect(tiny, x * vset1(up), x), &k);
    return vm_log_cases(x, vm_log(k - vkeep(tiny, vset1(VM_MANT + 1)), m - vset1(1)));
}

/* log(1 + x), x >= -1. What the sum u = 1 + x rounds off goes into the reduced argument.
 * f32 1.40 ulp, f64 1.29. */
INLINE vec vlog1p(vec x) {
    const vec one = vset1(1);
    const vec u = x + one;
    const vec v = u - one;
    const vec lost = (one - (u - v)) + (x - v); /* 1 + x = u + lost exactly (Knuth's two-sum) */
    vec k;
    const vec m = vm_split(u, &k);
    /* lost / 2^k; nothing is lost that matters above 2^64, where 2^-k could be out of range */
    const vec scaled = lost * vfrombits((ivec)((uvec)one + (uvec)m - (uvec)u));
    const vec f = (m - one) + vkeep(u < vset1(0x1p64), scaled);
    return vm_log_cases(u, vm_log(k, f));
}

/* ---- activations ----
 *
 * vNAME(z) and vNAME_grad, for every row of the table in fastreg.h. The gradient takes z where the table says that it needs
 * it, else a = vNAME(z). */

INLINE vec vlinear(vec z) { return z; }
INLINE vec vlinear_grad(vec a) {
    (void)a;
    return vset1(1);
}

INLINE vec vrelu(vec z) { return vmax((vec){0}, z); } /* this way round a NaN stays, and is noticed */
INLINE vec vrelu_grad(vec a) { return vkeep(a > (vec){0}, vset1(1)); }

static const real vm_leak = (real)0.01;

INLINE vec vleaky_relu(vec z) { return vselect(z > (vec){0}, z, z * vm_leak); }
INLINE vec vleaky_relu_grad(vec a) { return vselect(a > (vec){0}, vset1(1), vset1(vm_leak)); }

/* ---- sigmoid and tanh ---- */

/* 1 / (1 + e^-x) = e^x / (1 + e^x): the form whose exponential is at most 1. f32 2.41 ulp, f64 2.33. */
INLINE vec vsigmoid(vec x) {
    const vec one = vset1(1);
    const vec e = vm_exp_neg(vmin(vset1(vm_exp_min), vabs(x)), (vec){0});
    return vselect(x < vset1(0), e, one) / (one + e);
}

INLINE vec vsigmoid_grad(vec a) { return a * (vset1(1) - a); }

/* tanh x = E / (E + 2), E = e^2a - 1 = 2^n (e^r - 1) + (2^n - 1), which keeps the small arguments exact.
 * f32 2.57 ulp, f64 2.53. */
INLINE vec vtanh(vec x) {
    const vec a = vmin(vset1(vm_tanh_max), vabs(x));
    ivec i;
    const vec r = vm_exp_reduce(a + a, VM_BIAS, &i);
    const vec p = vfma(r * r, vm_exp_tail(r), r);
    const vec s = vfrombits(i << VM_MANT);
    const vec E = vfma(p, s, s - vset1(1));
    return vcopysign(E / (E + vset1(2)), x);
}

INLINE vec vtanh_grad(vec a) { return vfma(-a, a, vset1(1)); }

/* ---- erf and GELU ---- */

/* Phi(-a) e^(a^2 / 2) for 0 <= a <= vm_gelu_max, Phi the normal distribution function: Mills' ratio over
 * sqrt(2 pi), smooth and decreasing like 1 / a. A quotient of polynomials whose coefficients are all positive, so that
 * nothing cancels, and it is 1/2 exactly at 0. */
INLINE vec vm_mills(vec a) {
#if REAL_BITS == 32 /* 2^-26.6 */
    static const real c[] = {0.5f, 0x1.c01886p-2f, 0x1.762a74p-3f, 0x1.4b57e2p-5f, 0x1.0bdba6p-8f};
    static const real d[] = {1, 0x1.ac4e72p0f, 0x1.33478cp0f, 0x1.df481ep-2f, 0x1.9f4de8p-4f, 0x1.4fb4c8p-7f};
#else /* 2^-56.7 */
    static const real c[] = {0.5,
                             0x1.a7ca237c7a682p-1,
                             0x1.5bc79ba6a01fep-1,
                             0x1.6da04f66283a4p-2,
                             0x1.0e1fc42a72604p-3,
                             0x1.23bf8a0df205fp-5,
                             0x1.d1e2e1c624293p-8,
                             0x1.0fde413e4b415p-10,
                             0x1.bd8fdc34e188fp-14,
                             0x1.d2390253479f5p-18,
                             0x1.ded776919a13cp-23};
    static const real d[] = {1,
                             0x1.3a06268d8e0d5p1,
                             0x1.6871dd2fa0126p1,
                             0x1.0007ebb918df5p1,
                             0x1.f560d4e47ba89p-1,
                             0x1.6441f4fc9f0b1p-2,
                             0x1.7828519f6c342p-4,
                             0x1.284b9aabf1022p-6,
                             0x1.5704ccdca77afp-9,
                             0x1.17ccf581ee689p-12,
                             0x1.242968248ce91p-16,
                             0x1.2c11cb2f37f16p-21};
#endif
    return VM_POLY(a, c) / VM_POLY(a, d);
}

/* exp(-a^2 / 2), with the rounding error of the square put back; without a true fused multiply-add it is lost, and
 * the result is then off by up to a^2 / 2 ulp */
INLINE vec vm_gauss(vec a) {
    const vec h = vset1((real)0.5) * a;
    const vec s = h * a;
    return vm_exp_neg(s, vfma(h, a, -s));
}

/* erf x = x (1 + Q(x^2)) for |x| < 1, and 1 - 2 Phi(-sqrt(2) |x|) with the sign of x beyond.
 * f32 1.18 ulp, f64 1.25. */
INLINE vec verf(vec x) {
#if REAL_BITS == 32 /* 2^-29 */
    static const real c[] = {0x1.06eba8p-3f, -0x1.81273ep-2f,  0x1.ce2cf0p-4f, -0x1.b7f858p-6f,
                             0x1.53ff92p-8f, -0x1.a3c95cp-11f, 0x1.48edeep-14f};
#else /* 2^-56 */
    static const real c[] = {0x1.06eba8214db68p-3,   -0x1.812746b0379b1p-2,  0x1.ce2f21a04082ep-4,
                             -0x1.b82ce311eba5fp-6,  0x1.565bccf79918cp-8,   -0x1.c02db00a4932ep-11,
                             0x1.f9a2b66c1a280p-14,  -0x1.f4ca130bd4b37p-17, 0x1.b97dc7cd14904p-20,
                             -0x1.5bfb9f8386962p-23, 0x1.d6d1129df1c7dp-27,  -0x1.aadfed8c5cab7p-31};
#endif
    const vec one = vset1(1);
    const vec a = vmin(vset1(vm_erf_max), vabs(x));
    const vec z = a * a;
    const vec inner = vfma(a, VM_POLY(z, c), a);
    const vec m = vm_mills(vset1((real)1.41421356237309504880) * a);
    const vec outer = vfma(vset1(-2) * m, vm_exp_neg(z, (vec){0}), one);
    return vcopysign(vselect(a < one, inner, outer), x);
}

/* All GELUs are x F(x) with F(-x) = 1 - F(x), so with a = |x| and the tail F(-a), small where a is large:
 *   x F(x)    = max(x, 0) - a F(-a),
 *   (x F(x))' = g for x < 0, 1 - g for x >= 0, g = F(-a) - a F'(a).
 * Both sides keep their small numbers. The second, g being a product g1 g2: */
INLINE vec vm_gelu_slope(vec x, vec g1, vec g2) {
    const ivec negative = x < vset1(0);
    return vfma(vselect(negative, g1, -g1), g2, vkeep(~negative, vset1(1)));
}

/* x Phi(x) = x (1 + erf(x / sqrt(2))) / 2. f32 abs 7.8e-8, 6.6 ulp (far on the negative side); f64 1.5e-16, 7.7 ulp. */
INLINE vec vgelu(vec x) {
    const vec a = vmin(vset1(vm_gelu_max), vabs(x));
    return vfma(-a * vm_mills(a), vm_gauss(a), vmax(vset1(0), x));
}

/* Phi(x) + x phi(x), phi the normal density; zero at -0.7518. f32 abs 1.3e-7, f64 2.3e-16. */
INLINE vec vgelu_grad(vec x) {
    const vec a = vmin(vset1(vm_gelu_max), vabs(x));
    const vec density = vset1((real)0.39894228040143267794); /* 1 / sqrt(2 pi) */
    return vm_gelu_slope(x, vm_gauss(a), vfma(-density, a, vm_mills(a)));
}

/* x (1 + tanh(u)) / 2 = x sigmoid(2 u), 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3). The rounding of 2 u is
 * not put back. f32 abs 8.3e-8 (214 ulp at -10, where the result is 5e-38), f64 1.6e-16 (1400 ulp at -21). */
static const real vm_gelu_c1 = (real)1.59576912160573071176; /* 2 sqrt(2 / pi) */
static const real vm_gelu_c3 = (real)(1.59576912160573071176 * 0.044715);

INLINE vec vgelu_tanh(vec x) {
    const vec a = vmin(vset1(vm_gelu_tanh_max), vabs(x));
    const vec e = vm_exp_neg(a * vfma(vset1(vm_gelu_c3), a * a, vset1(vm_gelu_c1)), (vec){0});
    return vfma(-a, e / (vset1(1) + e), vmax(vset1(0), x));
}

/* Its derivative: with h = e q = sigmoid(-2 u(a)), g = h - a h (1 - h) (2 u)' = e q (1 - a q (2 u)').
 * f32 abs 1.1e-7, f64 1.9e-16. */
INLINE vec vgelu_tanh_grad(vec x) {
    const vec one = vset1(1);
    const vec a = vmin(vset1(vm_gelu_tanh_max), vabs(x));
    const vec z = a * a;
    const vec c1 = vset1(vm_gelu_c1);
    const vec e = vm_exp_neg(a * vfma(vset1(vm_gelu_c3), z, c1), (vec){0});
    const vec q = one / (one + e);
    const vec slope = vfma(vset1(3 * vm_gelu_c3), z, c1);
    return vm_gelu_slope(x, e * q, vfma(-(a * q), slope, one));
}

/* ---- SiLU, ELU, SELU, softplus, Mish, hard swish ----
 *
 * fastreg/reference/activations.py says whose they are. Their errors in float32 are those of every 61st argument. */

/* x sigmoid(x); for x < 0 the small factor comes last, so that subnormal results are rounded once.
 * f32 2.97 ulp, f64 2.60. */
INLINE vec vsilu(vec x) {
    const ivec negative = x < vset1(0);
    const vec one = vset1(1), a = vmin(vset1(vm_silu_max), vabs(x)), up = vm_exp_neg_up(a, (vec){0});
    return vselect(negative, -a * up, x) / (one + up * vm_down()) * vselect(negative, vm_down(), one);
}

/* s + x s (1 - s), s = sigmoid(x): as the GELUs', with h = e q = sigmoid(-a), g = h - a h (1 - h) = e q (1 - a q).
 * f32 abs 1.0e-7, f64 1.8e-16. */
INLINE vec vsilu_grad(vec x) {
    const vec one = vset1(1), a = vmin(vset1(vm_silu_max), vabs(x)), e = vm_exp_neg(a, (vec){0});
    const vec q = one / (one + e);
    return vm_gelu_slope(x, e * q, vfma(-a, q, one));
}

/* x for x > 0, e^x - 1 else. f32 0.94 ulp, f64 1.13. */
INLINE vec velu(vec x) { return vselect(x > vset1(0), x, vm_expm1_neg(x)); }

/* Of the output: its derivative e^x is a + 1 below zero. */
INLINE vec velu_grad(vec a) { return vselect(a > vset1(0), vset1(1), a + vset1(1)); }

static const real vm_selu_scale = (real)1.0507009873554804934;
static const real vm_selu_below = (real)1.7580993408473768600; /* the scale times alpha = 1.6732632423543772848 */

/* scale x for x > 0, scale alpha (e^x - 1) else. f32 1.86 ulp, f64 1.61. */
INLINE vec vselu(vec x) {
    return vselect(x > vset1(0), vset1(vm_selu_scale) * x, vset1(vm_selu_below) * vm_expm1_neg(x));
}

INLINE vec vselu_grad(vec a) { return vselect(a > vset1(0), vset1(vm_selu_scale), a + vset1(vm_selu_below)); }

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). f32 1.71 ulp, f64 1.66. */
INLINE vec vsoftplus(vec x) {
    const vec e = vm_exp_neg(vmin(vset1(vm_exp_min), vabs(x)), (vec){0});
    return vmax(vset1(0), x) + vlog1p(e);
}

/* Of the output: sigmoid(x) = 1 - e^-a. f32 0.94 ulp, f64 1.13. */
INLINE vec vsoftplus_grad(vec a) { return -vm_expm1_neg(a); }

/* tanh(softplus(x)) = n / d with n = (1 + e^x)^2 - 1 and d = n + 2. With e = e^-|x|, both times e^2 for x >= 0:
 * n = e (e + 2), d = n + 2 below zero, n = 1 + 2 e, d = n + 2 e^2 above. */
INLINE vec vm_mish_bottom(ivec negative, vec e) {
    const vec one = vset1(1), two = vset1(2);
    return vselect(negative, vfma(e, e + two, two), vfma(e + e, e, vfma(two, e, one)));
}

/* x tanh(softplus(x)); the small factor last, as in vsilu. f32 4.06 ulp, f64 3.63. */
INLINE vec vmish(vec x) {
    const ivec negative = x < vset1(0);
    const vec one = vset1(1), two = vset1(2), a = vmin(vset1(vm_silu_max), vabs(x)), up = vm_exp_neg_up(a, (vec){0});
    const vec e = up * vm_down();
    const vec top = vselect(negative, -a * up * (e + two), x * vfma(two, e, one));
    return top / vm_mish_bottom(negative, e) * vselect(negative, vm_down(), one);
}

/* n / d + x (1 - (n / d)^2) sigmoid(x) = (n + 4 x (1 + e) f / d) / d, f = e below zero, e^2 above.
 * f32 abs 2.0e-7, f64 3.3e-16. */
INLINE vec vmish_grad(vec x) {
    const ivec negative = x < vset1(0);
    const vec one = vset1(1), two = vset1(2), a = vmin(vset1(vm_silu_max), vabs(x)), e = vm_exp_neg(a, (vec){0});
    const vec n = vselect(negative, e * (e + two), vfma(two, e, one)), d = vm_mish_bottom(negative, e);
    const vec f = vselect(negative, -e, e * e) * (one + e);
    return vfma(vset1(4) * a, f / d, n) / d;
}

/* x min(max(x + 3, 0), 6) / 6. f32 1.87 ulp, f64 1.86. */
INLINE vec vhard_swish(vec x) {
    const vec c = vmax(vset1(-3), x);
    return c * (vmin(vset1(6), c + vset1(3)) / vset1(6));
}

/* 0 up to -3, 1 from 3 on, x / 3 + 1/2 between. f32 abs 4.0e-8, f64 7.4e-17. */
INLINE vec vhard_swish_grad(vec x) {
    const vec between = vfma(vset1((real)1 / 3), x, vset1((real)0.5));
    return vkeep(~(x <= vset1(-3)), vselect(x >= vset1(3), vset1(1), between));
}

#endif
