/* dense_dw: the gradient of a weight, x^T * dz, and of its bias, the column sums of dz. The update (update.h) uses every
 *           tile of them while it is in the nearest cache, so gradients never go to memory.
 * bias_dw:  the gradient of a bias alone.
 *
 * A target sets, before it includes this file,
 *   DW_KC         terms done in one go; all blocks of rows should find their terms of x and dz in the first-level cache
 *   FAR_DW_ROWS   rows that are done before they are updated where the weight comes from far, at most FR_ROW_GROUP
 */
#ifndef FR_DENSE_DW_H
#define FR_DENSE_DW_H

#include "../worker.h"
#include "division.h"
#include "gemm.h"
#include "hand_over.h"
#include "lanes.h"
#include "pack.h"
#include "rows.h"
#include "sparse.h"
#include "update.h"

/* What the update of a part of a weight will touch, from `column` on. The weight is left out where it stays as it is and
 * only the gradient is stored: others may be reading it, so it must not be claimed. */
INLINE destination destination_of(const fr_param *param, fr_range rows, int64_t column) {
    const int weight_moves = !fr_stores_gradient(param->rule.kind);
    return (destination){
        .rows = rows.end - rows.begin,
        .data = {weight_moves ? address(&param->value, rows.begin, column) : NULL,
                 address(&param->slot[0], rows.begin, column), address(&param->slot[1], rows.begin, column)},
        .ld = {param->value.ld, param->slot[0].ld, param->slot[1].ld},
    };
}

/* db = the sums of the columns of dz: blocks of FR_SUM_BLOCK rows, then the blocks in order. What follows the last column
 * of a buffer may be anything, but zero in a gradient: norms and penalties count it. */
static void bias_gradient(real *db, const real *dz, int64_t ld, int64_t M, int64_t columns) {
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        vec total = {0};
        for (int64_t first = 0; first < M; first += FR_SUM_BLOCK) {
            const int64_t last = first + FR_SUM_BLOCK < M ? first + FR_SUM_BLOCK : M;
            vec sum = {0};
            for (int64_t i = first; i < last; i++) sum += vload(dz + i * ld + j);
            total += sum;
        }
        vstore(db + j, total);
    }
    clear_tail(db, columns);
}

/* The units that are kept, where some are left out. */
typedef struct {
    kept_units units;
    int32_t all[SKIP_KC]; /* 0, 1, ...: the rows of a group, none of which is left out */
} dw_kept;

/* Copies of the operands follow what all products need; what is kept, or the cursors, follows these. */
INLINE dw_copies *copies_of(const fr_worker *w) { return (dw_copies *)(scratch_of(w) + 1); }
INLINE cursor *cursors_of(const fr_worker *w) { return (cursor *)(copies_of(w) + 1); }

INLINE size_t dense_dw_scratch_bytes(const fr_dense_dw_op *op) {
    const size_t packed = sizeof(product_scratch) + sizeof(dw_copies), other = product_scratch_bytes(op->bf16);
    const int keeps = !op->bf16 && (drops_units(&op->x_mask) || drops_units(&op->dz_mask));
    const size_t kept = keeps ? sizeof(dw_kept) : 0, cursors = op->source >= 0 ? cursor_bytes(op->most_rows) : 0;
    const size_t all = packed + (kept > cursors ? kept : cursors);
    return all > other ? all : other;
}

/* What the groups of rows keep of one operand, the one that drops more. The other one is taken whole: to leave out columns
 * of both, partial sums would have to be picked and spread once for every group, which takes as long as it saves. */
typedef struct {
    row_groups groups;
    dw_kept *kept; /* NULL: nothing is left out */
    int by_x;      /* rows of the weight are left out, else columns */
} dw_skipping;

INLINE dw_skipping dw_skips_of(const fr_worker *w, int64_t M) {
    const fr_dense_dw_op *op = &w->op->dense_dw;
    const fr_mask *x = &op->x_mask, *dz = &op->dz_mask;
    if (op->bf16 || M > FR_CHAIN || !pays_to_skip(w, x, dz, op->K, op->N)) return (dw_skipping){.kept = NULL};
    dw_skipping skips = {.kept = (dw_kept *)(copies_of(w) + 1)};
    /* By dz, what is summed is turned in the end, which takes a tenth. */
    skips.by_x = drops_units(x) && (!drops_units(dz) || x->threshold <= dz->threshold + 65536 / 10);
    const fr_mask *mask = skips.by_x ? x : dz;
    skips.groups = groups_of(w, mask);
    for (int i = 0; i < SKIP_KC; i++) skips.kept->all[i] = i;
    if (!draw_kept(&skips.kept->units, w, &skips.groups, mask, skips.by_x ? op->K : op->N)) skips.kept = NULL;
    return skips;
}

/* Rows of the weight that are done before they are updated: two row groups. */
enum { SKIP_DW_ROWS = 2 * FR_ROW_GROUP };

/* out = a^T * b for some columns of both, of which the groups keep those of `a` only in part. */
typedef struct {
    real *out;
    int64_t ld;
    const fr_matrix *a, *b;
    int64_t a_column, a_columns, b_column;
    int vectors; /* of b */
} kept_sums;

static void sum_kept(const kept_sums *s, const dw_skipping *skips) {
    const row_groups *groups = &skips->groups;
    for (int64_t i = 0; i < s->a_columns; i++) {
        for (int j = 0; j < s->vectors; j++) vstore(s->out + i * s->ld + j * VL, (vec){0});
    }
    for (int64_t row = groups->rows.begin, last; row < groups->rows.end; row = last) {
        last = group_end(groups, row, row + SKIP_KC < groups->rows.end ? row + SKIP_KC : groups->rows.end);
        int32_t list[2 * FR_PANEL + FR_LANES];
        int64_t count = 0;
        for (int64_t i = 0; i < s->a_columns; i += FR_PANEL) {
            const int64_t some = panel_columns(s->a_columns, i), group = group_at(groups, row);
            count += list_bits(list + count, kept_in(&skips->kept->units, group, s->a_column + i, some), (int32_t)i, 1);
        }
        const int64_t blocks = row_blocks(count, DW_MR);
        const row_heights heights = heights_of(count, blocks);
        listed_operands t = {
            .a = (const real *)s->a->data + row * s->a->ld + s->a_column,
            .row = 1,
            .term = s->a->ld,
            .ldb = s->b->ld,
            .ldc = s->ld,
            .count = last - row,
            .terms = skips->kept->all,
            .adds = 1,
        };
        for (int j = 0; j < s->vectors; j += DW_NV) {
            t.b = (const real *)s->b->data + row * s->b->ld + s->b_column + j * VL;
            for (int64_t block = 0, i = 0; block < blocks; i += height_of(&heights, block), block++) {
                t.rows = list + i;
                const int vectors = s->vectors - j < DW_NV ? s->vectors - j : DW_NV;
                sum_listed(s->out + j * VL, &t, height_of(&heights, block), vectors);
            }
        }
    }
}

/* c (`height` x FR_PANEL) = the gradient of some rows of the weight, in the columns of a piece. */
INLINE void gradient_of_kept(const fr_worker *w, const dw_skipping *skips, fr_range rows, const piece *at) {
    const fr_dense_dw_op *op = &w->op->dense_dw;
    product_scratch *scratch = scratch_of(w);
    const int64_t height = rows.end - rows.begin;
    const int vectors = vectors_of(at->columns);
    if (skips->by_x) {
        const kept_sums s = {scratch->c, FR_PANEL, &op->x, &op->dz, rows.begin, height, at->column, vectors};
        sum_kept(&s, skips);
        return;
    }
    const int64_t ld = padded_rows(height);
    const kept_sums s = {scratch->spare, ld, &op->dz, &op->x, at->column, at->columns, rows.begin, vectors_of(height)};
    sum_kept(&s, skips);
    pack_transposed(scratch->c, scratch->spare, ld, at->columns, height);
}

/* Whether the operands are copied: what a worker copies, it should multiply often. */
INLINE int packs_dw(const fr_worker *w, int64_t M) {
#ifdef PACKS_BF16
    if (w->op->dense_dw.bf16) return 0; /* in a form of its own */
#endif
    const fr_dense_dw_op *op = &w->op->dense_dw;
    const int64_t tiles = panels_of(op->N) * row_blocks(op->K, FR_ROW_GROUP);
    return fr_tunes(w, FR_PACK_DW) && room_for(M, FR_PANEL) > 0 && op->N >= FR_PANEL && tiles >= 4 * w->n;
}

/* What a worker does of a dense_dw. Where the weight comes from far, the tiles of a group of rows are consecutive, so
 * that its rows are read and written from end to end. */
typedef struct {
    division parts;
    int64_t K;
    dw_skipping skips;
    int packs;               /* copies of the operands are multiplied */
    const fr_source *sparse; /* the rows of x, if they are read as they are; else NULL */
    int even;                /* groups of nearly equal height */
    int64_t height; /* rows done before they are updated: within a row group, or two where anything is left out */
} dw_work;

/* Penalties and norms are sums over a row group, which must have one owner. Otherwise a short op is cut more finely. */
INLINE dw_work dw_work_of(const fr_worker *w, int64_t M) {
    const fr_dense_dw_op *op = &w->op->dense_dw;
    const int64_t K = op->K, N = op->N;
    const int dynamic = is_long(2 * M * N * K, w->n), far = is_far(K * N);
    dw_work todo = {.K = K, .sparse = sparse_rows(w, op->source)};
    if (!todo.sparse) todo.skips = dw_skips_of(w, M);
    todo.height = todo.skips.kept ? SKIP_DW_ROWS : far ? FAR_DW_ROWS : FR_ROW_GROUP;
    todo.even = !dynamic && !op->weight.penalty && !op->weight.norms;
    const int64_t groups = row_blocks(K, todo.even ? DW_MR : FR_ROW_GROUP);
    todo.packs = !todo.skips.kept && !todo.sparse && packs_dw(w, M);
    if (shares_columns(w, N, dynamic, far)) todo.parts = divide_columns(w, N, groups);
    else if (far && todo.packs) todo.parts = divide_blocks(N, groups, dynamic, room_for(M, FR_PANEL));
    else todo.parts = divide_tiles(N, groups, dynamic, 0, far);
    return todo;
}

/* The rows of a piece. */
INLINE fr_range dw_rows(const dw_work *todo, const piece *at) {
    const int64_t K = todo->K, groups = todo->parts.groups, last = at->last * FR_ROW_GROUP;
    if (todo->even) return (fr_range){K * at->first / groups, K * at->last / groups};
    return (fr_range){at->first * FR_ROW_GROUP, last < K ? last : K};
}

/* What the tile after a piece will touch, if it is this worker's and comes from far. */
INLINE destination destination_after(const fr_worker *w, const dw_work *todo, const piece *at) {
    if (!todo->parts.by_rows || !fr_is_mine(&todo->parts.tiles, at->tile + 1)) return (destination){.rows = 0};
    const piece after = piece_of(&todo->parts, at->tile + 1);
    return destination_of(&w->op->dense_dw.weight, dw_rows(todo, &after), after.column);
}

static void op_dense_dw(fr_worker *w) {
    const fr_dense_dw_op *op = &w->op->dense_dw;
    const int64_t M = w->batch.rows;
    const fr_numbers weight_numbers = numbers_of(&op->weight.rule, &w->batch);
    const fr_numbers bias_numbers = numbers_of(&op->bias.rule, &w->batch);
    product_scratch *scratch = scratch_of(w);
    real *c = scratch->c;
    dw_work todo = dw_work_of(w, M);
    asking ahead = {0};
    if (w->op == w->asks) ahead = asking_of(w, op->K * op->N / w->n);
    fetch(w, &op->dz, M, op->N);
    if (!todo.sparse) fetch(w, &op->x, M, op->K);
    int64_t reached = INT64_MAX; /* by the cursors, in rows of the weight */
    begin_products(scratch, op->bf16);
    dw_copies *copies = copies_of(w);
    if (todo.packs) {
        begin_kept(&copies->x, M, todo.height, todo.parts.by_rows ? 2 * FR_ROW_GROUP / todo.height : MOST_KEPT);
        begin_kept(&copies->dz, M, FR_PANEL, MOST_KEPT);
    }
    piece at;
    while (next_piece(w, &todo.parts, &at)) {
        const int vectors = vectors_of(at.columns);
        const real *dz = (const real *)op->dz.data + at.column;
        const fr_range rows = dw_rows(&todo, &at);
        const destination next = destination_of(&op->weight, rows, at.column);
        const destination later = destination_after(w, &todo, &at);
        product p = {
            .a = (const real *)op->x.data + rows.begin,
            .layout = A_COLUMNS,
            .s = op->x.ld,
            .K = M,
            .terms_at_once = op->bf16 ? BF16_KC : DW_KC,
            .vectors = vectors,
            .bf16 = op->bf16,
            .b = {.data = dz, .ld = op->dz.ld},
            .next = &next,
        };
        if (todo.packs) {
            p.layout = A_BLOCKS;
            p.b = (b_panel){.data = packed_dz(copies, &op->dz, M, at.column, vectors), .ld = FR_PANEL};
        }
        if (w->n > 1 && !todo.parts.by_rows) p.claimed = (fr_matrix){next.data[0], next.ld[0]}, p.claim_keeps = 1;
        if (rows.begin == 0 && op->bias.value.data) {
            bias_gradient(c, dz, op->dz.ld, M, at.columns);
            const region all = {.rows = 1, .column = at.column, .columns = vectors * VL};
            update_region(&op->bias, &all, c, 0, &bias_numbers);
        }
        for (int64_t row = rows.begin; row < rows.end; row += todo.height) {
            const int64_t height = row + todo.height < rows.end ? todo.height : rows.end - row;
            const strip s = {.row = row - rows.begin, .rows = height, .count = 1};
            ask_on(&ahead, at.columns * height);
            ask_for_destination(&later, s.row, s.row + height, FR_PANEL * sizeof(real));
            if (todo.packs) p.a = packed_x(copies, &op->x, M, row, height, row / todo.height);
            if (todo.skips.kept) {
                claim(&p, s.row, height, vectors * VBYTES);
                for (int64_t i = s.row; i < s.row + height; i++) prefetch_row(&next, i, 0, vectors);
                gradient_of_kept(w, &todo.skips, (fr_range){row, row + height}, &at);
            } else if (todo.sparse) {
                if (row < reached) begin_cursors(cursors_of(w), w, todo.sparse);
                reached = row;
                for (int64_t i = s.row; i < s.row + height; i++) prefetch_row(&next, i, 0, vectors);
                sum_sparse_columns(c, scratch->spare, cursors_of(w), w, todo.sparse, (fr_range){row, row + height}, dz,
                                   op->dz.ld, vectors);
            } else {
                multiply(scratch, &p, &s);
            }
            for (int64_t i = 0; at.columns < vectors * VL && i < height; i++) clear_tail(c + i * FR_PANEL, at.columns);
            for (int64_t first = 0; first < height; first += FR_ROW_GROUP) {
                const int64_t count = height - first < FR_ROW_GROUP ? height - first : FR_ROW_GROUP;
                const region done = {.row = row + first, .rows = count, .column = at.column, .columns = vectors * VL};
                update_region(&op->weight, &done, c + first * FR_PANEL, FR_PANEL, &weight_numbers);
            }
        }
    }
    end_products(op->bf16);
}

/* The bias of a layer whose weight gets its gradient by another op. */
static void op_bias_dw(fr_worker *w) {
    const fr_bias_dw_op *op = &w->op->bias_dw;
    const fr_numbers numbers = numbers_of(&op->bias.rule, &w->batch);
    const fr_range panels = fr_share(w, panels_of(op->N));
    real sums[FR_PANEL];
    for (int64_t column = panels.begin * FR_PANEL; column < panels.end * FR_PANEL; column += FR_PANEL) {
        const int64_t columns = panel_columns(op->N, column);
        bias_gradient(sums, (const real *)op->dz.data + column, op->dz.ld, w->batch.rows, columns);
        const region all = {.rows = 1, .column = column, .columns = vectors_of(columns) * VL};
        update_region(&op->bias, &all, sums, 0, &numbers);
    }
}

#endif
