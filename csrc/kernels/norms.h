/* Ops that look at norms: penalize and clip_norm (of all gradients together), max_norm (of the columns of a weight, and
 * of all of it).
 *
 * Sums of squares run over fixed tiles and in a fixed order, so they do not depend on the number of threads.
 */
#ifndef FR_NORMS_H
#define FR_NORMS_H

#include "../worker.h"
#include "exact_norm.h"
#include "lanes.h"
#include "tiles.h"
#include "update.h"
#include "vec.h"

/* The sum of the squares of a row: 16 virtual lanes. What follows the last column is zero. */
static real squares_of(const real *x, int64_t count) {
    lanes sum = lanes_set(0);
    for (int64_t j = 0; j < count; j += VL) {
        const vec xj = vload(x + j);
        vec *lane = &sum.v[j / VL % LANE_VECS];
        *lane = vfma(xj, xj, *lane);
    }
    return lanes_sum(&sum);
}

/* Adds the penalties' part to a stored gradient, cuts it, and notes the sum of squares of every tile. */
static void op_penalize(fr_worker *w) {
    const fr_param *param = &w->op->penalize.param;
    const fr_numbers numbers = numbers_of(&param->rule, &w->batch);
    fr_tiles tiles_left = update_tiles(param);
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const region tile = update_tile(param, &tiles_left, t);
        double sum = 0;
        for (int64_t row = tile.row; row < tile.row + tile.rows; row++) {
            const region line = {row, 1, tile.column, tile.columns};
            const real *gradient = address(&param->slot[0], row, tile.column);
            update_region(param, &line, gradient, 0, &numbers);
            sum += (double)squares_of(gradient, tile.columns);
        }
        w->op->penalize.squares[t] = sum;
    }
}

/* Adds the squares of all gradients, or finds the largest of them where `scale` is 0. */
static double over_gradients(double total, const fr_program *program, double scale) {
    for (int i = 0; i < program->n_ops; i++) {
        if (program->ops[i].kind != FR_PENALIZE) continue;
        const fr_param *param = &program->ops[i].penalize.param;
        for (int64_t row = 0; row < param->rows; row++) {
            const real *g = address(&param->slot[0], row, 0);
            total =
                scale == 0 ? largest_of(total, g, param->columns, 1) : add_squares(total, g, param->columns, 1, scale);
        }
    }
    return total;
}

/* The factor for all gradients: min(1, limit / (norm + 1e-6)). */
static void op_clip_norm(fr_worker *w) {
    if (w->id != 0) return;
    const double limit = w->op->clip_norm.limit;
    double sum = 0;
    for (int i = 0; i < w->program->n_ops; i++) {
        if (w->program->ops[i].kind != FR_PENALIZE) continue;
        const fr_penalize_op *op = &w->program->ops[i].penalize;
        const int64_t n = fr_update_tiles(op->param.rows, op->param.columns);
        for (int64_t t = 0; t < n; t++) sum += op->squares[t];
    }
    const double factor = limit / (__builtin_sqrt(sum) + 1e-6); /* squares that underflowed do not count beside 1e-6 */
    if (sum <= DBL_MAX && factor >= SMALLEST) {
        w->clip[0] = factor > 1 ? 1 : factor, w->clip[1] = 1;
        return;
    }
    const int exponent = exponent_of(over_gradients(0, w->program, 0));
    const two_factors by = factors_to(limit, over_gradients(0, w->program, power_of_two(-exponent)), exponent);
    w->clip[0] = (double)by.first, w->clip[1] = (double)by.second;
}

/* The squared norms of the columns of a panel, which the updates before have left in param->norms, and the factors that
 * bring them down to the limit (0: none). Returns whether any is over it. `smallest` of the factors so far is 0 where a
 * norm is doubtful. */
INLINE int column_factors(double *squares, double *factor, const fr_param *param, int64_t panel, double limit,
                          double *smallest) {
    const int64_t groups = (param->rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP;
    const int width = panel_vectors(param->columns, panel * FR_PANEL) * VL;
    int any = 0;
    for (int j = 0; j < width; j++) squares[j] = 0;
    for (int64_t group = 0; group < groups; group++) {
        const real *norms = (const real *)param->norms + group * param->value.ld + panel * FR_PANEL;
        for (int j = 0; j < width; j++) squares[j] += (double)norms[j];
    }
    for (int j = 0; j < width; j++) {
        const int over = limit > 0 && squares[j] > limit * limit;
        factor[j] = over ? limit / __builtin_sqrt(squares[j]) : 1;
        any |= over;
        if (factor[j] < *smallest) *smallest = factor[j];
        if (limit > 0 && is_doubtful(squares[j], limit)) *smallest = 0;
    }
    return any;
}

/* The factor for all of a weight, once its columns are within their limit; 0 where a norm is doubtful. Every worker adds
 * up all of the squares, in order: that takes less time than a barrier. */
static double whole_factor(const fr_max_norm_op *op) {
    const int64_t panels = panels_of(op->param.columns);
    double sum = 0, smallest = 1, squares[FR_PANEL], factor[FR_PANEL];
    if (op->whole <= 0) return 1;
    for (int64_t t = 0; t < panels; t++) {
        column_factors(squares, factor, &op->param, t, op->limit, &smallest);
        const int width = panel_vectors(op->param.columns, t * FR_PANEL) * VL;
        for (int j = 0; j < width; j++) sum += squares[j] * factor[j] * factor[j];
    }
    const double whole = sum > op->whole * op->whole ? op->whole / __builtin_sqrt(sum) : 1;
    return smallest * whole < SMALLEST || is_doubtful(sum, op->whole) ? 0 : whole;
}

/* The same where the squares are doubtful: one column after the other, then all of the weight. */
static void limit_columns(const fr_param *param, int64_t first, int64_t count, double limit) {
    for (int64_t j = first; limit > 0 && j < first + count; j++) {
        limit_exactly((real *)param->value.data + j, param->rows, param->value.ld, limit);
    }
}

static void limit_whole(const fr_param *param, double limit) {
    double most = 0, squares = 0;
    for (int64_t row = 0; row < param->rows; row++) {
        most = largest_of(most, address(&param->value, row, 0), param->columns, 1);
    }
    const int exponent = exponent_of(most);
    for (int64_t row = 0; row < param->rows; row++) {
        squares = add_squares(squares, address(&param->value, row, 0), param->columns, 1, power_of_two(-exponent));
    }
    const two_factors by = factors_to(limit, squares, exponent);
    for (int64_t row = 0; row < param->rows; row++) {
        scale_exactly(address(&param->value, row, 0), param->columns, 1, by);
    }
}

/* Scales columns whose norm is over the limit down to it, then all of the weight in the same way. */
static void op_max_norm(fr_worker *w) {
    const fr_max_norm_op *op = &w->op->max_norm;
    const fr_param *param = &op->param;
    const double whole = whole_factor(op);
    if (whole == 0) { /* all workers see the same */
        if (w->id != 0) return;
        limit_columns(param, 0, param->columns, op->limit);
        limit_whole(param, op->whole);
        return;
    }
    fr_tiles tiles_left = {.panels = panels_of(param->columns), .groups = 1, .weight = 1, .last = 1};
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int width = panel_vectors(param->columns, t * FR_PANEL) * VL;
        double squares[FR_PANEL], exact[FR_PANEL], smallest = 1;
        real factor[FR_PANEL];
        const int any = column_factors(squares, exact, param, t, op->limit, &smallest) || whole != 1;
        if (smallest < SMALLEST) { /* never with a limit for all of the weight, which has seen it */
            limit_columns(param, t * FR_PANEL, panel_columns(param->columns, t * FR_PANEL), op->limit);
            continue;
        }
        for (int j = 0; j < width; j++) factor[j] = (real)(exact[j] * whole);
        for (int64_t row = 0; any && row < param->rows; row++) {
            real *value = (real *)param->value.data + row * param->value.ld + t * FR_PANEL;
            for (int j = 0; j < width; j += VL) vstore(value + j, vload(value + j) * vload(factor + j));
        }
    }
}

#endif
