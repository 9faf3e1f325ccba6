/* The vector type and its few operations.
 *
 * A target sets, before it includes this file,
 *   REAL_BITS   32 or 64: the working dtype
 *   VBYTES      16, 32 or 64: the native register width (never wider: GCC spills)
 * and may set HAVE_AVX2, HAVE_AVX512 or HAVE_NEON to get intrinsics for vfma, vsqrt, umul32 and a few more.
 *
 * Every fused multiply-add of the library is written as vfma: the sources are compiled with
 * -ffp-contract=off, so a product and a sum are fused exactly where this file says so, and all
 * targets that have the instruction give the same bits. Nothing here reduces across lanes.
 */
#ifndef FR_VEC_H
#define FR_VEC_H

#include <stdint.h>
#include <string.h>

#include "../fastreg.h"

#if defined(HAVE_AVX512) || defined(HAVE_AVX2)
#include <immintrin.h>
#elif defined(HAVE_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

#if REAL_BITS == 32
typedef float real;
typedef int32_t ireal;
#elif REAL_BITS == 64
typedef double real;
typedef int64_t ireal;
#else
#error "REAL_BITS must be 32 or 64"
#endif

#define VL (VBYTES * 8 / REAL_BITS) /* lanes of a vector */

typedef real vec __attribute__((vector_size(VBYTES)));        /* VL reals */
typedef ireal ivec __attribute__((vector_size(VBYTES)));      /* VL integers; a comparison gives 0 or -1 */
typedef uint64_t u64vec __attribute__((vector_size(VBYTES))); /* VBYTES/8 words, for Philox */
typedef real vec_mem
    __attribute__((vector_size(VBYTES), aligned(sizeof(real)), may_alias)); /* a vector in memory, any alignment */

/* Asks for what is read a little later, into the second-level cache. */
INLINE void prefetch_near(const void *p, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i, 0, 2);
}

/* Vectors that hold this number of columns; rows are padded to 16 elements, so the last may be read whole. */
INLINE int vectors_of(int64_t columns) { return (int)((columns + VL - 1) / VL); }

/* Panels of a row of this number of columns, and the columns of the one that begins at `column`. */
INLINE int64_t panels_of(int64_t columns) { return (columns + FR_PANEL - 1) / FR_PANEL; }
INLINE int64_t panel_columns(int64_t columns, int64_t column) {
    return columns - column < FR_PANEL ? columns - column : FR_PANEL;
}

/* Vectors of that panel. */
INLINE int panel_vectors(int64_t columns, int64_t column) { return vectors_of(panel_columns(columns, column)); }

INLINE vec vload(const real *p) { return *(const vec_mem *)p; }
INLINE void vstore(real *p, vec a) { *(vec_mem *)p = a; }
/* Whole vectors of a row. */
INLINE void copy_row(real *out, const real *x, int64_t vectors) {
    for (int64_t j = 0; j < vectors * VL; j += VL) vstore(out + j, vload(x + j));
}

INLINE vec vset1(real x) { return x - (vec){0}; }
INLINE ivec viset1(ireal x) { return x - (ivec){0}; }
INLINE ivec vbits(vec a) { return (ivec)a; }
INLINE vec vfrombits(ivec a) { return (vec)a; }

/* mask lanes are 0 or -1 */
INLINE vec vselect(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
INLINE vec vkeep(ivec mask, vec a) { return (vec)(mask & (ivec)a); }

INLINE vec vabs(vec a) { return (vec)((ivec)a & ~(ivec)(-(vec){0})); }
INLINE vec vcopysign(vec magnitude, vec sign) {
    const ivec s = (ivec)(-(vec){0});
    return (vec)(((ivec)magnitude & ~s) | ((ivec)sign & s));
}
/* a > b ? a : b and a < b ? a : b, lane by lane: a NaN in b stays, a NaN in a gives b. x86 has it as one instruction. */
INLINE vec vmax(vec a, vec b) {
#if defined(HAVE_AVX512) && REAL_BITS == 32
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(HAVE_AVX512)
    return (vec)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(HAVE_AVX2) && REAL_BITS == 32
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(HAVE_AVX2)
    return (vec)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return vselect(a > b, a, b);
#endif
}
INLINE vec vmin(vec a, vec b) {
#if defined(HAVE_AVX512) && REAL_BITS == 32
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(HAVE_AVX512)
    return (vec)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif defined(HAVE_AVX2) && REAL_BITS == 32
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(HAVE_AVX2)
    return (vec)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
    return vselect(a < b, a, b);
#endif
}

/* a * b + c, rounded once (twice on the generic target) */
INLINE vec vfma(vec a, vec b, vec c) {
#if defined(HAVE_AVX512) && REAL_BITS == 32
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(HAVE_AVX512)
    return (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(HAVE_AVX2) && REAL_BITS == 32
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(HAVE_AVX2)
    return (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(HAVE_NEON) && REAL_BITS == 32
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(HAVE_NEON)
    return (vec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

INLINE vec vsqrt(vec a) {
#if defined(HAVE_AVX512) && REAL_BITS == 32
    return (vec)_mm512_sqrt_ps((__m512)a);
#elif defined(HAVE_AVX512)
    return (vec)_mm512_sqrt_pd((__m512d)a);
#elif defined(HAVE_AVX2) && REAL_BITS == 32
    return (vec)_mm256_sqrt_ps((__m256)a);
#elif defined(HAVE_AVX2)
    return (vec)_mm256_sqrt_pd((__m256d)a);
#elif defined(HAVE_NEON) && REAL_BITS == 32
    return (vec)vsqrtq_f32((float32x4_t)a);
#elif defined(HAVE_NEON)
    return (vec)vsqrtq_f64((float64x2_t)a);
#else
    vec r = a;
    for (int i = 0; i < VL; i++) {
        r[i] = REAL_BITS == 32 ? (real)__builtin_sqrtf((float)a[i]) : (real)__builtin_sqrt((double)a[i]);
    }
    return r;
#endif
}

/* base[index] of every lane */
INLINE vec vgather(const real *base, ivec index) {
#if defined(HAVE_AVX512) && REAL_BITS == 32
    return (vec)_mm512_i32gather_ps((__m512i)index, base, 4);
#elif defined(HAVE_AVX512)
    return (vec)_mm512_i64gather_pd((__m512i)index, base, 8);
#elif defined(HAVE_AVX2) && REAL_BITS == 32
    return (vec)_mm256_i32gather_ps(base, (__m256i)index, 4);
#elif defined(HAVE_AVX2)
    return (vec)_mm256_i64gather_pd(base, (__m256i)index, 8);
#else
    vec r = {0};
    for (int i = 0; i < VL; i++) r[i] = base[index[i]];
    return r;
#endif
}

/* Whether a comparison holds in any lane. */
INLINE int vany(ivec mask) {
#if defined(HAVE_AVX512) && REAL_BITS == 32
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(HAVE_AVX512)
    return _mm512_movepi64_mask((__m512i)mask) != 0;
#elif defined(HAVE_AVX2)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
    ireal any = 0;
    for (int i = 0; i < VL; i++) any |= mask[i];
    return any != 0;
#endif
}

/* a, or 0 where it is smaller than any normal number: the rule of ../flush.h for what is copied. It looks at the bits, so
 * it takes no longer for small numbers, and no mode changes it. */
INLINE vec vnormal_or_zero(vec a) {
    const ireal smallest = (ireal)1 << (REAL_BITS == 32 ? 23 : 52);
    return vkeep(vbits(vabs(a)) >= smallest, a);
}

/* 1, 0 or -1 */
INLINE vec sign_of(vec w) {
    const vec zero = {0};
    return vselect(w > zero, vset1(1), vkeep(w < zero, vset1(-1)));
}

/* The 64-bit products of the low halves of every 64-bit lane. */
INLINE u64vec umul32(u64vec a, u64vec b) {
#if defined(HAVE_AVX512)
    return (u64vec)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(HAVE_AVX2)
    return (u64vec)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(HAVE_NEON)
    return (u64vec)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
    const u64vec low = 0xffffffffu - (u64vec){0};
    return (a & low) * (b & low);
#endif
}

#endif
