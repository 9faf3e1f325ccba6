/* Turns a matrix: out[n * step + k] = in[k * ld + n]. So dense_dx packs a panel of a weight.
 *
 * Four vectors, each of VL / 4 pieces of four columns from rows four apart, are transposed four by four within their
 * pieces; each of the four results is then VL rows of one column.
 */
#ifndef FR_TRANSPOSE_H
#define FR_TRANSPOSE_H

#include "../fastreg.h"
#include "vec.h"

typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef real quad_mem __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));

enum { SLAB = VL > 4 ? VL : 4 }; /* rows done at a time */

#if VL == 16
typedef vec slab;
INLINE slab load_pieces(const real *p, int64_t step) {
    __m512 r = _mm512_castps128_ps512(_mm_loadu_ps(p));
    r = _mm512_insertf32x4(r, _mm_loadu_ps(p + step), 1);
    r = _mm512_insertf32x4(r, _mm_loadu_ps(p + 2 * step), 2);
    return (slab)_mm512_insertf32x4(r, _mm_loadu_ps(p + 3 * step), 3);
}
#define PER_PIECE(a, b, c, d)                                                                                          \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#elif VL == 8 && REAL_BITS == 32
typedef vec slab;
INLINE slab load_pieces(const real *p, int64_t step) {
    return (slab)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + step), 1);
}
#define PER_PIECE(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#elif VL == 8
typedef vec slab;
INLINE slab load_pieces(const real *p, int64_t step) {
    return (slab)_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(p)), _mm256_loadu_pd(p + step), 1);
}
#define PER_PIECE(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#else
typedef quad slab;
#define load_pieces(p, step) ((quad) * (const quad_mem *)(p))
#define PER_PIECE(a, b, c, d) a, b, c, d
#endif

typedef real slab_mem __attribute__((vector_size(sizeof(slab)), aligned(sizeof(real)), may_alias));
typedef ireal slab_index __attribute__((vector_size(sizeof(slab))));
enum { SECOND = SLAB }; /* the first element of the second operand of a shuffle */
#ifdef __clang__
#define SHUFFLE(x, y, a, b, c, d) __builtin_shufflevector(x, y, PER_PIECE(a, b, c, d))
#else
#define SHUFFLE(x, y, a, b, c, d) __builtin_shuffle(x, y, (slab_index){PER_PIECE(a, b, c, d)})
#endif

/* Four columns n .. n + 3 of SLAB rows from `in` on. */
INLINE void transpose_slab(real *out, int64_t step, const real *in, int64_t ld) {
    const slab a = load_pieces(in, 4 * ld), b = load_pieces(in + ld, 4 * ld);
    const slab c = load_pieces(in + 2 * ld, 4 * ld), d = load_pieces(in + 3 * ld, 4 * ld);
    const slab ab0 = SHUFFLE(a, b, 0, SECOND, 1, SECOND + 1), ab1 = SHUFFLE(a, b, 2, SECOND + 2, 3, SECOND + 3);
    const slab cd0 = SHUFFLE(c, d, 0, SECOND, 1, SECOND + 1), cd1 = SHUFFLE(c, d, 2, SECOND + 2, 3, SECOND + 3);
    *(slab_mem *)(out + 0 * step) = SHUFFLE(ab0, cd0, 0, 1, SECOND, SECOND + 1);
    *(slab_mem *)(out + 1 * step) = SHUFFLE(ab0, cd0, 2, 3, SECOND + 2, SECOND + 3);
    *(slab_mem *)(out + 2 * step) = SHUFFLE(ab1, cd1, 0, 1, SECOND, SECOND + 1);
    *(slab_mem *)(out + 3 * step) = SHUFFLE(ab1, cd1, 2, 3, SECOND + 2, SECOND + 3);
}

/* `rows` rows k and all N columns, which are padded to whole pieces; rows up to the next whole vector become zero. */
INLINE void turn_by(real *out, int64_t step, const real *in, int64_t ld, int64_t rows, int64_t N) {
    int64_t k = 0;
    for (; k + SLAB <= rows; k += SLAB) {
        for (int64_t n = 0; n < N; n += 4) transpose_slab(out + n * step + k, step, in + k * ld + n, ld);
    }
    const int64_t whole = (rows + VL - 1) / VL * VL;
    for (int64_t n = 0; n < N && k < whole; n++) {
        for (int64_t i = k; i < whole; i++) out[n * step + i] = i < rows ? in[i * ld + n] : 0;
    }
}

static void turn(real *out, int64_t step, const real *in, int64_t ld, int64_t rows, int64_t N) {
    turn_by(out, step, in, ld, rows, N);
}

static void pack_transposed(real *out, const real *weight, int64_t ld, int64_t rows, int64_t N) {
    turn_by(out, FR_PANEL, weight, ld, rows, N);
}

#endif
