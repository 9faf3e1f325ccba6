/* Products of matrices, tile by tile: C (rows x one panel) = A * B, with C in the scratch of the worker.
 *
 * Only sums of products live here; what happens to C (bias, activation, update) is the business of the op that asked.
 *
 * The bits of an element depend on the length of its sum alone: one chain of fused multiply-adds over k in order,
 * starting from 0, for every FR_CHAIN terms; the sums of chains are added in order. Cutting a chain into pieces
 * does not change it, because C is stored and loaded without rounding.
 *
 * A is read element by element and broadcast, so it may lie either way: a[i * rs + k * cs], rs or cs being 1.
 * B is read by vectors: b[k * ldb + j].
 */
#ifndef FR_GEMM_H
#define FR_GEMM_H

#include "../run.h"
#include "transpose.h"
#include "vec.h"

enum { STRIP_ROWS = FR_STRIP_ROWS };

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

/* What will be touched where C goes next (a weight and its state), row for row of C: asked for one row a term while the
 * sums are running, because all at once they would hold up the loads of A and B. */
typedef struct {
    real *data[1 + FR_SLOTS]; /* NULL for none */
    int64_t ld[1 + FR_SLOTS];
} targets;

INLINE void prefetch_row(const targets *next, int64_t row, int64_t column, const int nv) {
    for (int i = 0; i < 1 + FR_SLOTS; i++) {
        if (!next->data[i]) continue;
        const char *line = (const char *)(next->data[i] + row * next->ld[i] + column);
        for (int byte = 0; byte < nv * VBYTES; byte += 64) __builtin_prefetch(line + byte, 1);
    }
}

/* Asks for rows [first, last) of what a later product will touch, `bytes` of each. */
INLINE void ask_for_targets(const targets *later, int64_t first, int64_t last, int64_t bytes) {
    for (int i = 0; i < 1 + FR_SLOTS; i++) {
        for (int64_t row = first; later->data[i] && row < last; row++) {
            prefetch_near(later->data[i] + row * later->ld[i], bytes);
        }
    }
}

/* c[mr][nv * VL] (rows FR_PANEL apart) = (fresh ? 0 : c) + A * B over K terms, all of c in registers. */
INLINE void tile_body(real *c, const real *a, int64_t rs, int64_t cs, const real *b, int64_t ldb, int64_t K, int fresh,
                      const targets *next, int64_t row, int64_t column, const int mr, const int nv) {
    vec sum[MR * NV]; /* row by row */
    UNROLL
    for (int i = 0; i < mr * nv; i++) sum[i] = (vec){0};
    if (!fresh) {
        UNROLL
        for (int i = 0; i < mr * nv; i++) sum[i] = vload(c + i / nv * FR_PANEL + i % nv * VL);
    }
    for (int64_t k = 0; k < K; k++) {
        if (next) {
            if (k < mr) prefetch_row(next, row + k, column, nv);
            __builtin_prefetch(a + 64 / sizeof(real)); /* what a later tile reads, as far apart */
        }
        vec bk[NV];
        UNROLL
        for (int j = 0; j < nv; j++) bk[j] = vload(b + j * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vec aik = vset1(a[i * rs]);
            UNROLL
            for (int j = 0; j < nv; j++) sum[i * nv + j] = vfma(aik, bk[j], sum[i * nv + j]);
        }
        a += cs;
        b += ldb;
    }
    UNROLL
    for (int i = 0; i < mr * nv; i++) vstore(c + i / nv * FR_PANEL + i % nv * VL, sum[i]);
}

typedef void (*tile_fn)(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K, int fresh,
                        const targets *next, int64_t row, int64_t column);

#define ROWS_TILE(mr, nv)                                                                                              \
    static void tile_rows_##mr##_##nv(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K,        \
                                      int fresh, const targets *next, int64_t row, int64_t column) {                   \
        (void)next, (void)row, (void)column;                                                                           \
        tile_body(c, a, s, 1, b, ldb, K, fresh, NULL, 0, 0, mr, nv);                                                   \
    }
#define COLUMNS_TILE(mr, nv)                                                                                           \
    static void tile_columns_##mr##_##nv(real *c, const real *a, int64_t s, const real *b, int64_t ldb, int64_t K,     \
                                         int fresh, const targets *next, int64_t row, int64_t column) {                \
        tile_body(c, a, 1, s, b, ldb, K, fresh, next, row, column, mr, nv);                                            \
    }
#define SIX(TILE, nv) TILE(1, nv) TILE(2, nv) TILE(3, nv) TILE(4, nv) TILE(5, nv) TILE(6, nv)
#define SIX_MORE(TILE, nv) TILE(7, nv) TILE(8, nv) TILE(9, nv) TILE(10, nv) TILE(11, nv) TILE(12, nv)
#define SIX_NAMES(way, nv)                                                                                             \
    tile_##way##_1_##nv, tile_##way##_2_##nv, tile_##way##_3_##nv, tile_##way##_4_##nv, tile_##way##_5_##nv,           \
        tile_##way##_6_##nv
#define SIX_MORE_NAMES(way, nv)                                                                                        \
    tile_##way##_7_##nv, tile_##way##_8_##nv, tile_##way##_9_##nv, tile_##way##_10_##nv, tile_##way##_11_##nv,         \
        tile_##way##_12_##nv

/* Tiles that read A by rows are MR x NV. Those that read it by columns (dense_dw) are tall and narrow where there are
 * registers enough: then the panel of B, which every tile reads whole, takes half the room in the nearest cache. */
#if NV == 4
enum { TALL = 12, NARROW = 2 };
SIX(ROWS_TILE, 1)
SIX(ROWS_TILE, 2)
SIX(ROWS_TILE, 3)
SIX(ROWS_TILE, 4)
SIX(COLUMNS_TILE, 1)
SIX(COLUMNS_TILE, 2)
SIX_MORE(COLUMNS_TILE, 1)
SIX_MORE(COLUMNS_TILE, 2)
static const tile_fn rows_tiles[NV][MR] = {
    {SIX_NAMES(rows, 1)}, {SIX_NAMES(rows, 2)}, {SIX_NAMES(rows, 3)}, {SIX_NAMES(rows, 4)}};
static const tile_fn columns_tiles[NARROW][TALL] = {{SIX_NAMES(columns, 1), SIX_MORE_NAMES(columns, 1)},
                                                    {SIX_NAMES(columns, 2), SIX_MORE_NAMES(columns, 2)}};
#else
enum { TALL = MR, NARROW = NV };
SIX(ROWS_TILE, 1)
SIX(ROWS_TILE, 2)
SIX(COLUMNS_TILE, 1)
SIX(COLUMNS_TILE, 2)
static const tile_fn rows_tiles[NV][MR] = {{SIX_NAMES(rows, 1)}, {SIX_NAMES(rows, 2)}};
static const tile_fn columns_tiles[NARROW][TALL] = {{SIX_NAMES(columns, 1)}, {SIX_NAMES(columns, 2)}};
#endif

typedef enum { A_ROWS, A_COLUMNS } a_layout; /* a[i * s + k] or a[i + k * s] */

/* A panel of B, K by `columns`, in memory: b[k * ld + j], or b[k + j * ld] where it is `transposed`. */
typedef struct {
    const real *data;
    int64_t ld, columns; /* columns 0: nothing is asked for */
    int transposed;
} b_panel;

/* The operands of C = A * B: A (rows x K) with stride s, and B. */
typedef struct {
    const real *a;
    a_layout layout;
    int64_t s, K;
    int64_t KC; /* terms done in one go, at most FR_KC */
    b_panel b;
    b_panel after;       /* the panel that this worker reads next */
    real *packed;        /* room for FR_KC rows of a transposed panel, the right way round */
    int64_t *held;       /* the first of the terms of B that lie there, -1 for none */
    const targets *next; /* NULL where A is read by rows */
    fr_matrix claimed;   /* what C will be written to, row for row; data NULL for none */
    int keep;            /* it is read before */
} product;

/* Makes this processor the owner of lines that it writes soon. Where another one still has a copy, a store waits some 7 ns
 * for it to be given up, and the later ones wait in line: done before a tile's sums, that is over when they are. Prefetches
 * for writing would be the means, but they do nothing for a line that is already here (Zen 4). */
INLINE void claim(const product *p, int64_t row, int64_t rows, int64_t bytes) {
    for (int64_t i = row; p->claimed.data && i < row + rows; i++) {
        char *line = (char *)((real *)p->claimed.data + i * p->claimed.ld);
        for (int64_t byte = 0; byte < bytes; byte += 64) {
            volatile real *at = (volatile real *)(line + byte);
            *at = p->keep ? *at : 0;
        }
    }
}

/* Asks for a part of some terms, from k on, of a panel: what is read next comes while the sums are running. Rows of a
 * weight lie far apart, so no hardware sees them come. */
INLINE void ask_for(const b_panel *b, int64_t k, int64_t terms, int64_t part, int64_t parts) {
    if (b->columns == 0) return;
    const int64_t lines = b->transposed ? b->columns : terms;
    const int64_t bytes = (b->transposed ? terms : b->columns) * (int64_t)sizeof(real);
    const real *first = b->data + k * (b->transposed ? 1 : b->ld);
    for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; i++) prefetch_near(first + i * b->ld, bytes);
}

/* Rows are cut into blocks of nearly equal height, at most `tall`: no ragged last block. */
INLINE int64_t row_blocks(int64_t rows, int64_t tall) { return (rows + tall - 1) / tall; }

/* Their heights, by one division for all of them: a register tile is as short as some fifty divisions. */
typedef struct {
    int64_t least, taller; /* so many blocks have a row more */
} row_heights;

INLINE row_heights heights_of(int64_t rows, int64_t blocks) {
    if (blocks < 2) return (row_heights){rows, 0};
    return (row_heights){rows / blocks, rows % blocks};
}

INLINE int64_t height_of(const row_heights *heights, int64_t block) {
    return heights->least + (block < heights->taller);
}

/* One block of rows of C, `row` .. of A, by one tile's columns. */
INLINE void multiply_tile(real *c, const product *p, const real *b, int64_t ldb, int64_t row, int64_t mr, int j, int nv,
                          int64_t k, int64_t K, int fresh) {
    const int by_rows = p->layout == A_ROWS;
    const real *a = by_rows ? p->a + row * p->s + k : p->a + row + k * p->s;
    const tile_fn tile = by_rows ? rows_tiles[nv - 1][mr - 1] : columns_tiles[nv - 1][mr - 1];
    tile(c + j * VL, a, p->s, b + j * VL, ldb, K, fresh, p->next, row, j * VL);
}

/* One go over K terms from k on, for `rows` rows of C from `row` on and `vectors` vectors of columns. Meanwhile part
 * `part` of `parts` of the terms `then` .. of panel `soon` is asked for.
 *
 * The nearest cache keeps a block of A for all columns of the panel. Narrow tiles that read A by columns are done the other
 * way round: it keeps their columns of B for all blocks, because a line of A holds what several blocks need. */
INLINE void multiply_rows(real *c, const product *p, int64_t row, int64_t rows, int vectors, int64_t k, int64_t K,
                          int fresh, int last, const b_panel *soon, int64_t then, int64_t part, int64_t parts) {
    const int by_rows = p->layout == A_ROWS, tall = by_rows ? MR : TALL, wide = by_rows ? NV : NARROW;
    const int64_t blocks = row_blocks(rows, tall);
    if (p->b.transposed && *p->held != k) {
        pack_transposed(p->packed, p->b.data + k, p->b.ld, p->b.columns, K);
        *p->held = k;
    }
    const real *b = p->b.transposed ? p->packed : p->b.data + k * p->b.ld;
    const int64_t ldb = p->b.transposed ? FR_PANEL : p->b.ld;
    const row_heights heights = heights_of(rows, blocks);
    const int across = by_rows || NV == 4 ? vectors : wide; /* vectors done block by block, before the next ones */
    for (int first = 0; first < vectors; first += across) {
        const int end = first + across < vectors ? first + across : vectors;
        for (int64_t block = 0, i = 0; block < blocks; block++) {
            const int64_t below = i + height_of(&heights, block);
            if (last && first == 0) claim(p, row + i, below - i, vectors * VBYTES);
            ask_for(soon, then, p->K - then < p->KC ? p->K - then : p->KC, part * blocks + block, parts * blocks);
            for (int j = first; j < end; j += wide) {
                multiply_tile(c + i * FR_PANEL, p, b, ldb, row + i, below - i, j, end - j < wide ? end - j : wide, k, K,
                              fresh);
            }
            i = below;
        }
    }
}

/* c (rows x FR_PANEL) = rows row .. row + rows - 1 of A * B, which are strip number `strip` of `strips`. spare is as
 * large as c. */
INLINE void multiply(real *c, real *spare, const product *p, int64_t row, int64_t rows, int vectors, int64_t strip,
                     int64_t strips) {
    const int64_t KC = p->KC;
    const int once = p->K <= KC; /* all strips read the same terms, which are asked for but once */
    for (int64_t chain = 0; chain < p->K || chain == 0; chain += FR_CHAIN) {
        const int64_t end = chain + FR_CHAIN < p->K ? chain + FR_CHAIN : p->K;
        real *sum = chain == 0 ? c : spare;
        for (int64_t k = chain; k < end; k += KC) {
            const int more = k + KC < p->K; /* terms of this panel */
            const b_panel *soon = more || (!once && strip + 1 < strips) ? &p->b : &p->after;
            multiply_rows(sum, p, row, rows, vectors, k, end - k < KC ? end - k : KC, k == chain, !more, soon,
                          more ? k + KC : 0, once ? strip : 0, once ? strips : 1);
        }
        for (int64_t i = 0; chain > 0 && i < rows * FR_PANEL; i += VL) vstore(c + i, vload(c + i) + vload(spare + i));
    }
}

#endif
