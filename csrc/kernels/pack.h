/* Copies of the operands of dense_dw, in the order in which its tiles read them, so that they come from few pages and
 * from lines that do not displace each other. Where they lie, the terms of a sum are whole rows apart.
 *
 * A copy of x holds some rows of the weight, in blocks as tall as tiles: term k of row r of a block is element
 * k * height + r. A copy of dz is a panel. Copies stay until the op ends, as far as there is room for them.
 */
#ifndef FR_PACK_H
#define FR_PACK_H

#include "../worker.h"
#include "gemm.h"
#include "vec.h"

enum {
    KEPT_BYTES = 512 * 1024, /* of copies of x, and as much of dz: half of a second-level cache */
    KEPT = KEPT_BYTES / (int)sizeof(real),
    MOST_KEPT = 64, /* copies of each */
};

/* Copies of one operand: places of `size` elements. */
typedef struct {
    int64_t places, size;
    int64_t first[MOST_KEPT], columns[MOST_KEPT]; /* of the operand that are in a place; columns 0 for none */
    real data[KEPT];
} kept_copies;

typedef struct {
    kept_copies x, dz;
} dw_copies;

/* The last vector of a block may go beyond it. */
INLINE int64_t size_of_copy(int64_t M, int64_t columns) { return M * columns + VL; }

/* How many copies of M terms by `columns` columns there is room for. */
INLINE int64_t room_for(int64_t M, int64_t columns) {
    const int64_t places = KEPT / size_of_copy(M, columns);
    return places < MOST_KEPT ? places : MOST_KEPT;
}

/* The same, but at most `most`. */
INLINE void begin_kept(kept_copies *k, int64_t M, int64_t columns, int64_t most) {
    k->size = size_of_copy(M, columns);
    k->places = room_for(M, columns) < most ? room_for(M, columns) : most;
    for (int64_t i = 0; i < k->places; i++) k->columns[i] = 0;
}

/* The place of columns first .. of an operand. Returns whether they are there already. */
INLINE int find_kept(kept_copies *k, int64_t first, int64_t columns, int64_t number, real **data) {
    const int64_t place = number % k->places;
    *data = k->data + place * k->size;
    if (k->first[place] == first && k->columns[place] == columns) return 1;
    k->first[place] = first, k->columns[place] = columns;
    return 0;
}

/* Rows of a block of x: M rows of `height` columns, one after the other. All but the last are copied by whole vectors,
 * whose ends the next row overwrites. */
INLINE void pack_block(real *out, const real *x, int64_t ld, int64_t M, int64_t height) {
    for (int64_t k = 0; k < M - 1; k++) {
        copy_row(out + k * height, x + k * ld, vectors_of(height));
    }
    for (int64_t i = 0; i < height; i++) out[(M - 1) * height + i] = x[(M - 1) * ld + i];
}

/* Columns first .. first + rows - 1 of x, as rows of the weight. */
INLINE const real *packed_x(dw_copies *copies, const fr_matrix *x, int64_t M, int64_t first, int64_t rows,
                            int64_t number) {
    real *out;
    if (find_kept(&copies->x, first, rows, number, &out)) return out;
    const int64_t blocks = row_blocks(rows, DW_MR);
    const row_heights heights = heights_of(rows, blocks);
    for (int64_t block = 0, i = 0; block < blocks; block++) {
        const int64_t height = height_of(&heights, block);
        pack_block(out + i * M, (const real *)x->data + first + i, x->ld, M, height);
        i += height;
    }
    return out;
}

/* A panel of dz; its rows are FR_PANEL apart. */
INLINE const real *packed_dz(dw_copies *copies, const fr_matrix *dz, int64_t M, int64_t column, int vectors) {
    real *out;
    if (find_kept(&copies->dz, column, vectors, column / FR_PANEL, &out)) return out;
    const real *in = (const real *)dz->data + column;
    for (int64_t k = 0; k < M; k++) {
        copy_row(out + k * FR_PANEL, in + k * dz->ld, vectors);
    }
    return out;
}

#endif
