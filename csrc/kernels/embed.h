/* embed:    out = dropout(the rows of the table that the codes of x name, side by side).
 * embed_dw: the gradient of the table, and its update: each row gets the sum of the parts of dz that belong to it, in the
 *           order of the batch.
 * row_norm: scales the rows of a table whose norm is over the limit down to it.
 *
 * A code that names no row ends the run, as a value that is not finite does.
 *
 * In embed_dw each worker owns a range of the table. Under plain SGD without penalties a row that no code names stays as
 * it is, so only the named rows are touched: the time does not depend on the size of the table, and the bits are those of
 * the update of all rows.
 */
#ifndef FR_EMBED_H
#define FR_EMBED_H

#include <math.h>
#include <string.h>

#include "activation.h"
#include "exact_norm.h"
#include "lanes.h"
#include "rows.h"
#include "update.h"

/* The row of the table that the code in column j of a row of the batch names, or -1. */
INLINE int64_t named_row(const fr_codes *codes, int64_t row, int64_t j) {
    const real code = ((const real *)codes->x.data)[row * codes->x.ld + j];
    if (!(code >= 0 && code < (real)codes->counts[j])) return -1; /* also NaN */
    const int64_t whole = (int64_t)code;
    return (real)whole == code ? codes->starts[j] + whole : -1;
}

static void op_embed(fr_worker *w) {
    const fr_embed_op *op = &w->op->embed;
    const fr_codes *codes = &op->codes;
    const int64_t width = codes->width, columns = codes->columns * width;
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t j = 0; j < codes->columns; j++) {
            int64_t at = named_row(codes, row, j);
            if (at < 0) {
                refuse_row(w, w->batch.first + row);
                at = 0;
            }
            memcpy(out + j * width, (const real *)op->weight.data + at * op->weight.ld, sizeof(real) * (size_t)width);
        }
        if (!masked_as(&op->mask)) continue;
        for (int64_t column = 0; column < columns; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(columns, column));
            forward_row(out + column, out + column, FR_LINEAR, &op->mask, &part);
        }
    }
}

/* Whether a gradient of 0 leaves a row, its state and the sums over the rows as they are. */
INLINE int zero_changes_nothing(const fr_param *param, const fr_numbers *n) {
    if (n->kind == FR_RULE_ADD || (n->kind == FR_RULE_RAW && !n->opens)) return 1;
    return n->kind == FR_RULE_SGD && !n->penalized && !n->proximal && !n->non_negative && n->decay == 1 &&
           !param->norms;
}

/* A row of the table, or rows with the same gradient where ldg is 0. */
INLINE void update_rows(const fr_param *param, int64_t row, int64_t rows, const real *gradient, const fr_numbers *n) {
    if (!rows) return;
    const region r = {.row = row, .rows = rows, .column = 0, .columns = (param->columns + VL - 1) / VL * VL};
    update_region(param, &r, gradient, 0, n);
}

/* The gradient of a row of the table, from the list of what belongs to it; the list is empty then. */
INLINE void take_gradient(real *g, const fr_embed_dw_op *op, int32_t *head) {
    const int64_t width = op->codes.width, columns = op->codes.columns;
    memset(g, 0, sizeof(real) * (size_t)width); /* what follows, up to a whole vector, stays 0 */
    for (int32_t entry = *head; entry >= 0; entry = op->next[entry]) {
        const real *dz = (const real *)op->dz.data + entry / columns * op->dz.ld + entry % columns * width;
        for (int64_t k = 0; k < width; k++) g[k] += dz[k];
    }
    *head = -1;
}

INLINE size_t embed_dw_scratch_bytes(int64_t width) { return 2 * sizeof(real) * (size_t)(width + FR_PANEL); }

static void op_embed_dw(fr_worker *w) {
    const fr_embed_dw_op *op = &w->op->embed_dw;
    const fr_param *param = &op->weight;
    const fr_codes *codes = &op->codes;
    const fr_numbers numbers = numbers_of(&param->rule, &w->batch);
    const int64_t M = w->batch.rows, columns = codes->columns, all = param->rows;
    const fr_range groups = fr_share(w, (all + FR_ROW_GROUP - 1) / FR_ROW_GROUP);
    const int64_t begin = groups.begin * FR_ROW_GROUP;
    const int64_t end = groups.end * FR_ROW_GROUP < all ? groups.end * FR_ROW_GROUP : all;
    real *g = (real *)w->scratch, *zeros = g + codes->width + FR_PANEL;
    memset(g, 0, embed_dw_scratch_bytes(codes->width));
    /* Lists of the parts of dz by row of the table. From the back, so that each list is in the order of the batch. */
    for (int64_t row = M - 1; row >= 0; row--) {
        for (int64_t j = columns - 1; j >= 0; j--) {
            const int64_t at = named_row(codes, row, j);
            if (at < begin || at >= end) continue;
            const int32_t entry = (int32_t)(row * columns + j);
            op->next[entry] = op->heads[at];
            op->heads[at] = entry;
        }
    }
    if (zero_changes_nothing(param, &numbers)) {
        for (int64_t row = 0; row < M; row++) {
            for (int64_t j = 0; j < columns; j++) {
                const int64_t at = named_row(codes, row, j);
                if (at < begin || at >= end || op->heads[at] < 0) continue;
                take_gradient(g, op, &op->heads[at]);
                update_rows(param, at, 1, g, &numbers);
            }
        }
        return;
    }
    for (int64_t group = begin; group < end; group += FR_ROW_GROUP) {
        const int64_t last = group + FR_ROW_GROUP < end ? group + FR_ROW_GROUP : end;
        int64_t idle = group; /* rows from here on have no gradient so far */
        for (int64_t at = group; at < last; at++) {
            if (op->heads[at] < 0) continue;
            update_rows(param, idle, at - idle, zeros, &numbers);
            take_gradient(g, op, &op->heads[at]);
            update_rows(param, at, 1, g, &numbers);
            idle = at + 1;
        }
        update_rows(param, idle, last - idle, zeros, &numbers);
    }
}

static void op_row_norm(fr_worker *w) {
    const fr_max_norm_op *op = &w->op->max_norm;
    const int64_t width = op->param.columns;
    const fr_range mine = fr_share(w, op->param.rows);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        real *x = (real *)op->param.value.data + row * op->param.value.ld;
        lanes sum = lanes_set(0);
        for (int64_t j = 0; j < width; j += LANES) {
            for (int i = 0; i < LANE_VECS; i++) {
                const vec v = vkeep(lanes_below(j, width, i), vload(x + j + i * VL));
                sum.v[i] = vfma(v, v, sum.v[i]);
            }
        }
        const double squares = (double)lanes_sum(&sum), norm = __builtin_sqrt(squares);
        if (is_doubtful(squares, op->limit) || op->limit < norm * SMALLEST) {
            limit_exactly(x, width, 1, op->limit);
            continue;
        }
        if (!(norm > op->limit)) continue;
        const vec factor = vset1((real)(op->limit / norm));
        for (int64_t j = 0; j < width; j += VL) vstore(x + j, vload(x + j) * factor);
    }
}

#endif
