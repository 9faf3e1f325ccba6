/* Products of matrices: C (rows x one panel) = A * B, with C in the scratch of the worker. An op describes the operands in a
 * `product` and calls `multiply`. The register tiles beneath are in register_tiles.h.
 *
 * Only sums of products live here; what happens to C (bias, activation, update) is the business of the op that asked.
 *
 * The bits of an element depend on the length of its sum alone: one chain of fused multiply-adds over k in order,
 * starting from 0, for every FR_CHAIN terms; the sums of chains are added in order. Cutting a chain into pieces
 * does not change it, because C is stored and loaded without rounding.
 *
 * A is read element by element and broadcast, so it may lie either way: a[i * rs + k * cs], rs or cs being 1.
 * B is read by vectors: b[k * ldb + j].
 *
 * A target sets, before it includes this file,
 *   KC           terms of a sum done in one go
 *   STRIP_ROWS   rows of C in the scratch; where a sum takes several goes, they are done together
 *   DW_KEEPS_A   where A is read by columns, what the nearest cache keeps: 1 a block of A for all columns of the panel, 0 a
 *                tile's columns of B for all blocks
 */
#ifndef FR_GEMM_H
#define FR_GEMM_H

#include "../worker.h"
#include "register_tiles.h"
#include "transpose.h"
#include "vec.h"

/* A worker's scratch during a product. */
typedef struct {
    real c[STRIP_ROWS * FR_PANEL];
    real spare[STRIP_ROWS * FR_PANEL]; /* the sums of a later chain */
    real packed[(KC + 4) * FR_PANEL];  /* a transposed panel of B, the right way round, in whole pieces of four terms */
} product_scratch;

INLINE product_scratch *scratch_of(const fr_worker *w) { return (product_scratch *)w->scratch; }

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
    int64_t terms; /* done in one go, at most KC */
    b_panel b;
    b_panel after;           /* the panel that this worker reads next */
    real *packed;            /* room for KC terms of a transposed panel, the right way round */
    int64_t *held;           /* the first of the terms of B that lie there, -1 for none */
    const destination *next; /* NULL where A is read by rows */
    fr_matrix claimed;       /* what C will be written to, row for row; data NULL for none */
    int keep;                /* it is read before */
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

/* Asks for rows [first, last) of what a later product will touch, `bytes` of each. */
INLINE void ask_for_destination(const destination *later, int64_t first, int64_t last, int64_t bytes) {
    for (int i = 0; i < 1 + FR_SLOTS; i++) {
        for (int64_t row = first; later->data[i] && row < last; row++) {
            prefetch_near(later->data[i] + row * later->ld[i], bytes);
        }
    }
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
    const tile_fn tile = by_rows ? rows_tiles[(nv - 1) * MR + mr - 1] : columns_tiles[(nv - 1) * DW_MR + mr - 1];
    tile(c + j * VL, a, p->s, b + j * VL, ldb, K, fresh, p->next, row, j * VL);
}

/* One go over K terms from k on, for `rows` rows of C from `row` on and `vectors` vectors of columns. Meanwhile part
 * `part` of `parts` of the terms `then` .. of panel `soon` is asked for.
 *
 * The nearest cache keeps a block of A for all columns of the panel. Narrow tiles that read A by columns are done the other
 * way round: it keeps their columns of B for all blocks, because a line of A holds what several blocks need. */
INLINE void multiply_rows(real *c, const product *p, int64_t row, int64_t rows, int vectors, int64_t k, int64_t K,
                          int fresh, int last, const b_panel *soon, int64_t then, int64_t part, int64_t parts) {
    const int by_rows = p->layout == A_ROWS, tall = by_rows ? MR : DW_MR, wide = by_rows ? NV : DW_NV;
    const int64_t blocks = row_blocks(rows, tall);
    if (p->b.transposed && *p->held != k) {
        pack_transposed(p->packed, p->b.data + k, p->b.ld, p->b.columns, K);
        *p->held = k;
    }
    const real *b = p->b.transposed ? p->packed : p->b.data + k * p->b.ld;
    const int64_t ldb = p->b.transposed ? FR_PANEL : p->b.ld;
    const row_heights heights = heights_of(rows, blocks);
    const int across = by_rows || DW_KEEPS_A ? vectors : wide; /* vectors done block by block, before the next ones */
    for (int first = 0; first < vectors; first += across) {
        const int end = first + across < vectors ? first + across : vectors;
        for (int64_t block = 0, i = 0; block < blocks; block++) {
            const int64_t below = i + height_of(&heights, block);
            if (last && first == 0) claim(p, row + i, below - i, vectors * VBYTES);
            ask_for(soon, then, p->K - then < p->terms ? p->K - then : p->terms, part * blocks + block, parts * blocks);
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
    const int64_t terms = p->terms;
    const int once = p->K <= terms; /* all strips read the same terms, which are asked for but once */
    for (int64_t chain = 0; chain < p->K || chain == 0; chain += FR_CHAIN) {
        const int64_t end = chain + FR_CHAIN < p->K ? chain + FR_CHAIN : p->K;
        real *sum = chain == 0 ? c : spare;
        for (int64_t k = chain; k < end; k += terms) {
            const int more = k + terms < p->K; /* terms of this panel */
            const b_panel *soon = more || (!once && strip + 1 < strips) ? &p->b : &p->after;
            multiply_rows(sum, p, row, rows, vectors, k, end - k < terms ? end - k : terms, k == chain, !more, soon,
                          more ? k + terms : 0, once ? strip : 0, once ? strips : 1);
        }
        for (int64_t i = 0; chain > 0 && i < rows * FR_PANEL; i += VL) vstore(c + i, vload(c + i) + vload(spare + i));
    }
}

/* Asks for all of a small matrix at once: other workers have just written parts of it, and one line after the other
 * would wait for each. */
INLINE void fetch(const fr_worker *w, const fr_matrix *m, int64_t rows, int64_t columns) {
    if (w->n == 1 || rows * m->ld > 16 * 1024) return;
    for (int64_t row = 0; row < rows; row++) {
        prefetch_near((const real *)m->data + row * m->ld, columns * (int64_t)sizeof(real));
    }
}

#endif
