/* dense:    out = dropout(activation((x * weight) * scale + bias + noise)); the scale is that of a batch norm, in predictions
 * dense_dx: out = or += through'(dz * weight^T)
 *
 * A weight that is stored transposed is one that another layer shares.
 *
 * Where an activity penalty asks for it, dense also leaves the sums of |out| over the columns of every panel.
 *
 * Both are done in pieces of some columns by some groups of row blocks (division.h).
 *
 * A target sets, before it includes this file,
 *   FAR_KC   terms done in one go where the weight comes from far. The second-level cache has to hold all of x, the
 *            current terms, those asked for ahead, and those just done, because it does not know that they are no
 *            longer needed.
 */
#ifndef FR_DENSE_H
#define FR_DENSE_H

#include "activation.h"
#include "division.h"
#include "gemm.h"
#include "hand_over.h"
#include "lanes.h"
#include "sparse.h"

/* out = x * weight, or x * weight^T: `columns` columns, whose sums have K terms. */
typedef struct {
    fr_matrix out, x, weight;
    int64_t columns, K;
    int transposed;
    int whole_panels; /* work is not divided within a panel */
    int bf16;
    skipping *skips; /* NULL: nothing is left out */
} factors;

/* What a product leaves out, by the masks of x and of out; NULL if nothing. Room for it follows what all products need. */
INLINE skipping *skips_of(const fr_worker *w, const factors *f, const fr_mask *terms, const fr_mask *columns) {
    skipping *skips = (skipping *)(scratch_of(w) + 1);
    row_groups *groups = &skips->groups;
    if (f->bf16 || f->K > FR_CHAIN || !pays_to_skip(w, terms, columns, f->K, f->columns)) return NULL;
    *groups = groups_of(w, drops_units(terms) ? terms : columns);
    if (groups->count > KEPT_WORDS || groups->count * turned_size(groups, f->K) > SKIP_ROOM) return NULL;
    const int some = draw_kept(&skips->terms, w, groups, terms, f->K);
    if (!(draw_kept(&skips->columns, w, groups, columns, f->columns) | some)) return NULL;
    memset(skips->turned, 0, (size_t)groups->count);
    return skips;
}

/* Bytes of scratch for a product with these masks. */
INLINE size_t dense_scratch_bytes(const fr_mask *terms, const fr_mask *columns, int bf16) {
    const size_t other = product_scratch_bytes(bf16), room = sizeof(product_scratch) + sizeof(skipping);
    return !bf16 && (drops_units(terms) || drops_units(columns)) && room > other ? room : other;
}

/* What this worker does of an op: row blocks, in groups of `group_blocks`. */
typedef struct {
    division parts;
    int64_t first, rows, blocks, group_blocks;
    int far; /* the weight comes from far */
} work;

/* Groups of row blocks are as tall as they can be while every worker gets about eight tiles, so that shares come out even.
 * They may be taller where a worker has rows of its own, and a share in columns may end at any block. */
INLINE work work_of(const fr_worker *w, const factors *f) {
    const int64_t columns = f->columns, K = f->K;
    const int own = w->op->rowwise;
    const fr_range mine = own ? fr_share_of_rows(w) : fr_rows(w);
    const int64_t rows = mine.end - mine.begin, blocks = row_blocks(rows, MR);
    work todo = {.first = mine.begin, .rows = rows, .blocks = blocks, .group_blocks = 1, .far = is_far(K * columns)};
    const int dynamic = is_long(2 * rows * columns * K, w->n);
    if (!own && !f->whole_panels && shares_columns(w, columns, dynamic, todo.far)) {
        todo.parts = divide_columns(w, columns, blocks);
        return todo;
    }
    const int64_t tall = own || w->n == 1 ? blocks : blocks * panels_of(columns) / (8 * w->n);
    todo.group_blocks = tall < 1 ? 1 : tall > STRIP_ROWS / MR ? STRIP_ROWS / MR : tall;
    todo.parts = divide_tiles(columns, row_blocks(blocks, todo.group_blocks), dynamic, own, 0);
    return todo;
}

/* The rows of a piece. */
INLINE fr_range rows_of(const work *todo, const piece *p) {
    const int64_t last = p->last * todo->group_blocks;
    return (fr_range){
        todo->first + todo->rows * (p->first * todo->group_blocks) / todo->blocks,
        todo->first + todo->rows * (last < todo->blocks ? last : todo->blocks) / todo->blocks,
    };
}

/* Fewer rows of x, done together, do not pay for a copy of the weight. */
enum { LEAST_ROWS_TO_COPY = 96 };

/* Columns of a weight, or of the weight transposed. */
INLINE b_panel panel_of(const fr_matrix *weight, const piece *at, int transposed) {
    return (b_panel){
        .data = (const real *)weight->data + at->column * (transposed ? weight->ld : 1),
        .ld = weight->ld,
        .columns = at->columns,
        .transposed = transposed,
    };
}

/* The product for the columns of a piece. Columns that this worker needs next are named too, if they are others and come
 * from far. */
INLINE product product_of(const fr_worker *w, const work *todo, const piece *at, const factors *f) {
    product p = {.a = f->x.data,
                 .layout = A_ROWS,
                 .s = f->x.ld,
                 .K = f->K,
                 .terms_at_once = f->skips     ? even_terms(f->K)
                                  : !todo->far ? KC
                                  : f->bf16    ? BF16_KC
                                               : FAR_KC,
                 .vectors = vectors_of(at->columns),
                 .skips = f->skips,
                 .column = at->column,
                 .bf16 = f->bf16};
    if (w->n > 1) p.claimed = (fr_matrix){(real *)f->out.data + at->column, f->out.ld};
    p.b = panel_of(&f->weight, at, f->transposed);
    p.b.rounds = f->bf16;
    const fr_range rows = rows_of(todo, at);
    p.b.copied = !f->skips && fr_tunes(w, FR_PACK_WEIGHT) && rows.end - rows.begin >= LEAST_ROWS_TO_COPY;
    if (todo->far && fr_is_mine(&todo->parts.tiles, at->tile + 1)) {
        const piece after = piece_of(&todo->parts, at->tile + 1);
        if (after.column != at->column) p.after = panel_of(&f->weight, &after, f->transposed);
    }
    return p;
}

static void op_dense(fr_worker *w) {
    const fr_dense_op *op = &w->op->dense;
    factors f = {
        .out = op->out,
        .x = op->x,
        .weight = op->weight,
        .columns = op->N,
        .K = op->K,
        .transposed = op->transposed,
        .whole_panels = op->activity.data != NULL, /* it has a sum of sizes for each */
        .bf16 = op->bf16,
    };
    const fr_source *sparse = sparse_rows(w, op->source);
    if (!sparse) f.skips = skips_of(w, &f, &op->x_mask, &op->mask);
    const real *bias = op->bias.data, *scale = op->scale.data;
    product_scratch *scratch = scratch_of(w);
    work todo = work_of(w, &f);
    if (!sparse) fetch(w, &op->weight, op->transposed ? op->N : op->K, op->transposed ? op->K : op->N);
    begin_products(scratch, op->bf16);
    const int given = gives(w, &op->out, w->batch.rows);
    piece at;
    int64_t packed_column = -1, packed_from = -1;
    while (next_piece(w, &todo.parts, &at)) {
        const int64_t column = at.column;
        const int vectors = vectors_of(at.columns);
        if (column != packed_column) packed_column = column, packed_from = -1;
        product p = product_of(w, &todo, &at, &f);
        p.packed_from = &packed_from;
        const fr_range rows = rows_of(&todo, &at);
        strip s = strips_of(&p, rows.begin, rows.end - rows.begin);
        while (next_strip(&s)) {
            if (!sparse) multiply(scratch, &p, &s);
            for (int64_t row = s.row; row < s.row + s.rows; row++) {
                real *z = scratch->c + (row - s.row) * FR_PANEL;
                if (sparse) {
                    const real *weight = (const real *)op->weight.data + column;
                    const int64_t index = fr_index_at(w->feed, w->batch.first + row);
                    sum_sparse_row(z, sparse, index, weight, op->weight.ld, vectors);
                }
                if (scale) {
                    for (int j = 0; j < vectors * VL; j += VL) {
                        vstore(z + j, vfma(vload(z + j), vload(scale + column + j), vload(bias + column + j)));
                    }
                } else if (bias) {
                    for (int j = 0; j < vectors * VL; j += VL) vstore(z + j, vload(z + j) + vload(bias + column + j));
                }
                const row_part part = part_of_row(w, row, column, at.columns);
                if (op->noise.std != 0) noise_row(z, z, &op->noise, &part, NULL);
                if (op->z.data) memcpy((real *)op->z.data + row * op->z.ld + column, z, sizeof(vec) * (size_t)vectors);
                real *y = (real *)op->out.data + row * op->out.ld + column;
                forward_row_inline(y, z, op->activation, &op->mask, &part);
                if (op->activity.data) {
                    real *sums = (real *)op->activity.data + row * op->activity.ld;
                    sums[column / FR_PANEL] = sum_of_sizes(y, at.columns);
                }
                also_rounded(&op->rounded, y, row, column, vectors);
                if (given) give(y, at.columns);
            }
        }
    }
    end_products(op->bf16);
}

static void op_dense_dx(fr_worker *w) {
    const fr_dense_dx_op *op = &w->op->dense_dx;
    factors f = {
        .out = op->out,
        .x = op->dz,
        .weight = op->weight,
        .columns = op->K,
        .K = op->N,
        .transposed = !op->transposed,
        .bf16 = op->bf16,
    };
    f.skips = skips_of(w, &f, &op->dz_mask, &op->through.mask);
    product_scratch *scratch = scratch_of(w);
    work todo = work_of(w, &f);
    begin_products(scratch, op->bf16);
    const int given = gives(w, &op->out, w->batch.rows);
    piece at;
    int64_t packed_column = -1, packed_from = -1;
    while (next_piece(w, &todo.parts, &at)) {
        if (at.column != packed_column) packed_column = at.column, packed_from = -1;
        product p = product_of(w, &todo, &at, &f);
        p.packed_from = &packed_from;
        p.claim_keeps = op->add;
        const fr_range rows = rows_of(&todo, &at);
        strip s = strips_of(&p, rows.begin, rows.end - rows.begin);
        while (next_strip(&s)) {
            multiply(scratch, &p, &s);
            for (int64_t row = s.row; row < s.row + s.rows; row++) {
                real *dz = (real *)op->out.data + row * op->out.ld + at.column;
                const row_part part = part_of_row(w, row, at.column, at.columns);
                pass_back(dz, scratch->c + (row - s.row) * FR_PANEL, &op->through, op->add, &part);
                also_rounded(&op->rounded, dz, row, at.column, p.vectors);
                if (given) give(dz, at.columns);
            }
        }
    }
    end_products(op->bf16);
}

#endif
