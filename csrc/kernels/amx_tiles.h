/* Packed products on the tiles of AMX: up to 2 x 2 tiles of C at a time. Part of bf16_packed.h. */
#ifndef FR_AMX_TILES_H
#define FR_AMX_TILES_H

/* c[16 * down][16 * across], its rows FR_PANEL apart */
INLINE void amx_block(real *c, const packed_terms *t, const int down, const int across) {
    const int64_t a_bytes = t->a_row * 4, bytes = FR_PANEL * 4;
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
        if (down > 1) amx_load(5, t->a + AMX_ROWS * t->a_row + p, a_bytes);
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

/* Columns of A become rows of pairs: blocks of pairs are turned. */
INLINE void pack_columns(uint32_t *a, real *block, const real *x, int64_t ld, int64_t terms, int64_t rows) {
    const int64_t pairs = pairs_of(terms);
    for (int64_t k = 0; k < terms; k += FR_PANEL) {
        const int64_t count = terms - k < FR_PANEL ? terms - k : FR_PANEL;
        real turned[FR_ROW_GROUP * FR_PANEL];
        pair_terms((uint32_t *)block, FR_PANEL, x + k * ld, ld, count, rows);
        pack_transposed(turned, block, FR_PANEL, pairs_of(count), rows);
        for (int64_t i = 0; i < rows; i++) {
            memcpy(a + i * pairs + k / 2, turned + i * FR_PANEL, (size_t)pairs_of(count) * sizeof *a);
        }
    }
}

INLINE void lay_columns(packed_terms *t) { t->a_row = t->pairs, t->a_pair = 1; }

/* Blocks of 2 x 2 tiles. */
INLINE int64_t tiles_of(int64_t rows, int64_t vectors) {
    return ((rows + 2 * AMX_ROWS - 1) / (2 * AMX_ROWS)) * ((vectors * VL + 2 * AMX_COLUMNS - 1) / (2 * AMX_COLUMNS));
}

/* c (rows x FR_PANEL) = or += A * B for the rows of the strip. */
INLINE void multiply_pairs(real *c, const packed_terms *terms, const product *p, const strip *s) {
    const int64_t columns = (p->vectors * VL + AMX_COLUMNS - 1) / AMX_COLUMNS;
    for (int64_t i = 0; i < s->rows; i += 2 * AMX_ROWS) {
        claim(p, s->row + i, s->rows - i < 2 * AMX_ROWS ? s->rows - i : 2 * AMX_ROWS, p->vectors * VBYTES);
        const int down = s->rows - i > AMX_ROWS ? 2 : 1;
        for (int64_t j = 0; j < columns; j += 2) {
            packed_terms t = *terms;
            t.a += i * t.a_row, t.b += j * AMX_COLUMNS;
            real *at = c + i * FR_PANEL + j * AMX_COLUMNS;
            if (down == 2 && columns - j > 1) amx_block(at, &t, 2, 2);
            else if (down == 2) amx_block(at, &t, 2, 1);
            else if (columns - j > 1) amx_block(at, &t, 1, 2);
            else amx_block(at, &t, 1, 1);
        }
    }
}

#endif
