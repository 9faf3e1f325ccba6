/* Penalties and optimizers: how a parameter follows its gradient.
 *
 *   g    = gradient + l2 * w                   (+ l1 * sign(w), where L1 is not proximal)
 *   w    = w * (1 - lr * weight_decay)         decoupled decay
 *   SGD       w -= lr * g
 *   momentum  v = momentum * v + g;            w -= lr * v;  Nesterov: w -= lr * (g + momentum * v)
 *   Adam      m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2
 *             w -= lr * m^ / (sqrt(v^) + eps), with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t)
 *   proximal L1: w = sign(w) * max(|w| - threshold, 0), threshold = lr * l1 (Adam: lr * l1 / (sqrt(v^) + eps);
 *   Nesterov: lr * l1 * (1 + momentum), because at rest it steps by (1 + momentum) g, and g and l1 must balance);
 *   with momentum the velocity then becomes the step that was taken, v = (w_old - w) / lr.
 *   gradient: w stays; slot 0 = g, L1 through its sign.
 *
 * dense_dw calls this on the tile it has just summed; op_update on a stored gradient: the same code, the same bits.
 */
#ifndef FR_UPDATE_H
#define FR_UPDATE_H

#include "dense.h"

/* The numbers of a rule for one step. */
typedef struct {
    int kind, proximal, penalized;
    real l1, l2, half_l2, subgradient, decay, lr, inverse_lr, threshold;
    real momentum, beta1, beta2, rest1, rest2, eps, step_size, root_fix;
} fr_numbers;

INLINE fr_numbers numbers_of(const fr_rule *rule, const fr_batch *batch) {
    const double lr = batch->lr * rule->lr_scale, M = (double)batch->rows;
    const double l1 = rule->l1_per_row ? rule->l1 / M : rule->l1, l2 = rule->l2_per_row ? rule->l2 / M : rule->l2;
    const int proximal = rule->proximal && rule->kind != FR_RULE_GRADIENT;
    const int moving = lr > 0;
    fr_numbers n = {
        .kind = rule->kind,
        .proximal = proximal && l1 > 0 && moving,
        .penalized = l1 != 0 || l2 != 0,
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

INLINE vec sign_of(vec w) {
    const vec zero = {0};
    return vselect(w > zero, vset1(1), vkeep(w < zero, vset1(-1)));
}

INLINE void update_body(real *weight, real *slot0, real *slot1, const real *gradient, int64_t count,
                        const fr_numbers *n, const int kind) {
    for (int64_t j = 0; j < count; j += VL) {
        const vec w = vload(weight + j);
        vec g = vfma(vset1(n->l2), w, vload(gradient + j));
        if (n->subgradient != 0) g = vfma(vset1(n->subgradient), sign_of(w), g);
        if (kind == FR_RULE_GRADIENT) {
            vstore(slot0 + j, g);
            continue;
        }
        const vec old = w * n->decay;
        vec new, threshold = vset1(n->threshold);
        if (kind == FR_RULE_ADAM) {
            const vec m = vfma(vset1(n->beta1), vload(slot0 + j), n->rest1 * g);
            const vec v = vfma(vset1(n->beta2), vload(slot1 + j), n->rest2 * g * g);
            const vec inverse = vset1(1) / vfma(vsqrt(v), vset1(n->root_fix), vset1(n->eps));
            vstore(slot0 + j, m);
            vstore(slot1 + j, v);
            new = vfma(-n->step_size * m, inverse, old);
            threshold *= inverse;
        } else if (kind == FR_RULE_SGD) {
            new = vfma(vset1(-n->lr), g, old);
        } else {
            vec v = vfma(vset1(n->momentum), vload(slot0 + j), g);
            const vec direction = kind == FR_RULE_NESTEROV ? vfma(vset1(n->momentum), v, g) : v;
            new = vfma(vset1(-n->lr), direction, old);
            if (n->proximal) {
                new = soft(new, threshold);
                v = (old - new) * n->inverse_lr;
            }
            vstore(slot0 + j, v);
            vstore(weight + j, new);
            continue;
        }
        if (n->proximal) new = soft(new, threshold);
        vstore(weight + j, new);
    }
}

/* count elements in a row, a multiple of VL (what lies behind the last column is zero and stays so) */
static void update_row(real *weight, real *slot0, real *slot1, const real *gradient, int64_t count,
                       const fr_numbers *n) {
    switch (n->kind) {
#define CASE(KIND)                                                                                                     \
    case KIND: update_body(weight, slot0, slot1, gradient, count, n, KIND); break;
        CASE(FR_RULE_GRADIENT)
        CASE(FR_RULE_SGD)
        CASE(FR_RULE_MOMENTUM)
        CASE(FR_RULE_NESTEROV)
        CASE(FR_RULE_ADAM)
#undef CASE
    }
}

/* Adds the penalty of a row to the column sums of its row group. */
INLINE void penalize_row(real *penalty, const real *weight, int64_t count, const fr_numbers *n) {
    for (int64_t j = 0; j < count; j += VL) {
        const vec w = vload(weight + j);
        const vec l1 = vset1(n->l1) * vabs(w);
        vstore(penalty + j, vload(penalty + j) + vfma(vset1(n->half_l2) * w, w, l1));
    }
}

/* One panel's piece of a row of a parameter: penalty of the old value, then the update. */
INLINE void update_piece(const fr_param *param, int64_t row, int64_t column, int64_t count, const real *gradient,
                         const fr_numbers *n) {
    const int64_t group = row / FR_ROW_GROUP;
    real *value = (real *)param->value.data + row * param->value.ld + column;
    real *slot[FR_SLOTS];
    for (int i = 0; i < FR_SLOTS; i++) {
        slot[i] = param->slot[i].data ? (real *)param->slot[i].data + row * param->slot[i].ld + column : NULL;
    }
    if (param->penalty && n->penalized) {
        real *penalty = (real *)param->penalty + group * param->value.ld + column;
        if (row % FR_ROW_GROUP == 0) memset(penalty, 0, sizeof(real) * (size_t)count);
        penalize_row(penalty, value, count, n);
    }
    update_row(value, slot[0], slot[1], gradient, count, n);
}

/* Asks for the lines that the update of a tile will touch, while its sums are still running. */
INLINE void prefetch_tile(const fr_param *param, int64_t row, int64_t rows, int64_t column, int vectors) {
    const int line = 64 / (int)sizeof(real);
    for (int64_t i = row; i < row + rows; i++) {
        for (int j = 0; j < vectors * VL; j += line) {
            __builtin_prefetch((real *)param->value.data + i * param->value.ld + column + j, 1);
            for (int s = 0; s < FR_SLOTS; s++) {
                if (param->slot[s].data) {
                    __builtin_prefetch((real *)param->slot[s].data + i * param->slot[s].ld + column + j, 1);
                }
            }
        }
    }
}

/* db = the sums of the columns of dz: blocks of FR_SUM_BLOCK rows, then the blocks in order. */
static void bias_gradient(real *db, const real *dz, int64_t ld, int64_t M, int vectors) {
    for (int j = 0; j < vectors * VL; j += VL) {
        vec total = {0};
        for (int64_t first = 0; first < M; first += FR_SUM_BLOCK) {
            const int64_t last = first + FR_SUM_BLOCK < M ? first + FR_SUM_BLOCK : M;
            vec sum = {0};
            for (int64_t i = first; i < last; i++) sum += vload(dz + i * ld + j);
            total += sum;
        }
        vstore(db + j, total);
    }
}

static void op_dense_dw(fr_worker *w) {
    const fr_op *op = w->op;
    const int64_t M = w->batch.rows, K = op->K, N = op->N, groups = (K + FR_ROW_GROUP - 1) / FR_ROW_GROUP;
    const fr_numbers weight_numbers = numbers_of(&op->weight.rule, &w->batch);
    const fr_numbers bias_numbers = numbers_of(&op->bias.rule, &w->batch);
    const int64_t panels = panels_of(N);
    real *c = scratch_c(w);
    int64_t t;
    fr_tiles tiles_left = {
        .panels = panels,
        .groups = groups,
        .weight = FR_PANEL / VL,
        .last = vectors_of(N, panels - 1),
        .dynamic = is_long(2 * M * N * K, w->n),
    };
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t panel = t / groups, group = t % groups, column = panel * FR_PANEL;
        const int vectors = vectors_of(N, panel);
        const real *dz = (const real *)op->z.data + column;
        const int64_t begin = group * FR_ROW_GROUP, end = begin + FR_ROW_GROUP < K ? begin + FR_ROW_GROUP : K;
        const product p = {op->x.data, A_COLUMNS, op->x.ld, dz, op->z.ld, M};
        const int64_t strips = row_blocks(end - begin);
        if (group == 0 && op->bias.value.data) {
            bias_gradient(c, dz, op->z.ld, M, vectors);
            update_piece(&op->bias, 0, column, vectors * VL, c, &bias_numbers);
        }
        for (int64_t s = 0; s < strips; s++) {
            const int64_t first = begin + (end - begin) * s / strips, last = begin + (end - begin) * (s + 1) / strips;
            prefetch_tile(&op->weight, first, last - first, column, vectors);
            multiply(c, scratch_spare(w), &p, first, last - first, vectors);
            for (int64_t row = first; row < last; row++) {
                update_piece(&op->weight, row, column, vectors * VL, c + (row - first) * FR_PANEL, &weight_numbers);
            }
        }
    }
}

/* The second pass, on a stored gradient: tiles of one row group by UPDATE_COLUMNS columns. */
static void op_update(fr_worker *w) {
    enum { UPDATE_COLUMNS = 4096 };
    const fr_param *param = &w->op->weight;
    const fr_numbers numbers = numbers_of(&param->rule, &w->batch);
    const int64_t whole = (param->columns + VL - 1) / VL * VL;
    fr_tiles tiles_left = {
        .panels = (whole + UPDATE_COLUMNS - 1) / UPDATE_COLUMNS,
        .groups = (param->rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP,
        .weight = 1,
        .last = 1,
        .dynamic = param->rows * param->columns > 1000 * 1000,
    };
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t column = t / tiles_left.groups * UPDATE_COLUMNS, begin = t % tiles_left.groups * FR_ROW_GROUP;
        const int64_t end = begin + FR_ROW_GROUP < param->rows ? begin + FR_ROW_GROUP : param->rows;
        const int64_t count = whole - column < UPDATE_COLUMNS ? whole - column : UPDATE_COLUMNS;
        for (int64_t row = begin; row < end; row++) {
            update_piece(param, row, column, count, (const real *)w->op->x.data + row * w->op->x.ld + column, &numbers);
        }
    }
}

#endif
