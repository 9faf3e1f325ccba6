/* Products in bf16 on AMX: the same sums as bf16_tiles.h, which the instruction defines.
 *
 * Both operands are packed in pairs of terms, A as rows of pairs, B as pairs of rows. What is packed stays in the scratch
 * of the worker until the op ends: a strip of A for all panels, a panel of B for all strips. What is missing of the last
 * group of terms is zero. Rows and columns that are missing of a tile may be anything, because nothing reads their sums.
 *
 * Letters: p counts pairs of terms.
 */
#ifndef FR_BF16_AMX_H
#define FR_BF16_AMX_H

#include "amx.h"
#include "bf16.h"

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
    const real *a_base;                                   /* of the operand A; NULL for none */
    int64_t a_from, a_row, a_end;                         /* terms from a_from on, of these rows */
    b_panel b_panel[AMX_PANELS / (AMX_PAIRS * FR_PANEL)]; /* where it begins; its vectors as columns */
    real turned[FR_PANEL * FR_PANEL];                     /* on the way from columns to rows */
    uint32_t a[(AMX_STRIP_ROWS + AMX_TALL) * AMX_TERMS / 2] __attribute__((aligned(64))); /* rows of tiles are lines */
    uint32_t b[AMX_PANELS] __attribute__((aligned(64)));
} amx_packed;

/* Pairs of some terms: whole groups. */
INLINE int64_t pairs_of(int64_t terms) { return (terms + FR_BF16_GROUP - 1) / FR_BF16_GROUP * (FR_BF16_GROUP / 2); }

/* Pairs of two rows, the second of which may be missing, column by column. */
INLINE void pair_rows(uint32_t *out, const real *even, const real *odd, int64_t columns) {
    for (int64_t j = 0; j < columns; j += VL) {
        const u32vec low = (u32vec)vbits(to_bf16(vload(even + j))) >> 16;
        const u32vec high = odd ? (u32vec)vbits(to_bf16(vload(odd + j))) : (u32vec){0};
        *(u32vec_mem *)(out + j) = low | high;
    }
}

/* The same for any number of columns at any place of a row: nothing after them is read. */
INLINE void pair_part(uint32_t *out, const real *even, const real *odd, int64_t columns) {
    const int64_t whole = columns / VL * VL, rest = columns - whole;
    pair_rows(out, even, odd, whole);
    if (rest == 0) return;
    real ends[2][VL] = {0};
    memcpy(ends[0], even + whole, (size_t)rest * sizeof(real));
    if (odd) memcpy(ends[1], odd + whole, (size_t)rest * sizeof(real));
    pair_rows(out + whole, ends[0], ends[1], VL);
}

/* Pairs along a row: the terms of a row of A by rows. */
INLINE void pair_along(uint32_t *out, const real *x, int64_t terms) {
    int64_t k = 0;
#if !defined(FR_EMULATE_AMX)
    for (; k + 32 <= terms; k += 32) {
        const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + k + 16), _mm512_loadu_ps(x + k));
        memcpy(out + k / 2, &pairs, sizeof pairs);
    }
#endif
    for (; k < terms; k += 2) {
        uint32_t even, odd = 0;
        memcpy(&even, x + k, sizeof even); /* x is bf16 already */
        if (k + 1 < terms) memcpy(&odd, x + k + 1, sizeof odd);
        out[k / 2] = even >> 16 | (odd & 0xffff0000u);
    }
    for (int64_t p = (terms + 1) / 2; p < pairs_of(terms); p++) out[p] = 0;
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
        for (int64_t i = 0; i < count; i += 2) {
            const real *even = rows + i * ld;
            pair_rows(out + (first + i) / 2 * FR_PANEL, even, i + 1 < count ? even + ld : NULL, columns);
        }
    }
    const int64_t done = (terms + 1) / 2;
    memset(out + done * FR_PANEL, 0, (size_t)((pairs_of(terms) - done) * FR_PANEL) * sizeof *out);
}

/* Packs terms k .. of some rows of A, `pairs` words apart. By columns, blocks of pairs are turned into rows. */
static void pack_a(uint32_t *out, real *turned, const product *p, int64_t row, int64_t rows, int64_t k, int64_t terms) {
    const int64_t pairs = pairs_of(terms);
    if (p->layout == A_ROWS) {
        for (int64_t i = 0; i < rows; i++) pair_along(out + i * pairs, p->a + (row + i) * p->s + k, terms);
        return;
    }
    real block[FR_PANEL * FR_PANEL];
    for (int64_t column = 0; column < rows; column += FR_PANEL) {
        const int64_t columns = rows - column < FR_PANEL ? rows - column : FR_PANEL;
        for (int64_t first = 0; first < pairs; first += FR_PANEL) {
            const int64_t count = pairs - first < FR_PANEL ? pairs - first : FR_PANEL;
            for (int64_t i = 0; i < count; i++) {
                const int64_t term = 2 * (first + i);
                const real *even = p->a + row + column + (k + term) * p->s;
                uint32_t *to = (uint32_t *)(block + i * FR_PANEL);
                if (term < terms) pair_part(to, even, term + 1 < terms ? even + p->s : NULL, columns);
                else memset(to, 0, FR_PANEL * sizeof *to);
            }
            pack_transposed(turned, block, FR_PANEL, count, columns);
            for (int64_t i = 0; i < columns; i++) {
                memcpy(out + (column + i) * pairs + first, turned + i * FR_PANEL, (size_t)count * sizeof *out);
            }
        }
    }
}

/* The panel that comes after that of a product, spread over all groups of terms of all blocks of it. */
INLINE lines_ahead lines_after(const product *p, int64_t blocks) {
    const b_panel *b = &p->after;
    if (b->columns == 0) return (lines_ahead){.rows = 0};
    const int64_t rows = b->transposed ? b->columns : p->K;
    const int64_t bytes = (b->transposed ? p->K : b->columns) * (int64_t)sizeof(real);
    const int64_t lines = rows * ((bytes + 63) / 64), groups = blocks * (pairs_of(p->K) / AMX_PAIRS);
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

/* The operands of a tile of C: a block of rows by a block of columns. */
typedef struct {
    const uint32_t *a, *b;
    int64_t pairs; /* of the terms, and words from a row of A to the next */
    int adds;
    lines_ahead *ahead;
} amx_operands;

/* c[16 * down][16 * across], its rows FR_PANEL apart */
INLINE void amx_block(real *c, const amx_operands *t, const int down, const int across) {
    const int64_t a_bytes = t->pairs * 4, bytes = FR_PANEL * 4;
/* DO(tile of C, its row and column of tiles, the tile of A, that of B): numbers are literals, as the compiler wants them. */
#define EACH_SUM(DO)                                                                                                   \
    DO(0, 0, 0, 4, 6);                                                                                                 \
    if (across > 1) DO(1, 0, 1, 4, 7);                                                                                 \
    if (down > 1) DO(2, 1, 0, 5, 6);                                                                                   \
    if (down > 1 && across > 1) DO(3, 1, 1, 5, 7)
#define PLACE(i, j) (c + (i)*AMX_ROWS * FR_PANEL + (j)*AMX_COLUMNS)
#define LOAD(tile, i, j, a, b) amx_load(tile, PLACE(i, j), bytes)
#define ZERO(tile, i, j, a, b) amx_zero(tile)
#define STORE(tile, i, j, a, b) amx_store(tile, PLACE(i, j), bytes)
#define MULTIPLY(tile, i, j, a, b) amx_product(tile, a, b)
    if (t->adds) {
        EACH_SUM(LOAD);
    } else {
        EACH_SUM(ZERO);
    }
    for (int64_t p = 0; p < t->pairs; p += AMX_PAIRS) {
        ask_more(t->ahead);
        amx_load(4, t->a + p, a_bytes);
        if (down > 1) amx_load(5, t->a + AMX_ROWS * t->pairs + p, a_bytes);
        amx_load(6, t->b + p * FR_PANEL, bytes);
        if (across > 1) amx_load(7, t->b + p * FR_PANEL + AMX_COLUMNS, bytes);
        EACH_SUM(MULTIPLY);
    }
    EACH_SUM(STORE);
#undef EACH_SUM
#undef PLACE
#undef LOAD
#undef ZERO
#undef STORE
#undef MULTIPLY
}

/* The packed rows of a strip of A. Strips come in order, again for each panel, so they are added to those before. */
INLINE const uint32_t *packed_a(amx_packed *packed, const product *p, const strip *s, int64_t k, int64_t terms) {
    const int64_t pairs = pairs_of(terms);
    const int known = packed->a_base == p->a && packed->a_from == k && packed->a_row <= s->row;
    if (!known || s->row > packed->a_end || s->row + s->rows - packed->a_row > AMX_STRIP_ROWS) {
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
INLINE const uint32_t *packed_b(amx_packed *packed, const product *p, int64_t k, int64_t terms) {
    const int64_t size = pairs_of(terms) * FR_PANEL, places = AMX_PANELS / size;
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
static void multiply_amx(real *c, amx_packed *packed, const product *p, const strip *s) {
    const int64_t columns = (p->vectors * VL + AMX_COLUMNS - 1) / AMX_COLUMNS;
    if (s->number == 0) packed->ahead = lines_after(p, s->count * ((columns + 1) / 2));
    for (int64_t k = 0; k < p->K || k == 0; k += AMX_TERMS) {
        const int64_t terms = p->K - k < AMX_TERMS ? p->K - k : AMX_TERMS;
        const uint32_t *a = packed_a(packed, p, s, k, terms), *b = packed_b(packed, p, k, terms);
        const int64_t pairs = pairs_of(terms);
        for (int64_t i = 0; i < s->rows; i += 2 * AMX_ROWS) {
            claim(p, s->row + i, s->rows - i < 2 * AMX_ROWS ? s->rows - i : 2 * AMX_ROWS, p->vectors * VBYTES);
            const int down = s->rows - i > AMX_ROWS ? 2 : 1;
            for (int64_t j = 0; j < columns; j += 2) {
                const amx_operands t = {a + i * pairs, b + j * AMX_COLUMNS, pairs, k > 0, &packed->ahead};
                real *at = c + i * FR_PANEL + j * AMX_COLUMNS;
                if (down == 2 && columns - j > 1) amx_block(at, &t, 2, 2);
                else if (down == 2) amx_block(at, &t, 2, 1);
                else if (columns - j > 1) amx_block(at, &t, 1, 2);
                else amx_block(at, &t, 1, 1);
            }
        }
    }
}

/* Before and after the products of an op. */
static void begin_amx(amx_packed *packed) {
    packed->a_base = NULL;
    memset(packed->b_panel, 0, sizeof packed->b_panel);
    amx_begin();
}

#endif
