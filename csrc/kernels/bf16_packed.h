/* Products in bf16 where the processor has instructions for pairs of terms: the same sums as bf16_tiles.h. What multiplies
 * the pairs is in amx_tiles.h or dot_tiles.h, which also say how terms are paired.
 *
 * Both operands are packed in pairs of terms, A as rows of pairs, B as pairs of rows. What is packed stays in the scratch
 * of the worker until the op ends: a strip of A for all panels, a panel of B for all strips. What is missing of the last
 * group of terms is zero. Rows and columns that are missing of a tile may be anything, because nothing reads their sums.
 *
 * Letters: p counts pairs of terms.
 */
#ifndef FR_BF16_PACKED_H
#define FR_BF16_PACKED_H

#include "gemm.h"

typedef uint32_t u32vec __attribute__((vector_size(VBYTES)));
typedef uint32_t u32vec_mem __attribute__((vector_size(VBYTES), aligned(sizeof(uint32_t)), may_alias));

/* Lines of a panel that are asked for while another one is multiplied: a few between products of tiles. In a burst they
 * would hold up the loads of tiles. */
typedef struct {
    const char *row;
    int64_t rows, ld, bytes; /* rows left, from a row to the next, of a row */
    int64_t at;              /* the next line of the row */
    int64_t at_once;
} lines_ahead;

/* What a worker has packed for the current op. */
typedef struct {
    lines_ahead ahead;
    const real *a_base;                                              /* of the operand A; NULL for none */
    int64_t a_from, a_row, a_end;                                    /* terms from a_from on, of these rows */
    b_panel b_panel[PACKED_PANELS / (FR_BF16_GROUP / 2 * FR_PANEL)]; /* where it begins; its vectors as columns */
    real turned[FR_PANEL * FR_PANEL];                                /* on the way from columns to rows */
    uint32_t a[(PACKED_ROWS + PACKED_TALL) * PACKED_TERMS / 2]
        __attribute__((aligned(64))); /* rows of tiles are lines */
    uint32_t b[PACKED_PANELS] __attribute__((aligned(64)));
} packed_operands;

/* Pairs of some terms: whole groups. */
INLINE int64_t pairs_of(int64_t terms) { return (terms + FR_BF16_GROUP - 1) / FR_BF16_GROUP * (FR_BF16_GROUP / 2); }

/* Pairs of two rows, column by column: `first` in the half where the instruction wants it. */
INLINE void pair_rows(uint32_t *out, const real *first, const real *second, int64_t columns) {
    for (int64_t j = 0; j < columns; j += VL) *(u32vec_mem *)(out + j) = pair(vload(first + j), vload(second + j));
}

/* Pairs p .. p + count - 1 of rows of some terms, `ld` apart; out has a row of FR_PANEL words for each pair. */
INLINE void pair_terms(uint32_t *out, const real *rows, int64_t ld, int64_t terms, int64_t p, int64_t count,
                       int64_t columns) {
    static const real zeros[FR_PANEL + VL];
    const int64_t whole = columns / VL * VL, rest = columns - whole;
    for (int64_t i = 0; i < count; i++, out += FR_PANEL) {
        const int64_t k = first_of_pair(p + i);
        const real *first = k < terms ? rows + k * ld : zeros;
        const real *second = k + PAIR_GAP < terms ? rows + (k + PAIR_GAP) * ld : zeros;
        pair_rows(out, first, second, whole);
        if (rest == 0) continue;
        real ends[2][VL] = {0}; /* nothing after the columns is read */
        memcpy(ends[0], first + whole, (size_t)rest * sizeof(real));
        memcpy(ends[1], second + whole, (size_t)rest * sizeof(real));
        pair_rows(out + whole, ends[0], ends[1], VL);
    }
}

/* Packs terms k .. k + terms - 1 of a panel of B. */
static void pack_b(uint32_t *out, real *turned, const product *p, int64_t k, int64_t terms) {
    const b_panel *b = &p->b;
    const int64_t columns = p->vectors * VL;
    for (int64_t first = 0; first < terms; first += FR_PANEL) {
        const int64_t count = terms - first < FR_PANEL ? terms - first : FR_PANEL;
        const real *rows = b->data + (k + first) * b->ld;
        int64_t ld = b->ld;
        if (b->transposed) {
            pack_transposed(turned, b->data + k + first, b->ld, b->columns, count);
            rows = turned, ld = FR_PANEL;
        }
        pair_terms(out + first / 2 * FR_PANEL, rows, ld, count, 0, pairs_of(count), columns);
    }
}

/* Packs terms k .. of some rows of A, `pairs` words apart. By columns, blocks of pairs are turned into rows. */
static void pack_a(uint32_t *out, real *turned, const product *p, int64_t row, int64_t rows, int64_t k, int64_t terms) {
    const int64_t pairs = pairs_of(terms);
    if (p->layout == A_ROWS) {
        for (int64_t i = 0; i < rows; i++) pair_along(out + i * pairs, p->a + (row + i) * p->s + k, terms, pairs);
        return;
    }
    real block[FR_PANEL * FR_PANEL];
    for (int64_t column = 0; column < rows; column += FR_PANEL) {
        const int64_t columns = rows - column < FR_PANEL ? rows - column : FR_PANEL;
        for (int64_t first = 0; first < pairs; first += FR_PANEL) {
            const int64_t count = pairs - first < FR_PANEL ? pairs - first : FR_PANEL;
            pair_terms((uint32_t *)block, p->a + row + column + k * p->s, p->s, terms, first, count, columns);
            pack_transposed(turned, block, FR_PANEL, count, columns);
            for (int64_t i = 0; i < columns; i++) {
                memcpy(out + (column + i) * pairs + first, turned + i * FR_PANEL, (size_t)count * sizeof *out);
            }
        }
    }
}

/* The panel that comes after that of a product, spread over all groups of terms of all tiles of it. */
INLINE lines_ahead lines_after(const product *p, int64_t tiles) {
    const b_panel *b = &p->after;
    if (b->columns == 0) return (lines_ahead){.rows = 0};
    const int64_t rows = b->transposed ? b->columns : p->K;
    const int64_t bytes = (b->transposed ? p->K : b->columns) * (int64_t)sizeof(real);
    const int64_t lines = rows * ((bytes + 63) / 64), groups = tiles * (pairs_of(p->K) / (FR_BF16_GROUP / 2));
    return (lines_ahead){
        .row = (const char *)b->data,
        .rows = rows,
        .ld = b->ld * (int64_t)sizeof(real),
        .bytes = bytes,
        .at_once = (lines + groups - 1) / groups,
    };
}

INLINE void ask_more(lines_ahead *ahead) {
    for (int64_t i = 0; i < ahead->at_once && ahead->rows > 0; i++) {
        __builtin_prefetch(ahead->row + ahead->at, 0, 2);
        ahead->at += 64;
        if (ahead->at >= ahead->bytes) ahead->at = 0, ahead->row += ahead->ld, ahead->rows--;
    }
}

/* Packed terms of a product: those of a strip of A by those of a panel of B. */
typedef struct {
    const uint32_t *a, *b;
    int64_t pairs; /* of the terms, and words from a row of A to the next */
    int adds;      /* to the sums that C already holds */
    lines_ahead *ahead;
} packed_terms;

#ifdef HAVE_AMX
#include "amx_tiles.h"
#else
#include "dot_tiles.h"
#endif

/* The packed rows of a strip of A. Strips come in order, again for each panel, so they are added to those before. */
INLINE const uint32_t *packed_a(packed_operands *packed, const product *p, const strip *s, int64_t k, int64_t terms) {
    const int64_t pairs = pairs_of(terms);
    const int known = packed->a_base == p->a && packed->a_from == k && packed->a_row <= s->row;
    if (!known || s->row > packed->a_end || s->row + s->rows - packed->a_row > PACKED_ROWS) {
        packed->a_base = p->a, packed->a_from = k, packed->a_row = packed->a_end = s->row;
    }
    uint32_t *a = packed->a + (s->row - packed->a_row) * pairs;
    if (s->row + s->rows > packed->a_end) {
        pack_a(a, packed->turned, p, s->row, s->rows, k, terms);
        packed->a_end = s->row + s->rows;
    }
    return a;
}

/* The packed terms of a panel of B. */
INLINE const uint32_t *packed_b(packed_operands *packed, const product *p, int64_t k, int64_t terms) {
    const int64_t size = pairs_of(terms) * FR_PANEL, places = PACKED_PANELS / size;
    const real *first = p->b.data + k * (p->b.transposed ? 1 : p->b.ld);
    const int64_t place = (int64_t)((uintptr_t)first / (FR_PANEL * sizeof(real)) % (uintptr_t)places);
    uint32_t *b = packed->b + place * size;
    if (packed->b_panel[place].data != first || packed->b_panel[place].columns != p->vectors) {
        pack_b(b, packed->turned, p, k, terms);
        packed->b_panel[place] = (b_panel){.data = first, .columns = p->vectors};
    }
    return b;
}

/* c (rows x FR_PANEL) = A * B for the rows of the strip. */
static void multiply_packed(real *c, packed_operands *packed, const product *p, const strip *s) {
    if (s->number == 0) packed->ahead = lines_after(p, s->count * tiles_of(s->rows, p->vectors));
    for (int64_t k = 0; k < p->K || k == 0; k += PACKED_TERMS) {
        const int64_t terms = p->K - k < PACKED_TERMS ? p->K - k : PACKED_TERMS;
        const packed_terms t = {
            .a = packed_a(packed, p, s, k, terms),
            .b = packed_b(packed, p, k, terms),
            .pairs = pairs_of(terms),
            .adds = k > 0,
            .ahead = &packed->ahead,
        };
        multiply_pairs(c, &t, p, s);
    }
}

/* Before the products of an op. */
static void begin_packed(packed_operands *packed) {
    packed->a_base = NULL;
    memset(packed->b_panel, 0, sizeof packed->b_panel);
    begin_pairs();
}

#endif
