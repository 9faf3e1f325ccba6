/* Products of matrices: C (rows x one panel) = A * B, with C in the scratch of the worker. An op describes the operands
 * in a `product` and calls `multiply`. The register tiles beneath are in register_tiles.h.
 *
 * Only sums of products live here; what happens to C (bias, activation, update) is the business of the op that asked.
 *
 * The bits of an element depend on the length of its sum alone: one chain of fused multiply-adds over k in order,
 * starting from 0, for every FR_CHAIN terms; the sums of chains are added in order. Cutting a chain into pieces
 * does not change it, because C is stored and loaded without rounding.
 * Products in bf16 have an order of their own (bf16_tiles.h), without chains.
 *
 * A is read element by element and broadcast, so it may lie by rows or by columns. B is read by vectors, so a
 * transposed B is packed first. So is one that is rounded to bf16, and one whose rows lie badly (FR_PACK_WEIGHT).
 *
 * Letters: K terms of a sum, k the first of some of them, s the stride of A, ld that of B.
 *
 * A target sets, before it includes this file,
 *   KC           terms of a sum done in one go
 *   STRIP_ROWS   rows of C that the scratch has room for, and that are done together where a sum takes several goes
 *   DW_KEEPS_A   where A is read by columns, what the nearest cache keeps: 1 a block of A for all columns of the panel,
 *                0 a tile's columns of B for all blocks
 * and PACKS_BF16 if it has instructions for products in bf16, with HAVE_AMX or HAVE_DOT (bf16_packed.h).
 */
#ifndef FR_GEMM_H
#define FR_GEMM_H

#include "../worker.h"
#ifdef PACKS_BF16
#ifdef HAVE_AMX
#include "amx.h"
#else
#include "dot.h"
#endif
#endif
#include "bf16.h"
#include "bf16_tiles.h"
#include "kept.h"
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

/* Terms done in one go in bf16, where they should stay in the nearest cache: those of B are packed, or read twice. */
enum { BF16_KC = 128 };

/* What a product leaves out, and room for the rest of it. The vectors of the tiles run over the rows of a group, so that
 * terms and columns can be left out one by one. For that A is turned, and so is C. */
enum {
    SKIP_KC = 256,                         /* terms done in one go */
    SKIP_ROOM = 1 << 20,                   /* elements of A */
    SKIP_ROWS = 2 * STRIP_ROWS + FR_LANES, /* of a strip, if each of its groups is padded to FR_LANES */
};

typedef struct {
    row_groups groups;
    kept_units terms, columns;
    int32_t term[SKIP_KC + FR_LANES], column[FR_PANEL + FR_LANES];
    uint8_t turned[KEPT_WORDS];   /* whether a group of A is */
    real c[FR_PANEL * SKIP_ROWS]; /* group by group: FR_PANEL x its rows, padded */
    real a[SKIP_ROOM + FR_PANEL]; /* group by group: K x its rows, padded */
} skipping;

/* At most SKIP_KC terms, in goes of nearly equal length. */
INLINE int64_t even_terms(int64_t K) {
    const int64_t goes = (K + SKIP_KC - 1) / SKIP_KC;
    return (K + goes - 1) / goes;
}

/* A panel of B, K by `columns`, in memory: b[k * ld + j], or b[k + j * ld] where it is `transposed`. */
typedef struct {
    const real *data;
    int64_t ld, columns; /* columns 0: nothing is asked for */
    int transposed;
    int rounds; /* its terms become bf16 */
    int copied; /* the tiles read a copy, whose rows follow each other */
} b_panel;

/* C = A * B, and what the caches should know about it. A is rows x K, C is rows x `vectors` vectors. */
typedef struct {
    const real *a;
    a_layout layout;
    int64_t s, K;
    int64_t terms_at_once; /* at most KC */
    int vectors;
    int bf16; /* the order of the sums */
    b_panel b;
    skipping *skips;         /* NULL: nothing is left out */
    int64_t column;          /* of the panel */
    b_panel after;           /* the panel that this worker reads next */
    int64_t *packed_from;    /* the first of the terms of B that the scratch holds packed, -1 for none */
    const destination *next; /* what the result will touch; NULL where A is read by rows */
    fr_matrix claimed;       /* what the result will be written to, row for row; data NULL for none */
    int claim_keeps;         /* its contents are still needed */
} product;

/* Rows are cut into blocks of nearly equal height, at most `tall`: no ragged last block. */
INLINE int64_t row_blocks(int64_t rows, int64_t tall) { return (rows + tall - 1) / tall; }

/* One division gives all heights: about fifty divisions take as long as a register tile. */
typedef struct {
    int64_t least, taller; /* `taller` blocks, the first ones, have a row more */
} row_heights;

INLINE row_heights heights_of(int64_t rows, int64_t blocks) {
    if (blocks < 2) return (row_heights){rows, 0};
    return (row_heights){rows / blocks, rows % blocks};
}

INLINE int64_t height_of(const row_heights *heights, int64_t block) {
    return heights->least + (block < heights->taller);
}

/* Rows of C that are done together: all of their sums, then what the op does with them. */
typedef struct {
    int64_t row, rows;
    int64_t number, count; /* this strip's, from 0; of the strips of all rows */
    row_heights heights;
} strip;

/* A register tile is one strip where a sum takes one go, so that it stays in the nearest cache. This is the place before
 * the first one. */
INLINE strip strips_of(const product *p, int64_t row, int64_t rows) {
    int64_t tall = p->K <= p->terms_at_once && !p->skips ? MR : STRIP_ROWS;
#ifdef PACKS_BF16
    if (p->bf16) tall = p->K <= PACKED_TERMS ? PACKED_TALL : STRIP_ROWS;
#endif
    const int64_t count = row_blocks(rows, tall);
    return (strip){.row = row, .number = -1, .count = count, .heights = heights_of(rows, count)};
}

INLINE int next_strip(strip *s) {
    s->row += s->rows;
    s->rows = height_of(&s->heights, ++s->number);
    return s->number < s->count;
}

/* Makes this processor the owner of lines that it writes soon. Where another one still has a copy, a store waits some 7
 * ns for it to be given up, and later stores wait in line. Done before a tile's sums, the wait is over when they are. A
 * prefetch for writing does nothing for a line that is already here (Zen 4), so this is a store. */
INLINE void claim(const product *p, int64_t row, int64_t rows, int64_t bytes) {
    for (int64_t i = row; p->claimed.data && i < row + rows; i++) {
        char *line = (char *)((real *)p->claimed.data + i * p->claimed.ld);
        for (int64_t byte = 0; byte < bytes; byte += 64) {
            volatile real *at = (volatile real *)(line + byte);
            *at = p->claim_keeps ? *at : 0;
        }
    }
}

/* Terms k .. k + terms - 1 of a panel, asked for in `parts` parts. */
typedef struct {
    const b_panel *panel;
    int64_t k, terms;
    int64_t part, parts;
} request;

/* Asks for one part: what is read next comes while the sums are running. Rows of a weight lie far apart, so no hardware
 * foresees them. */
INLINE void ask_for(const request *r) {
    const b_panel *b = r->panel;
    if (b->columns == 0) return;
    const int64_t lines = b->transposed ? b->columns : r->terms;
    const int64_t bytes = (b->transposed ? r->terms : b->columns) * (int64_t)sizeof(real);
    const real *first = b->data + r->k * (b->transposed ? 1 : b->ld);
    for (int64_t i = lines * r->part / r->parts; i < lines * (r->part + 1) / r->parts; i++) {
        prefetch_near(first + i * b->ld, bytes);
    }
}

/* Asks for rows first .. last - 1, if they exist, of what a later product will touch, `bytes` of each. */
INLINE void ask_for_destination(const destination *later, int64_t first, int64_t last, int64_t bytes) {
    if (last > later->rows) last = later->rows;
    for (int i = 0; i < 1 + FR_SLOTS; i++) {
        for (int64_t row = first; later->data[i] && row < last; row++) {
            prefetch_near(later->data[i] + row * later->ld[i], bytes);
        }
    }
}

/* One go of a product: terms k .. k + terms - 1 of the sums of a strip. */
typedef struct {
    int64_t k, terms;
    int adds;      /* to the sums that C already holds */
    int completes; /* the last go: the op writes the result after it */
    request ahead; /* what is asked for meanwhile, spread over the blocks */
} go;

enum { PACKED_AHEAD = 8 }; /* rows of a panel that are asked for while this one is packed */

/* Terms of a panel as the tiles read them, where they cannot read them in their place. What is turned is rounded while it
 * is in the nearest cache. */
INLINE void pack(real *packed, const b_panel *b, int64_t k, int64_t terms) {
    const int64_t vectors = vectors_of(b->columns), at_once = b->rounds ? FR_PANEL : terms;
    for (int64_t first = 0; first < terms && b->transposed; first += at_once) {
        const int64_t count = terms - first < at_once ? terms - first : at_once;
        real *out = packed + first * FR_PANEL;
        pack_transposed(out, b->data + k + first, b->ld, b->columns, count);
        for (int64_t i = 0; i < count && b->rounds; i++) round_row(out + i * FR_PANEL, out + i * FR_PANEL, vectors);
    }
    for (int64_t i = 0; i < terms && !b->transposed; i++) {
        if (i + PACKED_AHEAD < terms) {
            prefetch_near(b->data + (k + i + PACKED_AHEAD) * b->ld, b->columns * (int64_t)sizeof(real));
        }
        const real *in = b->data + (k + i) * b->ld;
        if (b->rounds) round_row(packed + i * FR_PANEL, in, vectors);
        else copy_row(packed + i * FR_PANEL, in, vectors);
    }
}

/* Elements of A that a group takes when it is turned. */
INLINE int64_t turned_size(const row_groups *groups, int64_t K) { return groups->padded * ((K + 3) / 4 * 4); }

/* Terms k .. of the row of A and those after it in its group, turned. */
INLINE const real *turned(const product *p, int64_t row, int64_t k) {
    skipping *skips = p->skips;
    const row_groups *groups = &skips->groups;
    const int64_t group = group_at(groups, row), first = group_begin(groups, row);
    real *out = skips->a + group * turned_size(groups, p->K);
    if (!skips->turned[group]) {
        turn(out, groups->padded, p->a + first * p->s, p->s, group_end(groups, row, groups->rows.end) - first, p->K);
        skips->turned[group] = 1;
    }
    return out + k * groups->padded + row - first;
}

/* The same for a strip, group by group, without the terms and columns that a group drops. */
static void multiply_kept(real *c, const product *p, const strip *s, const go *g) {
    skipping *skips = p->skips;
    const row_groups *groups = &skips->groups;
    const b_panel *b = &p->b;
    const int64_t end = s->row + s->rows, first = group_at(groups, s->row);
    const int64_t count = group_at(groups, end - 1) - first + 1;
    real *sums = skips->c;
    for (int64_t row = s->row, last; row < end; row = last) {
        last = group_end(groups, row, end);
        const int64_t group = group_at(groups, row), padded = padded_rows(last - row);
        const uint64_t bits = kept_in(&skips->columns, group, p->column, b->columns);
        const int64_t columns = list_bits(skips->column, bits, 0, 1), blocks = row_blocks(columns, DW_MR);
        const row_heights heights = heights_of(columns, blocks);
        listed_operands t = {
            .a = b->data + g->k * (b->transposed ? 1 : b->ld),
            .row = b->transposed ? b->ld : 1,
            .term = b->transposed ? 1 : b->ld,
            .ldb = groups->padded,
            .ldc = padded,
            .terms = skips->term,
            .adds = g->adds,
        };
        for (int64_t k = 0; k < g->terms; k += FR_PANEL) {
            const int64_t some = g->terms - k < FR_PANEL ? g->terms - k : FR_PANEL;
            t.count += list_bits(skips->term + t.count, kept_in(&skips->terms, group, g->k + k, some), (int32_t)k, 1);
        }
        for (int64_t j = 0; j < b->columns && !g->adds; j++) {
            if (!(bits >> j & 1)) memset(sums + j * padded, 0, sizeof(real) * (size_t)padded);
        }
        const real *a = turned(p, row, g->k);
        if (g->completes) claim(p, row, last - row, p->vectors * VBYTES);
        for (int64_t block = 0, i = 0; block < blocks; i += height_of(&heights, block), block++) {
            request ahead = g->ahead;
            ahead.part = (ahead.part * count + group - first) * blocks + block, ahead.parts *= count * blocks;
            ask_for(&ahead);
            t.rows = skips->column + i;
            for (int64_t v = 0; v < padded / VL; v += DW_NV) {
                t.b = a + v * VL;
                sum_listed(sums + v * VL, &t, height_of(&heights, block),
                           padded / VL - v < DW_NV ? padded / VL - v : DW_NV);
            }
        }
        if (g->completes) pack_transposed(c + (row - s->row) * FR_PANEL, sums, padded, b->columns, last - row);
        sums += FR_PANEL * padded;
    }
}

/* The nearest cache keeps a block of A for all columns of the panel. Narrow tiles that read A by columns are done the
 * other way round: it keeps their columns of B for all blocks, because a line of A holds what several blocks need. */
INLINE void multiply_terms(real *c, real *packed, const product *p, const strip *s, const go *g) {
    const int by_rows = p->layout == A_ROWS, in_blocks = p->layout == A_BLOCKS, tall = by_rows ? MR : DW_MR,
              wide = by_rows ? NV : DW_NV;
    const int64_t blocks = row_blocks(s->rows, tall);
    const int packs = p->b.transposed || p->b.rounds || p->b.copied;
    if (p->skips) {
        multiply_kept(c, p, s, g);
        return;
    }
    if (packs && *p->packed_from != g->k) {
        pack(packed, &p->b, g->k, g->terms);
        *p->packed_from = g->k;
    }
    const real *b = packs ? packed : p->b.data + g->k * p->b.ld;
    const int64_t ldb = packs ? FR_PANEL : p->b.ld;
    const row_heights heights = heights_of(s->rows, blocks);
    const int across =
        by_rows || DW_KEEPS_A ? p->vectors : wide; /* vectors done block by block, before the next ones */
    for (int first = 0; first < p->vectors; first += across) {
        const int end = first + across < p->vectors ? first + across : p->vectors;
        for (int64_t block = 0, i = 0; block < blocks; block++) {
            const int64_t row = s->row + i, height = height_of(&heights, block);
            const real *a = in_blocks ? p->a + i * p->K + g->k * height
                                      : p->a + row * (by_rows ? p->s : 1) + g->k * (by_rows ? 1 : p->s);
            if (g->completes && first == 0) claim(p, row, height, p->vectors * VBYTES);
            request ahead = g->ahead;
            ahead.part = ahead.part * blocks + block, ahead.parts *= blocks;
            ask_for(&ahead);
            for (int j = first; j < end; j += wide) {
                const tile_operands t = {
                    .a = a,
                    .b = b + j * VL,
                    .s = in_blocks ? height : p->s,
                    .ldb = ldb,
                    .terms = g->terms,
                    .adds = g->adds,
                    .row = row,
                    .column = j * VL,
                    .next = p->next,
                };
                const int vectors = end - j < wide ? end - j : wide;
                if (p->bf16) sum_bf16_tile(c + i * FR_PANEL + j * VL, &t, p->layout, height, vectors);
                else sum_tile(c + i * FR_PANEL + j * VL, &t, p->layout, height, vectors);
            }
            i += height;
        }
    }
}

#ifdef PACKS_BF16
#include "bf16_packed.h"
#endif

/* Before and after the products of an op. */
INLINE void begin_products(product_scratch *scratch, int bf16) {
    (void)scratch, (void)bf16;
#ifdef PACKS_BF16
    if (bf16) begin_packed((packed_operands *)(scratch + 1));
#endif
}

INLINE void end_products(int bf16) {
    (void)bf16;
#ifdef PACKS_BF16
    if (bf16) end_pairs();
#endif
}

INLINE size_t product_scratch_bytes(int bf16) {
    (void)bf16;
#ifdef PACKS_BF16
    if (bf16) return sizeof(product_scratch) + sizeof(packed_operands);
#endif
    return sizeof(product_scratch);
}

/* scratch->c (rows x FR_PANEL) = A * B for the rows of the strip. */
INLINE void multiply(product_scratch *scratch, const product *p, const strip *s) {
#ifdef PACKS_BF16
    if (p->bf16) {
        multiply_packed(scratch->c, (packed_operands *)(scratch + 1), p, s);
        return;
    }
#endif
    const int64_t at_once = p->terms_at_once;
    const int single = p->K <= at_once; /* one go: all strips read the same terms, which are asked for but once */
    const int64_t length = p->bf16 ? p->K + 1 : FR_CHAIN;
    for (int64_t chain = 0; chain < p->K || chain == 0; chain += length) {
        const int64_t end = chain + length < p->K ? chain + length : p->K;
        real *c = scratch->c, *sum = chain == 0 ? c : scratch->spare;
        for (int64_t k = chain; k < end; k += at_once) {
            const int more = k + at_once < p->K; /* terms of this panel */
            const int64_t later = more ? k + at_once : 0, left = p->K - later;
            const go g = {
                .k = k,
                .terms = end - k < at_once ? end - k : at_once,
                .adds = k != chain,
                .completes = !more,
                .ahead =
                    {
                        .panel = more || (!single && s->number + 1 < s->count) ? &p->b : &p->after,
                        .k = later,
                        .terms = left < at_once ? left : at_once,
                        .part = single ? s->number : 0,
                        .parts = single ? s->count : 1,
                    },
            };
            multiply_terms(sum, scratch->packed, p, s, &g);
        }
        if (chain == 0) continue;
        for (int64_t i = 0; i < s->rows * FR_PANEL; i += VL) vstore(c + i, vload(c + i) + vload(sum + i));
    }
}

#endif
