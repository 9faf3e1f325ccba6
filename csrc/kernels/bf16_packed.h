/* Products in bf16 where the processor has instructions for pairs of terms: the same sums as bf16_tiles.h. What multiplies
 * the pairs is in amx_tiles.h or dot_tiles.h, which also say how terms are paired.
 *
 * Both operands are packed in pairs of terms. B is packed as pairs of rows. So is A where it is read by columns; else it is
 * packed as rows of pairs. What is packed stays in the scratch of the worker until the op ends: strips of A for all
 * panels, a panel of B for all strips. What is missing of the last group of terms is zero. Rows and columns that are
 * missing of a tile may be anything, because nothing reads their sums.
 *
 * Letters: p counts pairs of terms.
 */
#ifndef FR_BF16_PACKED_H
#define FR_BF16_PACKED_H

#include "gemm.h"

/* Lines of a panel that are asked for while another one is multiplied: a few between products of tiles. In a burst they
 * would hold up the loads of tiles. */
typedef struct {
    const char *row;
    int64_t rows, ld, bytes; /* rows left, from a row to the next, of a row */
    int64_t at;              /* the next line of the row */
    int64_t at_once;
} lines_ahead;

enum {
    PACKED_A = PACKED_ROWS * PACKED_TERMS / 2, /* words of packed strips of A */
    MOST_STRIPS = 256,                         /* of A by columns that are packed at once */
    MOST_PANELS = 64,                          /* of B */
};

/* What is packed at a place. */
typedef struct {
    const real *first; /* its first element; NULL for nothing */
    int64_t size;      /* rows of A, vectors of B */
} packed_place;

/* What a worker has packed for the current op. */
typedef struct {
    lines_ahead ahead;
    const real *a_base;           /* of the operand A by rows; NULL for none */
    int64_t a_from, a_row, a_end; /* terms from a_from on, of these rows */
    packed_place strips[MOST_STRIPS], panels[MOST_PANELS];
    real block[FR_PANEL * FR_PANEL / 2];                                                /* pairs to be turned */
    uint32_t a[PACKED_A + PACKED_TALL * PACKED_TERMS / 2] __attribute__((aligned(64))); /* rows of tiles are lines */
    uint32_t b[PACKED_PANELS] __attribute__((aligned(64)));
} packed_operands;

/* Pairs of some terms: whole groups. */
INLINE int64_t pairs_of(int64_t terms) { return (terms + FR_BF16_GROUP - 1) / FR_BF16_GROUP * (FR_BF16_GROUP / 2); }

/* Pairs of two rows, column by column: `first` in the half where the instruction wants it. */
INLINE void pair_rows(uint32_t *out, const real *first, const real *second, int64_t columns) {
    for (int64_t j = 0; j < columns; j += VL) *(u32vec_mem *)(out + j) = pair(vload(first + j), vload(second + j));
}

/* Pairs of rows of some terms, `ld` apart; the pairs are `step` words apart. */
INLINE void pair_terms(uint32_t *out, int64_t step, const real *rows, int64_t ld, int64_t terms, int64_t columns) {
    static const real zeros[FR_PANEL + VL];
    const int64_t whole = columns / VL * VL, rest = columns - whole;
    for (int64_t p = 0; p < pairs_of(terms); p++, out += step) {
        const int64_t k = first_of_pair(p);
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

/* Pairs along a row. */
INLINE void pair_along(uint32_t *out, const real *x, int64_t terms) {
    for (int64_t k = 0; k < terms; k += FR_BF16_GROUP, out += FR_BF16_GROUP / 2) {
        const real *group = x + k;
        real last[FR_BF16_GROUP] = {0};
        if (terms - k < FR_BF16_GROUP) group = memcpy(last, group, (size_t)(terms - k) * sizeof(real));
        pair_group(out, group);
    }
}

/* Packs terms k .. k + terms - 1 of a panel of B. */
static void pack_b(uint32_t *out, real *block, const product *p, int64_t k, int64_t terms) {
    const b_panel *b = &p->b;
    if (!b->transposed) {
        pair_terms(out, FR_PANEL, b->data + k * b->ld, b->ld, terms, p->vectors * VL);
        return;
    }
    for (int64_t first = 0; first < terms; first += FR_PANEL) {
        const int64_t count = terms - first < FR_PANEL ? terms - first : FR_PANEL;
        for (int64_t j = 0; j < b->columns; j++) {
            pair_along((uint32_t *)block + j * FR_PANEL / 2, b->data + j * b->ld + k + first, count);
        }
        pack_transposed((real *)out + first / 2 * FR_PANEL, block, FR_PANEL / 2, b->columns, pairs_of(count));
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
    int64_t a_row, a_pair; /* words from a row of A to the next, and from a pair to the next; one of them is 1 */
    int64_t pairs;
    int adds; /* to the sums that C already holds */
    lines_ahead *ahead;
} packed_terms;

#ifdef HAVE_AMX
#include "amx_tiles.h"
#else
#include "dot_tiles.h"
#endif

/* The place for what begins at `first`. All places of an op have the same size. */
INLINE int64_t place_of(const real *first, int64_t elements, int64_t places, int64_t most) {
    const uintptr_t number = (uintptr_t)first / ((uintptr_t)elements * sizeof(real));
    return (int64_t)(number % (uintptr_t)(places < most ? places : most));
}

/* The most terms that are done in one go. */
INLINE int64_t most_terms(const product *p) { return p->K < PACKED_TERMS ? p->K : PACKED_TERMS; }

/* The packed rows of a strip of A. Strips come in order, again for each panel, so they are added to those before. */
INLINE void take_rows(packed_terms *t, packed_operands *packed, const product *p, const strip *s, int64_t k,
                      int64_t terms) {
    const int known = packed->a_base == p->a && packed->a_from == k && packed->a_row <= s->row;
    if (!known || s->row > packed->a_end || s->row + s->rows - packed->a_row > PACKED_ROWS) {
        packed->a_base = p->a, packed->a_from = k, packed->a_row = packed->a_end = s->row;
    }
    uint32_t *a = packed->a + (s->row - packed->a_row) * t->pairs;
    t->a = a, t->a_row = t->pairs, t->a_pair = 1;
    if (s->row + s->rows <= packed->a_end) return;
    for (int64_t i = 0; i < s->rows; i++) pair_along(a + i * t->pairs, p->a + (s->row + i) * p->s + k, terms);
    packed->a_end = s->row + s->rows;
}

/* The packed columns of a strip of A, of at most FR_ROW_GROUP rows. */
INLINE void take_columns(packed_terms *t, packed_operands *packed, const product *p, const strip *s, int64_t k,
                         int64_t terms) {
    const int64_t size = pairs_of(most_terms(p)) * FR_ROW_GROUP;
    const real *first = p->a + s->row + k * p->s;
    const int64_t place = place_of(first, s->rows, PACKED_A / size, MOST_STRIPS);
    uint32_t *a = packed->a + place * size;
    packed_place *here = &packed->strips[place];
    if (here->first != first || here->size != s->rows) pack_columns(a, packed->block, first, p->s, terms, s->rows);
    *here = (packed_place){first, s->rows};
    t->a = a;
    lay_columns(t);
}

/* The packed terms of a panel of B. */
INLINE void take_panel(packed_terms *t, packed_operands *packed, const product *p, int64_t k, int64_t terms) {
    const int64_t size = pairs_of(most_terms(p)) * FR_PANEL;
    const real *first = p->b.data + k * (p->b.transposed ? 1 : p->b.ld);
    const int64_t place = place_of(first, FR_PANEL, PACKED_PANELS / size, MOST_PANELS);
    uint32_t *b = packed->b + place * size;
    packed_place *here = &packed->panels[place];
    if (here->first != first || here->size != p->vectors) pack_b(b, packed->block, p, k, terms);
    *here = (packed_place){first, p->vectors};
    t->b = b;
}

/* c (rows x FR_PANEL) = A * B for the rows of the strip. */
static void multiply_packed(real *c, packed_operands *packed, const product *p, const strip *s) {
    if (s->number == 0) packed->ahead = lines_after(p, s->count * tiles_of(s->rows, p->vectors));
    for (int64_t k = 0; k < p->K || k == 0; k += PACKED_TERMS) {
        const int64_t terms = p->K - k < PACKED_TERMS ? p->K - k : PACKED_TERMS;
        packed_terms t = {.pairs = pairs_of(terms), .adds = k > 0, .ahead = &packed->ahead};
        if (p->layout == A_ROWS) take_rows(&t, packed, p, s, k, terms);
        else take_columns(&t, packed, p, s, k, terms);
        take_panel(&t, packed, p, k, terms);
        multiply_pairs(c, &t, p, s);
    }
}

/* Before the products of an op. */
static void begin_packed(packed_operands *packed) {
    packed->a_base = NULL;
    memset(packed->strips, 0, sizeof packed->strips);
    memset(packed->panels, 0, sizeof packed->panels);
    begin_pairs();
}

#endif
