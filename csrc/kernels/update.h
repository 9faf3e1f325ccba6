/* How a parameter follows its gradient: penalties, optimizers, constraints.
 *
 *   g = gradient + l2 * w              (+ l1 * sign(w), where L1 is not proximal), cut to [-clip, clip]
 *   w = w * (1 - lr * weight_decay)    decoupled decay; scheduled: (1 - decay of the step * weight_decay)
 *   w = rule(w, g)                     the formula is above each rule
 *   w = sign(w) * max(|w| - threshold, 0)     proximal L1: the threshold is lr * l1, scaled like the rule's step.
 *                                      A velocity then becomes the step that was taken, (w_old - w) / lr.
 *   w = max(0, w)                      non-negative; a velocity is left as it is
 *
 *   gradient: w stays, slot 0 = g. raw: w stays, slot 0 = gradient, in later batches of a step added to what is there.
 *   add: w stays, slot 0 += gradient.
 *
 * dense_dw.h calls this on the tile it has just summed, op_update on a stored gradient: the same code, the same bits.
 *
 * A new rule is a function here, named rule_NAME, and a row in the table of fastreg.h. Numbers of it that change from step
 * to step go in numbers_of. program/rules.py says what it needs in Python.
 */
#ifndef FR_UPDATE_H
#define FR_UPDATE_H

#include "../worker.h"
#include "tiles.h"
#include "vec.h"

/* The numbers of a rule for one step. */
typedef struct {
    int kind, proximal, non_negative, penalized, opens, scaled;
    real scale, rescale, clip; /* scaled: by the first, and above 1 by both */
    real l1, l2, half_l2, subgradient, decay, lr, inverse_lr, threshold;
    real momentum, beta1, beta2, rest1, rest2, eps, step_size, gradient_step, root_fix;
} fr_numbers;

/* What a coefficient of a penalty is divided by. */
INLINE double divisor_of(int32_t per, const fr_batch *batch) {
    if (per == FR_PER_ONE) return 1;
    return per == FR_PER_WEIGHT && batch->step_weight[0] > 0 ? batch->step_weight[0] : (double)batch->step_rows;
}

INLINE fr_numbers numbers_of(const fr_rule *rule, const fr_batch *batch) {
    const double lr = batch->lr * rule->lr_scale;
    const fr_penalty *penalty = &rule->penalty;
    const double l1 = penalty->l1 / divisor_of(penalty->l1_per, batch);
    const double l2 = penalty->l2 / divisor_of(penalty->l2_per, batch);
    const int proximal = penalty->proximal, moving = lr > 0;
    fr_numbers n = {
        .kind = rule->kind,
        .proximal = proximal && l1 > 0 && moving,
        .non_negative = rule->non_negative,
        .penalized = l1 != 0 || l2 != 0,
        .opens = batch->opens,
        .clip = (real)rule->clip_value,
        .l1 = (real)l1,
        .l2 = (real)l2,
        .half_l2 = (real)(l2 / 2),
        .subgradient = proximal ? 0 : (real)l1,
        .decay = (real)(1 - (rule->scheduled ? batch->decay * rule->lr_scale : lr) * rule->weight_decay),
        .lr = (real)lr,
        .inverse_lr = (real)(moving ? 1 / lr : 0),
        .threshold = (real)(lr * l1 * (rule->kind == FR_RULE_NESTEROV ? 1 + rule->momentum : 1)),
        .momentum = (real)rule->momentum,
        .beta1 = (real)rule->beta1,
        .beta2 = (real)rule->beta2,
        .rest1 = (real)(1 - rule->beta1),
        .rest2 = (real)(1 - rule->beta2),
        .eps = (real)rule->eps,
    };
    if (rule->kind == FR_RULE_ADAM) {
        n.step_size = (real)(lr / (1 - batch->power[0]));
        n.root_fix = (real)(1 / __builtin_sqrt(1 - batch->power[1]));
    }
    if (rule->kind == FR_RULE_NADAM) {
        const double warm_up = batch->power[2], P = batch->power[0];
        const double mu = rule->beta1 * (1 - warm_up / 2), next = rule->beta1 * (1 - warm_up * rule->warm_up / 2);
        n.gradient_step = (real)(lr * (1 - mu) / (1 - P));
        n.step_size = (real)(lr * next / (1 - P * next));
        n.root_fix = (real)(1 / __builtin_sqrt(1 - batch->power[1]));
    }
    return n;
}

INLINE vec soft(vec w, vec threshold) {
    const vec zero = {0}, size = vabs(w) - threshold;
    return vkeep(size > zero, vcopysign(size, w));
}

enum { WIDE = 2 }; /* vectors of a row of a weight that are updated side by side */

/* A block of a parameter: `rows` rows of `count` elements (whole vectors; what follows the last column is zero and
 * stays zero). Sums over the columns go on from row to row within a row group. */
typedef struct {
    real *weight, *slot0, *slot1;
    int64_t ld, ld0, ld1;
    const real *gradient;
    int64_t ldg;
    real *penalty, *norms; /* NULL where they are not needed */
    int64_t rows, count;
} param_block;

/* Where a rule moves a vector of the weight. `threshold` is that of the proximal step. A velocity is stored after that
 * step, which corrects it, but all other state by the rule itself. */
typedef struct {
    vec weight, threshold;
    vec velocity;
    real *velocity_slot;
    int has_velocity;
} move;

/* w -= lr * g */
INLINE move rule_sgd(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    (void)slot0, (void)slot1;
    return (move){.weight = vfma(vset1(-n->lr), g, w), .threshold = vset1(n->threshold)};
}

/* v = momentum * v + g; w -= lr * v */
INLINE move rule_momentum(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    (void)slot1;
    const vec v = vfma(vset1(n->momentum), vload(slot0), g);
    const vec weight = vfma(vset1(-n->lr), v, w);
    return (move){weight, vset1(n->threshold), .velocity = v, .velocity_slot = slot0, .has_velocity = 1};
}

/* v = momentum * v + g; w -= lr * (g + momentum * v). At rest it steps by (1 + momentum) * g, which l1 must balance: the
 * threshold has the same factor. */
INLINE move rule_nesterov(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    move m = rule_momentum(w, g, slot0, slot1, n);
    m.weight = vfma(vset1(-n->lr), vfma(vset1(n->momentum), m.velocity, g), w);
    return m;
}

/* v = beta2 * v + (1 - beta2) * g^2 */
INLINE vec second_moment(real *slot, vec g, const fr_numbers *n) {
    const vec v = vfma(vset1(n->beta2), vload(slot), n->rest2 * g * g);
    vstore(slot, v);
    return v;
}

/* v = beta2 * v + (1 - beta2) * g^2; d = g / (sqrt(v) + eps); w -= lr * d */
INLINE move rule_rmsprop(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    const vec inverse = vset1(1) / (vsqrt(second_moment(slot0, g, n)) + vset1(n->eps));
    move m = rule_sgd(w, g * inverse, slot0, slot1, n);
    m.threshold *= inverse;
    return m;
}

/* v and d as there; m = momentum * m + d; w -= lr * m */
INLINE move rule_rmsprop_momentum(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    const vec inverse = vset1(1) / (vsqrt(second_moment(slot0, g, n)) + vset1(n->eps));
    move m = rule_momentum(w, g * inverse, slot1, NULL, n);
    m.threshold *= inverse;
    return m;
}

/* m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2; w -= lr * m^ / (sqrt(v^) + eps),
 * with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t) */
INLINE move rule_adam(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    const vec m = vfma(vset1(n->beta1), vload(slot0), n->rest1 * g), v = second_moment(slot1, g, n);
    const vec inverse = vset1(1) / vfma(vsqrt(v), vset1(n->root_fix), vset1(n->eps));
    vstore(slot0, m);
    return (move){.weight = vfma(-n->step_size * m, inverse, w), .threshold = vset1(n->threshold) * inverse};
}

/* m and v as there; w -= lr * (mu' * m / (1 - P * mu') + (1 - mu) * g / (1 - P)) / (sqrt(v^) + eps), with mu = mu_t, mu' the
 * next one, mu_t = beta1 * (1 - warm_up^t / 2), P = mu_1 ... mu_t */
INLINE move rule_nadam(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    const vec m = vfma(vset1(n->beta1), vload(slot0), n->rest1 * g), v = second_moment(slot1, g, n);
    const vec inverse = vset1(1) / vfma(vsqrt(v), vset1(n->root_fix), vset1(n->eps));
    vstore(slot0, m);
    const vec step = vfma(vset1(-n->gradient_step), g, -n->step_size * m);
    return (move){.weight = vfma(step, inverse, w), .threshold = vset1(n->threshold) * inverse};
}

/* w -= lr * sign(beta1 * m + (1 - beta1) * g), then m = beta2 * m + (1 - beta2) * g */
INLINE move rule_lion(vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    const vec m = vload(slot0), direction = sign_of(vfma(vset1(n->beta1), m, n->rest1 * g));
    vstore(slot0, vfma(vset1(n->beta2), m, n->rest2 * g));
    return rule_sgd(w, direction, slot0, slot1, n);
}

INLINE move move_by(const int kind, vec w, vec g, real *slot0, real *slot1, const fr_numbers *n) {
    switch (kind) {
#define CASE(KIND, NAME, ...)                                                                                          \
    case FR_##KIND: return rule_##NAME(w, g, slot0, slot1, n);
        FR_FOR_EACH_MOVE(CASE)
#undef CASE
    default: return (move){.weight = w};
    }
}

/* What follows a move, for every rule: stores the weight and its velocity, and returns the weight. */
INLINE vec finish(real *weight, move m, vec old, const fr_numbers *n, const int plain) {
    vec w = m.weight;
    if (!plain && n->proximal) {
        w = soft(w, m.threshold);
        m.velocity = (old - w) * n->inverse_lr;
    }
    if (m.has_velocity) vstore(m.velocity_slot, m.velocity);
    if (!plain && n->non_negative) w = vmax((vec){0}, w); /* this way round a NaN stays */
    vstore(weight, w);
    return w;
}

/* The gradient of loss and penalties. */
INLINE vec full_gradient(vec g, vec w, const fr_numbers *n, const int plain) {
    if (!plain && n->scaled) g *= n->scale;
    if (!plain && n->scaled > 1) g *= n->rescale;
    g = vfma(vset1(n->l2), w, g);
    if (!plain && n->subgradient != 0) g = vfma(vset1(n->subgradient), sign_of(w), g);
    if (!plain && n->clip != 0) g = vmin(vset1(n->clip), vmax(vset1(-n->clip), g)); /* this way round a NaN stays */
    return g;
}

/* Columns j .. of a block, `wide` vectors side by side, because the sums over the columns are chains.
 *
 * Everything the loops read is copied to locals first: to the compiler a store to the arrays might change *b and *n.
 * `plain` leaves out what few rules ask for. Where they do not, the result is the same to the bit. */
INLINE void update_columns(const param_block *block, const fr_numbers *numbers, int64_t j, const int kind,
                           const int plain, const int wide) {
    const param_block b = *block;
    const fr_numbers n = *numbers;
    const vec zero = {0}, half_l2 = vset1(n.half_l2), l1 = vset1(n.l1), decay = vset1(n.decay);
    const int penalized = b.penalty != NULL, with_l1 = !plain && n.l1 != 0;
    vec penalty[WIDE], squares[WIDE];
    UNROLL
    for (int i = 0; i < wide; i++) {
        penalty[i] = penalized ? vload(b.penalty + j + i * VL) : zero;
        squares[i] = !plain && b.norms ? vload(b.norms + j + i * VL) : zero;
    }
    real *weights = b.weight + j, *slots0 = b.slot0 + j, *slots1 = b.slot1 + j;
    const real *gradients = b.gradient + j;
    for (int64_t row = 0; row < b.rows; row++) {
        UNROLL
        for (int i = 0; i < wide; i++) {
            real *weight = weights + i * VL, *slot0 = slots0 + i * VL, *slot1 = slots1 + i * VL;
            const vec gradient = vload(gradients + i * VL);
            if (kind == FR_RULE_RAW || kind == FR_RULE_ADD) {
                vstore(slot0, kind == FR_RULE_RAW && n.opens ? gradient : gradient + vload(slot0));
                continue;
            }
            const vec w = vload(weight);
            if (penalized) {
                penalty[i] = vfma(half_l2 * w, w, penalty[i]);
                if (with_l1) penalty[i] = vfma(l1, vabs(w), penalty[i]);
            }
            const vec g = full_gradient(gradient, w, &n, plain);
            if (kind == FR_RULE_GRADIENT) {
                vstore(slot0, g);
                continue;
            }
            const vec old = plain ? w : w * decay;
            const vec new = finish(weight, move_by(kind, old, g, slot0, slot1, &n), old, &n, plain);
            if (!plain) squares[i] = vfma(new, new, squares[i]);
        }
        weights += b.ld, slots0 += b.ld0, slots1 += b.ld1, gradients += b.ldg;
    }
    UNROLL
    for (int i = 0; i < wide; i++) {
        if (penalized) vstore(b.penalty + j + i * VL, penalty[i]);
        if (!plain && b.norms) vstore(b.norms + j + i * VL, squares[i]);
    }
}

INLINE int is_plain(const param_block *b, const fr_numbers *n) {
    return !fr_stores_gradient(n->kind) && !b->norms && !n->scaled && !n->proximal && !n->non_negative && n->l1 == 0 &&
           n->clip == 0 && n->decay == 1;
}

static void update_block(const param_block *b, const fr_numbers *n) {
    int64_t j = 0;
    if (is_plain(b, n)) {
        switch (n->kind) {
#define CASE(KIND, ...)                                                                                                \
    case FR_##KIND:                                                                                                    \
        for (; j + WIDE * VL <= b->count; j += WIDE * VL) update_columns(b, n, j, FR_##KIND, 1, WIDE);                 \
        for (; j < b->count; j += VL) update_columns(b, n, j, FR_##KIND, 1, 1);                                        \
        return;
            FR_FOR_EACH_MOVE(CASE)
#undef CASE
        }
    }
    switch (n->kind) {
#define CASE(KIND, ...)                                                                                                \
    case FR_##KIND:                                                                                                    \
        for (; j < b->count; j += VL) update_columns(b, n, j, FR_##KIND, 0, 1);                                        \
        break;
        FR_FOR_EACH_RULE(CASE)
#undef CASE
    }
}

/* A part of a parameter: some rows of one row group; its columns in whole vectors. */
typedef struct {
    int64_t row, rows, column, columns;
} region;

/* The column sums of its row group, from 0 where the group begins. */
INLINE real *column_sums(void *sums, const fr_param *param, const region *r) {
    if (!sums) return NULL;
    real *sum = (real *)sums + r->row / FR_ROW_GROUP * param->value.ld + r->column;
    if (r->row % FR_ROW_GROUP == 0) memset(sum, 0, sizeof(real) * (size_t)r->columns);
    return sum;
}

INLINE real *address(const fr_matrix *m, int64_t row, int64_t column) {
    return m->data ? (real *)m->data + row * m->ld + column : NULL;
}

/* The penalty of a region's old value, then its update. */
static void update_region(const fr_param *param, const region *r, const real *gradient, int64_t ldg,
                          const fr_numbers *n) {
    const param_block b = {
        .weight = address(&param->value, r->row, r->column),
        .slot0 = address(&param->slot[0], r->row, r->column),
        .slot1 = address(&param->slot[1], r->row, r->column),
        .ld = param->value.ld,
        .ld0 = param->slot[0].ld,
        .ld1 = param->slot[1].ld,
        .gradient = gradient,
        .ldg = ldg,
        .penalty = n->penalized ? column_sums(param->penalty, param, r) : NULL,
        .norms = column_sums(param->norms, param, r),
        .rows = r->rows,
        .count = r->columns,
    };
    update_block(&b, n);
}

/* Tiles of a pass over a parameter: one row group by FR_UPDATE_COLUMNS columns. */
INLINE fr_tiles update_tiles(const fr_param *param) {
    return (fr_tiles){
        .panels = (param->columns + FR_UPDATE_COLUMNS - 1) / FR_UPDATE_COLUMNS,
        .groups = (param->rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP,
        .weight = 1,
        .last = 1,
        .dynamic = param->rows * param->columns > 1000 * 1000,
    };
}

/* What a tile covers. */
INLINE region update_tile(const fr_param *param, const fr_tiles *tiles, int64_t tile) {
    const int64_t whole = (param->columns + VL - 1) / VL * VL;
    const int64_t row = tile % tiles->groups * FR_ROW_GROUP, column = tile / tiles->groups * FR_UPDATE_COLUMNS;
    return (region){
        .row = row,
        .rows = param->rows - row < FR_ROW_GROUP ? param->rows - row : FR_ROW_GROUP,
        .column = column,
        .columns = whole - column < FR_UPDATE_COLUMNS ? whole - column : FR_UPDATE_COLUMNS,
    };
}

/* The second pass, on a stored gradient. */
static void op_update(fr_worker *w) {
    const fr_param *param = &w->op->update.param;
    fr_numbers numbers = numbers_of(&param->rule, &w->batch);
    numbers.scaled = w->op->update.scaled ? 1 + (w->clip[1] != 1) : 0;
    numbers.scale = (real)w->clip[0];
    numbers.rescale = (real)w->clip[1];
    fr_tiles tiles_left = update_tiles(param);
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const region tile = update_tile(param, &tiles_left, t);
        for (int64_t row = tile.row; row < tile.row + tile.rows; row++) {
            const region line = {row, 1, tile.column, tile.columns};
            update_region(param, &line, address(&w->op->update.gradient, row, tile.column), 0, &numbers);
        }
    }
}

/* gradient += factor * difference, for a row of vectors */
INLINE void pull(real *gradient, const real *difference, vec factor, int64_t columns) {
    for (int64_t j = 0; j < columns; j += VL)
        vstore(gradient + j, vfma(factor, vload(difference + j), vload(gradient + j)));
}

/* The penalty on the distance between two weights, and its gradients. */
static void op_couple(fr_worker *w) {
    const fr_couple_op *op = &w->op->couple;
    const fr_numbers n = numbers_of(&op->a.rule, &w->batch);
    fr_tiles tiles_left = update_tiles(&op->a);
    real difference[FR_PANEL];
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const region tile = update_tile(&op->a, &tiles_left, t);
        real *penalty = n.penalized ? column_sums(op->a.penalty, &op->a, &tile) : NULL;
        for (int64_t row = tile.row; row < tile.row + tile.rows; row++) {
            for (int64_t j = 0; j < tile.columns; j += FR_PANEL) {
                const int64_t column = tile.column + j, left = tile.columns - j,
                              columns = left < FR_PANEL ? left : FR_PANEL;
                const real *a = address(&op->a.value, row, column), *b = address(&op->b, row, column);
                for (int64_t i = 0; i < columns; i += VL) {
                    const vec d = vload(a + i) - vload(b + i);
                    vstore(difference + i, d);
                    if (penalty) vstore(penalty + j + i, vfma(vset1(n.half_l2) * d, d, vload(penalty + j + i)));
                }
                if (op->gradient_a.data) pull(address(&op->gradient_a, row, column), difference, vset1(n.l2), columns);
                if (op->gradient_b.data) pull(address(&op->gradient_b, row, column), difference, vset1(-n.l2), columns);
            }
        }
    }
}

#endif
