/* Penalties and optimizers: how a parameter follows its gradient.
 *
 *   g    = gradient + l2 * w                   (+ l1 * sign(w), where L1 is not proximal), cut to [-clip, clip]
 *   w    = w * (1 - lr * weight_decay)         decoupled decay
 *   SGD       w -= lr * g
 *   momentum  v = momentum * v + g;            w -= lr * v;  Nesterov: w -= lr * (g + momentum * v)
 *   RMSprop   v = beta2 * v + (1 - beta2) * g^2; d = g / (sqrt(v) + eps); w -= lr * d, or by way of m = momentum * m + d
 *   Adam      m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2
 *             w -= lr * m^ / (sqrt(v^) + eps), with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t)
 *   proximal L1: w = sign(w) * max(|w| - threshold, 0), threshold = lr * l1 (Adam: lr * l1 / (sqrt(v^) + eps);
 *   Nesterov: lr * l1 * (1 + momentum), because at rest it steps by (1 + momentum) g, and g and l1 must balance);
 *   with momentum the velocity then becomes the step that was taken, v = (w_old - w) / lr.
 *   non-negative: then w = max(0, w); a velocity is left as it is.
 *   gradient: w stays; slot 0 = g.  raw: slot 0 = gradient, added to what is there but in the first batch of a step.
 *
 * dense_dw.h calls this on the tile it has just summed, op_update on a stored gradient: the same code, the same bits.
 */
#ifndef FR_UPDATE_H
#define FR_UPDATE_H

#include "../worker.h"
#include "tiles.h"
#include "vec.h"

/* The numbers of a rule for one step. */
typedef struct {
    int kind, proximal, non_negative, penalized, opens, scaled;
    real scale, clip;
    real l1, l2, half_l2, subgradient, decay, lr, inverse_lr, threshold;
    real momentum, beta1, beta2, rest1, rest2, eps, step_size, root_fix;
} fr_numbers;

INLINE fr_numbers numbers_of(const fr_rule *rule, const fr_batch *batch) {
    const double lr = batch->lr * rule->lr_scale, M = (double)batch->step_rows;
    const double l1 = rule->l1_per_row ? rule->l1 / M : rule->l1, l2 = rule->l2_per_row ? rule->l2 / M : rule->l2;
    const int proximal = rule->proximal, moving = lr > 0;
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
        .decay = (real)(1 - lr * rule->weight_decay),
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
        n.step_size = (real)(lr / batch->bias_fix[0]);
        n.root_fix = (real)(1 / __builtin_sqrt(batch->bias_fix[1]));
    }
    return n;
}

INLINE vec soft(vec w, vec threshold) {
    const vec zero = {0}, size = vabs(w) - threshold;
    return vkeep(size > zero, vcopysign(size, w));
}

/* v = beta2 * v + (1 - beta2) * g^2 */
INLINE vec second_moment(real *slot, vec g, const fr_numbers *n) {
    const vec v = vfma(vset1(n->beta2), vload(slot), n->rest2 * g * g);
    vstore(slot, v);
    return v;
}

enum { WIDE = 2 }; /* vectors of a row of a weight that are updated side by side */

/* A block of a parameter: `rows` rows of `count` elements (whole vectors; what lies behind the last column is zero and
 * stays so). Sums over the columns go on from row to row within a row group. */
typedef struct {
    real *weight, *slot0, *slot1;
    int64_t ld, ld0, ld1;
    const real *gradient;
    int64_t ldg;
    real *penalty, *norms; /* NULL where nobody wants to know */
    int64_t rows, count;
} block;

/* Everything the loops read is copied to locals first: to the compiler a store to the arrays might change *b and *n.
 *
 * `wide` vectors of a row are done side by side, because the sums over the columns are chains. `plain` leaves out what
 * few rules ask for; the result is the same to the bit where they do not. */
INLINE void update_columns(const block *blocks, const fr_numbers *numbers, int64_t j, const int kind, const int plain,
                           const int wide) {
    const block b = *blocks;
    const fr_numbers n = *numbers;
    const vec l2 = vset1(n.l2), half_l2 = vset1(n.half_l2), l1 = vset1(n.l1), lr = vset1(-n.lr), decay = vset1(n.decay);
    const vec momentum = vset1(n.momentum), step = vset1(-n.step_size), root_fix = vset1(n.root_fix);
    const vec beta1 = vset1(n.beta1), rest1 = vset1(n.rest1), eps = vset1(n.eps), one = vset1(1);
    const vec zero = {0};
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
            vec g = vload(gradients + i * VL);
            if (kind == FR_RULE_RAW) {
                if (!n.opens) g += vload(slot0);
                vstore(slot0, g);
                continue;
            }
            const vec w = vload(weight);
            if (penalized) {
                penalty[i] = vfma(half_l2 * w, w, penalty[i]);
                if (with_l1) penalty[i] = vfma(l1, vabs(w), penalty[i]);
            }
            if (!plain && n.scaled) g *= n.scale;
            g = vfma(l2, w, g);
            if (!plain && n.subgradient != 0) g = vfma(vset1(n.subgradient), sign_of(w), g);
            if (!plain && n.clip != 0) { /* this way round a NaN stays */
                g = vmin(vset1(n.clip), vmax(vset1(-n.clip), g));
            }
            const vec old = plain ? w : w * decay;
            vec new, threshold = vset1(n.threshold);
            switch (kind) {
            case FR_RULE_GRADIENT: vstore(slot0, g); continue;
            case FR_RULE_ADAM: {
                const vec m = vfma(beta1, vload(slot0), rest1 * g);
                const vec v = second_moment(slot1, g, &n);
                const vec inverse = one / vfma(vsqrt(v), root_fix, eps);
                vstore(slot0, m);
                new = vfma(step * m, inverse, old);
                if (!plain && n.proximal) new = soft(new, threshold * inverse);
                break;
            }
            default: {
                real *velocity = kind == FR_RULE_RMSPROP_MOMENTUM ? slot1 : slot0;
                if (kind == FR_RULE_RMSPROP || kind == FR_RULE_RMSPROP_MOMENTUM) {
                    const vec inverse = one / (vsqrt(second_moment(slot0, g, &n)) + eps);
                    g *= inverse;
                    threshold *= inverse;
                }
                const int moves = kind != FR_RULE_SGD && kind != FR_RULE_RMSPROP; /* has a velocity */
                vec v = moves ? vfma(momentum, vload(velocity), g) : g;
                new = vfma(lr, kind == FR_RULE_NESTEROV ? vfma(momentum, v, g) : v, old);
                if (!plain && n.proximal) {
                    new = soft(new, threshold);
                    v = (old - new) * n.inverse_lr;
                }
                if (moves) vstore(velocity, v);
            }
            }
            if (!plain && n.non_negative) new = vmax(zero, new); /* this way round a NaN stays */
            vstore(weight, new);
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

INLINE int is_plain(const block *b, const fr_numbers *n) {
    return n->kind != FR_RULE_GRADIENT && n->kind != FR_RULE_RAW && !b->norms && !n->scaled && !n->proximal &&
           !n->non_negative && n->l1 == 0 && n->clip == 0 && n->decay == 1;
}

static void update_block(const block *b, const fr_numbers *n) {
    int64_t j = 0;
    if (is_plain(b, n)) {
        switch (n->kind) {
#define CASE(KIND)                                                                                                     \
    case KIND:                                                                                                         \
        for (; j + WIDE * VL <= b->count; j += WIDE * VL) update_columns(b, n, j, KIND, 1, WIDE);                      \
        for (; j < b->count; j += VL) update_columns(b, n, j, KIND, 1, 1);                                             \
        return;
            CASE(FR_RULE_SGD)
            CASE(FR_RULE_MOMENTUM)
            CASE(FR_RULE_NESTEROV)
            CASE(FR_RULE_RMSPROP)
            CASE(FR_RULE_RMSPROP_MOMENTUM)
            CASE(FR_RULE_ADAM)
#undef CASE
        }
    }
    switch (n->kind) {
#define CASE(KIND)                                                                                                     \
    case KIND:                                                                                                         \
        for (; j < b->count; j += VL) update_columns(b, n, j, KIND, 0, 1);                                             \
        break;
        CASE(FR_RULE_GRADIENT)
        CASE(FR_RULE_RAW)
        CASE(FR_RULE_SGD)
        CASE(FR_RULE_MOMENTUM)
        CASE(FR_RULE_NESTEROV)
        CASE(FR_RULE_RMSPROP)
        CASE(FR_RULE_RMSPROP_MOMENTUM)
        CASE(FR_RULE_ADAM)
#undef CASE
    }
}

/* The column sums of a row group, from 0 where the group begins. */
INLINE real *column_sums(void *sums, const fr_param *param, int64_t row, int64_t column, int64_t count) {
    if (!sums) return NULL;
    real *sum = (real *)sums + row / FR_ROW_GROUP * param->value.ld + column;
    if (row % FR_ROW_GROUP == 0) memset(sum, 0, sizeof(real) * (size_t)count);
    return sum;
}

INLINE real *address(const fr_matrix *m, int64_t row, int64_t column) {
    return m->data ? (real *)m->data + row * m->ld + column : NULL;
}

/* Rows row .. row + rows - 1 (of one row group) and `count` columns of a parameter: the penalty of the old value, then
 * the update. */
static void update_piece(const fr_param *param, int64_t row, int64_t rows, int64_t column, int64_t count,
                         const real *gradient, int64_t ldg, const fr_numbers *n) {
    const block b = {
        .weight = address(&param->value, row, column),
        .slot0 = address(&param->slot[0], row, column),
        .slot1 = address(&param->slot[1], row, column),
        .ld = param->value.ld,
        .ld0 = param->slot[0].ld,
        .ld1 = param->slot[1].ld,
        .gradient = gradient,
        .ldg = ldg,
        .penalty = n->penalized ? column_sums(param->penalty, param, row, column, count) : NULL,
        .norms = column_sums(param->norms, param, row, column, count),
        .rows = rows,
        .count = count,
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

/* What a tile covers: rows [*begin, *end), `count` columns (whole vectors) from *column on. */
INLINE int64_t update_tile(const fr_param *param, const fr_tiles *tiles_left, int64_t t, int64_t *column,
                           int64_t *begin, int64_t *end) {
    const int64_t whole = (param->columns + VL - 1) / VL * VL;
    *column = t / tiles_left->groups * FR_UPDATE_COLUMNS;
    *begin = t % tiles_left->groups * FR_ROW_GROUP;
    *end = *begin + FR_ROW_GROUP < param->rows ? *begin + FR_ROW_GROUP : param->rows;
    return whole - *column < FR_UPDATE_COLUMNS ? whole - *column : FR_UPDATE_COLUMNS;
}

/* The second pass, on a stored gradient. */
static void op_update(fr_worker *w) {
    const fr_param *param = &w->op->weight;
    fr_numbers numbers = numbers_of(&param->rule, &w->batch);
    numbers.scaled = w->op->scaled;
    numbers.scale = (real)*w->clip;
    fr_tiles tiles_left = update_tiles(param);
    int64_t t, column, begin, end;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t count = update_tile(param, &tiles_left, t, &column, &begin, &end);
        for (int64_t row = begin; row < end; row++) {
            update_piece(param, row, 1, column, count, address(&w->op->x, row, column), 0, &numbers);
        }
    }
}

#endif
