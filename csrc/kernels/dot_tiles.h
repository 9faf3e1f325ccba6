/* Packed products by VDPBF16PS: register tiles of up to DOT_ROWS by DOT_VECTORS vectors of C. Part of bf16_packed.h.
 *
 * Both chains of all sums stay in registers for a group of terms. The totals are in memory.
 */
#ifndef FR_DOT_TILES_H
#define FR_DOT_TILES_H

enum {
    DOT_ROWS = 6,
    DOT_VECTORS = 2,
    DOT_PAIRS = 128, /* done for all tiles of a strip in turn: those of a panel stay in the nearest cache */
};

/* What a tile will be written to, and its place there. */
typedef struct {
    const destination *next;
    int64_t row, column;
} dot_place;

/* c[mr][nv * VL], its rows FR_PANEL apart; a and b are `pairs` pairs */
INLINE void dot_body(real *c, const packed_terms *t, int64_t pairs, const dot_place *at, const a_layout layout,
                     const int mr, const int nv) {
    const int64_t next_row = layout == A_ROWS ? t->a_row : 1, next_pair = layout == A_ROWS ? 1 : t->a_pair;
    const uint32_t *a = t->a, *b = t->b;
    int adds = t->adds;
    for (int64_t left = pairs, asked = 0; left > 0; left -= FR_BF16_GROUP / 2) {
        ask_more(t->ahead);
        for (int i = 0; at->next && i < 2 && asked < mr; i++) prefetch_row(at->next, at->row + asked++, at->column, nv);
        vec even[DOT_ROWS * DOT_VECTORS], odd[DOT_ROWS * DOT_VECTORS]; /* row by row */
        UNROLL
        for (int i = 0; i < mr * nv; i++) even[i] = odd[i] = (vec){0};
#define CHAIN(sum)                                                                                                     \
    {                                                                                                                  \
        u32vec bp[DOT_VECTORS];                                                                                        \
        UNROLL                                                                                                         \
        for (int j = 0; j < nv; j++) bp[j] = *(const u32vec_mem *)(b + j * VL);                                        \
        UNROLL                                                                                                         \
        for (int i = 0; i < mr; i++) {                                                                                 \
            const u32vec ap = a[i * next_row] - (u32vec){0};                                                           \
            UNROLL                                                                                                     \
            for (int j = 0; j < nv; j++) sum[i * nv + j] = add_pairs(sum[i * nv + j], ap, bp[j]);                      \
        }                                                                                                              \
        a += next_pair;                                                                                                \
        b += FR_PANEL;                                                                                                 \
    }
        for (int p = 0; p < FR_BF16_GROUP / 2; p += 2) {
            CHAIN(even);
            CHAIN(odd);
        }
#undef CHAIN
        UNROLL
        for (int i = 0; i < mr * nv; i++) {
            real *total = c + i / nv * FR_PANEL + i % nv * VL;
            const vec before = adds ? vload(total) : (vec){0};
            vstore(total, before + (even[i] + odd[i]));
        }
        adds = 1;
    }
}

typedef void (*dot_fn)(real *c, const packed_terms *t, int64_t pairs, const dot_place *at);

#define DEFINE_DOT_TILE(layout, mr, nv)                                                                                \
    static void dot_##layout##_##mr##_##nv(real *c, const packed_terms *t, int64_t pairs, const dot_place *at) {       \
        dot_body(c, t, pairs, at, layout, mr, nv);                                                                     \
    }
#define DOT_TILE_NAME(layout, mr, nv) dot_##layout##_##mr##_##nv,

FOR_EACH_TILE(DEFINE_DOT_TILE, A_ROWS, 6, 2)
FOR_EACH_TILE(DEFINE_DOT_TILE, A_COLUMNS, 6, 2)
static const dot_fn dot_row_tiles[DOT_VECTORS * DOT_ROWS] = {FOR_EACH_TILE(DOT_TILE_NAME, A_ROWS, 6, 2)};
static const dot_fn dot_column_tiles[DOT_VECTORS * DOT_ROWS] = {FOR_EACH_TILE(DOT_TILE_NAME, A_COLUMNS, 6, 2)};

/* Columns of A stay as they lie, as pairs of rows. */
INLINE void pack_columns(uint32_t *a, real *block, const real *x, int64_t ld, int64_t terms, int64_t rows) {
    (void)block; /* nothing is turned */
    pair_terms(a, FR_ROW_GROUP, x, ld, terms, rows);
}

INLINE void lay_columns(packed_terms *t) { t->a_row = 1, t->a_pair = FR_ROW_GROUP; }

INLINE int64_t tiles_of(int64_t rows, int64_t vectors) {
    return row_blocks(rows, DOT_ROWS) * ((vectors + DOT_VECTORS - 1) / DOT_VECTORS);
}

/* c (rows x FR_PANEL) = or += A * B for the rows of the strip. */
INLINE void multiply_pairs(real *c, const packed_terms *terms, const product *p, const strip *s) {
    const int64_t blocks = row_blocks(s->rows, DOT_ROWS);
    const row_heights heights = heights_of(s->rows, blocks);
    const dot_fn *tiles = p->layout == A_ROWS ? dot_row_tiles : dot_column_tiles;
    if (terms->pairs == 0) memset(c, 0, (size_t)(s->rows * FR_PANEL) * sizeof(real));
    for (int64_t pair = 0; pair < terms->pairs; pair += DOT_PAIRS) {
        const int64_t left = terms->pairs - pair, pairs = left < DOT_PAIRS ? left : DOT_PAIRS;
        for (int64_t block = 0, i = 0; block < blocks; block++) {
            const int64_t height = height_of(&heights, block);
            if (left <= DOT_PAIRS) claim(p, s->row + i, height, p->vectors * VBYTES);
            for (int j = 0; j < p->vectors; j += DOT_VECTORS) {
                const int vectors = p->vectors - j < DOT_VECTORS ? p->vectors - j : DOT_VECTORS;
                packed_terms t = *terms;
                t.a += i * t.a_row + pair * t.a_pair, t.b += pair * FR_PANEL + j * VL, t.adds |= pair > 0;
                const dot_place at = {left <= DOT_PAIRS ? p->next : NULL, s->row + i, j * VL};
                tiles[(vectors - 1) * DOT_ROWS + height - 1](c + i * FR_PANEL + j * VL, &t, pairs, &at);
            }
            i += height;
        }
    }
}

#endif
