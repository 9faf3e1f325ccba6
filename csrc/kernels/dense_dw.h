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

/* Copies of the operands follow what all products need. */
INLINE dw_copies *copies_of(const fr_worker *w) { return (dw_copies *)(scratch_of(w) + 1); }

INLINE size_t dense_dw_scratch_bytes(const fr_dense_dw_op *op) {
    const size_t packed = sizeof(product_scratch) + sizeof(dw_copies), other = product_scratch_bytes(op->bf16);
    return packed > other ? packed : other;
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
    int packs;      /* copies of the operands are multiplied */
    int even;       /* groups of nearly equal height */
    int64_t height; /* rows done before they are updated: within a row group */
} dw_work;

/* Penalties and norms are sums over a row group, which must have one owner. Otherwise a short op is cut more finely. */
INLINE dw_work dw_work_of(const fr_worker *w, int64_t M) {
    const fr_dense_dw_op *op = &w->op->dense_dw;
    const int64_t K = op->K, N = op->N;
    const int dynamic = is_long(2 * M * N * K, w->n), far = is_far(K * N);
    dw_work todo = {.K = K, .height = far ? FAR_DW_ROWS : FR_ROW_GROUP};
    todo.even = !dynamic && !op->weight.penalty && !op->weight.norms;
    const int64_t groups = row_blocks(K, todo.even ? DW_MR : FR_ROW_GROUP);
    todo.packs = packs_dw(w, M);
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
    fetch(w, &op->x, M, op->K);
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
            const region done = {.row = row, .rows = height, .column = at.column, .columns = vectors * VL};
            ask_on(&ahead, at.columns * height);
            ask_for_destination(&later, s.row, s.row + height, FR_PANEL * sizeof(real));
            if (todo.packs) p.a = packed_x(copies, &op->x, M, row, height, row / todo.height);
            multiply(scratch, &p, &s);
            for (int64_t i = 0; at.columns < done.columns && i < height; i++) clear_tail(c + i * FR_PANEL, at.columns);
            update_region(&op->weight, &done, c, FR_PANEL, &weight_numbers);
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
