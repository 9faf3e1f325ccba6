/* Losses from logits, with the gradient at the last layer's z in the same pass; totals; predictions.
 *
 * With w_i the sample weight of row i and l_i its loss (mean over outputs for the sigmoid cross-entropy and the squared
 * error), the batch loss of a head is sum(w_i l_i) / sum(w_i). The gradient is that of the sum over the heads of their
 * weights times their losses. A head whose weights in a step are all 0 has no part in it.
 *
 *   softmax cross-entropy  l = log(sum_j exp(z_j - max)) - (z_y - max),        dl/dz_j = softmax(z)_j - [j = y]
 *     of shares t_j        l = sum_j t_j log(sum exp) - sum_j t_j (z_j - max),  dl/dz_j = softmax(z)_j sum(t) - t_j
 *   sigmoid cross-entropy  l = mean_j max(z, 0) - z t + log1p(exp(-|z|)),       dl/dz_j = (sigmoid(z) - t) / N
 *     with q = positive_j  l = mean_j -q t log(p) - (1 - t) log(1 - p),         p = sigmoid(z)
 *   mse                    l = mean_j (y - t)^2,                                dl/dy_j = 2 (y - t) / N
 *   mae, huber, ...        term_of() has their formulas
 *   softmax focal          l = -sum_j alpha_j t_j (1 - p_j)^gamma log(p_j),     p = softmax(z); see focal_row()
 *   categorical hinge      l = max(0, 1 + max_{j != y} z_j - z_y)^power
 *   given                  a preceding call op has computed l and dl/dy
 *
 * Label smoothing e (Szegedy et al., 2016) takes (1 - e) [j = y] + e / N in place of [j = y] or t_j, and
 * (1 - e) t + e / 2 in place of the t of a sigmoid; the smoothed labels are never stored.
 *
 * With weights of the outputs the mean over them is sum_j weight_j l_j / N. Where targets may be missing, sum and N are
 * those of the targets that are there; a row without any has loss and gradient 0. Units multiply the value of each l_j
 * alone, not its gradient.
 *
 * The gradient of a row is computed without weights, then multiplied by the head's weight times the row's share,
 * w_i / sum(w), so that a loss written in
 * Python by the same formula gives the same bits.
 *
 * Sums over a row run over the lanes of lanes.h.
 */
#ifndef FR_LOSS_H
#define FR_LOSS_H

#include <math.h>

#include "activation.h"
#include "bf16.h"
#include "gather.h"
#include "hand_over.h"
#include "lanes.h"
#include "rows.h"

INLINE real scalar_log(real x) { return vlog(vset1(x))[0]; }

/* p = exp(z - max), padding 0; returns the sum */
static real softmax_terms(real *p, const real *z, int64_t N, real *max) {
    lanes top = lanes_set(-INFINITY), sum = lanes_set(0);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const vec zj = vselect(lanes_below(j, N, i), vload(z + j + i * VL), vset1(-INFINITY));
            top.v[i] = vmax(top.v[i], zj);
        }
    }
    *max = lanes_max(&top);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const vec e = vexp(vload(z + j + i * VL) - vset1(*max));
            const vec pj = vkeep(lanes_below(j, N, i), e);
            vstore(p + j + i * VL, pj);
            sum.v[i] += pj;
        }
    }
    return lanes_sum(&sum);
}

INLINE int64_t first_largest(const real *z, int64_t N) {
    int64_t best = 0;
    for (int64_t j = 1; j < N; j++) best = z[j] > z[best] ? j : best;
    return best;
}

/* row loss and, in g, its gradient; *hit: share of correct predictions */
static real softmax_row(real *g, const real *z, int64_t label, int64_t N, real smoothing, real *hit) {
    real max;
    const real sum = softmax_terms(g, z, N, &max);
    for (int64_t j = 0; j < N; j += VL) vstore(g + j, vload(g + j) / sum);
    *hit = first_largest(z, N) == label;
    const real logit = z[label] - max, loss = scalar_log(sum) - logit;
    g[label] -= 1 - smoothing;
    if (smoothing == 0) return loss;
    const vec share = vset1(smoothing / (real)N);
    lanes logits = lanes_set(0);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const ivec valid = lanes_below(j, N, i);
            logits.v[i] += vkeep(valid, vload(z + j + i * VL) - vset1(max));
            vstore(g + j + i * VL, vload(g + j + i * VL) - vkeep(valid, share));
        }
    }
    return loss + smoothing * (logit - lanes_sum(&logits) / (real)N);
}

/* The same for targets that are the shares of the classes. What stands for the label is the class of the largest share. */
static real shares_row(real *g, const real *z, const real *t, int64_t N, real smoothing, real *hit) {
    real max;
    const real sum = softmax_terms(g, z, N, &max);
    const vec kept = vset1(1 - smoothing), share = vset1(smoothing / (real)N);
    lanes whole = lanes_set(0), logits = lanes_set(0);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const ivec valid = lanes_below(j, N, i);
            const vec tj = vkeep(valid, vfma(vload(t + j + i * VL), kept, share));
            whole.v[i] += tj;
            logits.v[i] += vkeep(valid, tj * (vload(z + j + i * VL) - vset1(max)));
        }
    }
    const real shares = lanes_sum(&whole);
    for (int64_t j = 0; j < N; j += VL) {
        const vec tj = vfma(vload(t + j), kept, share);
        vstore(g + j, vkeep(lanes_below(j, N, 0), vload(g + j) / sum * shares - tj));
    }
    *hit = first_largest(z, N) == first_largest(t, N);
    return shares * scalar_log(sum) - lanes_sum(&logits);
}

/* A row without a target. */
static real no_target(real *g, int64_t N) {
    for (int64_t j = 0; j < N; j += VL) vstore(g + j, (vec){0});
    return 0;
}

static real sigmoid_row(real *g, const real *z, const real *t, int64_t N, real smoothing, real *hit) {
    const vec zero = {0}, half = vset1((real)0.5), outputs = vset1((real)N);
    const vec kept = vset1(1 - smoothing), share = vset1(smoothing / 2);
    lanes sum = lanes_set(0), right = lanes_set(0);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const ivec valid = lanes_below(j, N, i);
            const vec zj = vkeep(valid, vload(z + j + i * VL)), label = vkeep(valid, vload(t + j + i * VL));
            const vec tj = vfma(label, kept, share);
            const vec l = (vmax(zj, zero) - zj * tj) + vlog1p(vexp(-vabs(zj)));
            const ivec agree = ~((zj > zero) ^ (label > half));
            sum.v[i] += vkeep(valid, l);
            right.v[i] += vkeep(valid & agree, vset1(1));
            vstore(g + j + i * VL, vkeep(valid, (vsigmoid(zj) - tj) / outputs));
        }
    }
    *hit = lanes_sum(&right) / (real)N;
    return lanes_sum(&sum) / (real)N;
}

INLINE real mse_row(real *g, const real *y, const real *t, int64_t N) {
    const vec factor = vset1(2 / (real)N);
    lanes sum = lanes_set(0);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const vec d = vkeep(lanes_below(j, N, i), vload(y + j + i * VL) - vload(t + j + i * VL));
            sum.v[i] += d * d;
            vstore(g + j + i * VL, d * factor);
        }
    }
    return lanes_sum(&sum) / (real)N;
}

/* What one output adds to the loss of a row, before the mean over the outputs. The slope of mse lacks its factor of 2. */
typedef struct {
    vec value, slope;
} term;

/* What a "no" costs at z; a "yes" costs the same at -z. Focal: p^gamma softplus(z), where p^gamma = exp(-gamma
 * softplus(-z)) keeps small p exact. */
INLINE term focal_no(vec z, vec gamma) {
    const vec zero = {0}, rest = vlog1p(vexp(-vabs(z)));
    const vec cost = vmax(z, zero) + rest, power = vexp(-gamma * (vmax(-z, zero) + rest));
    return (term){power * cost, power * vfma(gamma * vsigmoid(-z), cost, vsigmoid(z))};
}

INLINE term hinge_no(vec z, int squared) {
    const vec one = vset1(1), over = vmax((vec){0}, z + one);
    if (squared) return (term){over * over, over + over};
    return (term){over, vkeep(over > (vec){0}, one)};
}

/* Whether an output says yes or no, so that it can be right. */
INLINE int says_yes(int kind) {
    return kind == FR_SIGMOID_CROSS_ENTROPY || kind == FR_SIGMOID_FOCAL || kind == FR_HINGE;
}

/* The outputs y + j, with the targets `label`. */
INLINE term term_of(const fr_loss_op *op, int64_t j, vec y, vec label) {
    const vec zero = {0}, one = vset1(1), half = vset1((real)0.5), shape = vset1((real)op->shape);
    const vec d = y - label;
    switch (op->kind) {
    case FR_SIGMOID_CROSS_ENTROPY: {
        const real smoothing = (real)op->smoothing;
        const vec t = vfma(label, vset1(1 - smoothing), vset1(smoothing / 2)), rest = vlog1p(vexp(-vabs(y)));
        if (!op->positive.data) return (term){(vmax(y, zero) - y * t) + rest, vsigmoid(y) - t};
        const vec yes = t * vload((const real *)op->positive.data + j), no = one - t;
        const vec value = yes * (vmax(-y, zero) + rest) + no * (vmax(y, zero) + rest);
        return (term){value, (yes + no) * vsigmoid(y) - yes};
    }
    case FR_MSE: return (term){d * d, d};
    case FR_MAE: return (term){vabs(d), sign_of(d)};
    case FR_HUBER: { /* d^2 / 2 up to delta, delta (|d| - delta / 2) beyond */
        const vec near = vmin(vmax(d, -shape), shape);
        return (term){near * (d - half * near), near};
    }
    case FR_LOG_COSH: { /* log(cosh(d)) = |d| + log((1 + exp(-2 |d|)) / 2) */
        const vec size = vabs(d);
        return (term){size + vlog1p(half * vm_expm1_neg(-(size + size))), vtanh(d)};
    }
    case FR_QUANTILE: { /* q (t - y) above y, (1 - q) (y - t) below */
        const vec above = vkeep(d < zero, shape), below = vkeep(d > zero, one - shape);
        return (term){vmax(-d * shape, d * (one - shape)), below - above};
    }
    case FR_POISSON: {
        const vec mean = vexp(y);
        return (term){mean - label * y, mean - label};
    }
    case FR_SIGMOID_FOCAL: /* -q t (1 - p)^gamma log(p) - (1 - t) p^gamma log(1 - p) */
    case FR_HINGE: {       /* q t max(0, 1 - z)^power + (1 - t) max(0, 1 + z)^power */
        const real smoothing = (real)op->smoothing;
        const vec t = vfma(label, vset1(1 - smoothing), vset1(smoothing / 2)), no = one - t;
        const vec yes = op->positive.data ? t * vload((const real *)op->positive.data + j) : t;
        const int focal = op->kind == FR_SIGMOID_FOCAL;
        const term of_yes = focal ? focal_no(-y, shape) : hinge_no(-y, op->shape == 2);
        const term of_no = focal ? focal_no(y, shape) : hinge_no(y, op->shape == 2);
        return (term){yes * of_yes.value + no * of_no.value, no * of_no.slope - yes * of_yes.slope};
    }
    default: return (term){vset1((real)NAN), zero};
    }
}

/* Any loss that is a mean over outputs, with all that can ride on it. Alone, the two above do the same in less time. */
static real terms_row(const fr_loss_op *op, real *g, const real *y, const real *t, real *hit) {
    const int64_t N = op->N;
    real there = (real)N;
    if (op->holes) {
        lanes found = lanes_set(0);
        for (int64_t j = 0; j < N; j += LANES) {
            for (int i = 0; i < LANE_VECS; i++) {
                const vec tj = vload(t + j + i * VL);
                found.v[i] += vkeep(lanes_below(j, N, i) & (tj == tj), vset1(1));
            }
        }
        there = lanes_sum(&found);
        if (there == 0) return no_target(g, N);
    }
    const vec factor = vset1(2 / there), outputs = vset1(there);
    lanes sum = lanes_set(0), right = lanes_set(0);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const int64_t at = j + i * VL;
            ivec valid = lanes_below(j, N, i);
            if (op->holes) valid &= vload(t + at) == vload(t + at);
            const vec yj = vkeep(valid, vload(y + at)), label = vkeep(valid, vload(t + at));
            term of = term_of(op, at, yj, label);
            if (op->weights.data) {
                const vec weight = vload((const real *)op->weights.data + at);
                of.value *= weight, of.slope *= weight;
            }
            if (op->units.data) of.value *= vload((const real *)op->units.data + at);
            sum.v[i] += vkeep(valid, of.value);
            vstore(g + at, vkeep(valid, op->kind == FR_MSE ? of.slope * factor : of.slope / outputs));
            const ivec agree = ~((yj > (vec){0}) ^ (label > vset1((real)0.5)));
            right.v[i] += vkeep(valid & agree, vset1(1));
        }
    }
    *hit = says_yes(op->kind) ? lanes_sum(&right) / there : 0;
    return lanes_sum(&sum) / there;
}

/* The gradient of a row is always computed, in the scratch, so that evaluation and training share one path. */
INLINE real *row_scratch(const fr_worker *w) { return (real *)w->scratch; }
INLINE size_t row_scratch_bytes(int64_t N) { return (size_t)(N + FR_PANEL) * sizeof(real); }

/* After the gradient there is room for the shares of the classes. */
INLINE real *shares_scratch(const fr_worker *w, int64_t N) { return row_scratch(w) + panels_of(N) * FR_PANEL; }
INLINE size_t loss_scratch_bytes(int64_t N) { return 3 * row_scratch_bytes(N); } /* and those of another row */

/* The focal loss of a row (Lin et al., 2017), whose target is the row of shares t; t is overwritten. With the slope
 * s_j = alpha_j t_j (1 - p_j)^gamma (gamma p_j log(p_j) / (1 - p_j) - 1) in log(p_j), dl/dz_j = s_j - p_j sum(s). */
static real focal_row(const fr_loss_op *op, real *g, const real *z, real *t, real *hit) {
    const int64_t N = op->N;
    const vec zero = {0}, one = vset1(1), gamma = vset1((real)op->shape);
    const vec kept = vset1(1 - (real)op->smoothing), share = vset1((real)op->smoothing / (real)N);
    real max;
    const real sum = softmax_terms(g, z, N, &max);
    const vec log_sum = vset1(scalar_log(sum));
    lanes cost = lanes_set(0), slopes = lanes_set(0);
    *hit = first_largest(z, N) == first_largest(t, N);
    for (int64_t j = 0; j < N; j += LANES) {
        for (int i = 0; i < LANE_VECS; i++) {
            const int64_t at = j + i * VL;
            const ivec valid = lanes_below(j, N, i);
            vec tj = vfma(vload(t + at), kept, share);
            if (op->weights.data) tj *= vload((const real *)op->weights.data + at);
            const vec p = vload(g + at) / sum, log_p = vmin(zero, vload(z + at) - vset1(max) - log_sum);
            const vec rest = vmax(zero, one - p);
            const ivec some = rest > zero;
            vec power = vkeep(some, vexp(gamma * vlog(vselect(some, rest, one))));
            if (op->shape == 0) power = one;
            const vec ratio = vselect(some, p * log_p / vselect(some, rest, one), -one);
            const vec slope = vkeep(valid, tj * power * (gamma * ratio - one));
            cost.v[i] -= vkeep(valid, tj * power * log_p);
            slopes.v[i] += slope;
            vstore(g + at, p);
            vstore(t + at, slope);
        }
    }
    const vec whole = vset1(lanes_sum(&slopes));
    for (int64_t j = 0; j < N; j += VL) vstore(g + j, vload(t + j) - vload(g + j) * whole);
    return lanes_sum(&cost);
}

/* The hinge loss of several classes (Crammer and Singer, 2001): the label must win by 1. */
static real categorical_hinge_row(const fr_loss_op *op, real *g, const real *z, int64_t label, real *hit) {
    const int64_t N = op->N;
    no_target(g, N);
    int64_t other = label == 0;
    for (int64_t j = other + 1; j < N; j++) other = j != label && z[j] > z[other] ? j : other;
    real bad = 0; /* NaN if an output is not finite, which must end the run even where it is not compared */
    for (int64_t j = 0; j < N; j++) bad += z[j] - z[j];
    *hit = first_largest(z, N) == label;
    if (other >= N) return bad;
    const real over = 1 + z[other] - z[label];
    const int squared = op->shape == 2;
    if (over <= 0) return bad;
    g[other] = squared ? 2 * over : 1;
    g[label] = -g[other];
    return (squared ? over * over : over) + bad;
}

/* The target of a row as shares of the classes. */
static void read_shares(real *t, const fr_head *head, int64_t index, int64_t N) {
    if (head->labels) {
        no_target(t, N);
        const int64_t label = head->labels[index];
        if (label >= 0 && label < N) t[label] = 1;
        return;
    }
    read_row(t, &head->shares, index);
    for (int64_t j = 0; j < N; j += VL) vstore(t + j, vnormal_or_zero(vload(t + j)));
}

/* The loss under the mixed targets of two rows. For the cross-entropy it is the mixed loss under either of them. */
static real mixed_loss(fr_worker *w, const fr_loss_op *op, real *g, const real *z, const int64_t index[2],
                       const fr_mixture *mixture, real *hit) {
    const int64_t N = op->N;
    real *t = shares_scratch(w, N), *other = t + panels_of(N) * FR_PANEL;
    read_shares(t, &w->feed->head[op->head], index[0], N);
    read_shares(other, &w->feed->head[op->head], index[1], N);
    mix_row(t, other, mixture, N);
    if (op->kind == FR_SOFTMAX_FOCAL) return focal_row(op, g, z, t, hit);
    return shares_row(g, z, t, N, (real)op->smoothing, hit);
}

/* A loss of classes of a row, whose target is a label, or a row of shares. */
static real classes_loss(fr_worker *w, const fr_loss_op *op, real *g, const real *z, int64_t index, real *hit) {
    const int64_t N = op->N;
    const real smoothing = (real)op->smoothing;
    const fr_head *head = &w->feed->head[op->head];
    real *t = shares_scratch(w, N);
    if (head->labels) {
        const int64_t label = head->labels[index];
        if (label < 0) return no_target(g, N);
        if (label >= N) return (void)no_target(g, N), (real)NAN; /* a callback has changed it: the run diverges */
        if (op->kind == FR_CATEGORICAL_HINGE) return categorical_hinge_row(op, g, z, label, hit);
        if (op->kind == FR_SOFTMAX_CROSS_ENTROPY) return softmax_row(g, z, label, N, smoothing, hit);
        no_target(t, N);
        t[label] = 1;
        return focal_row(op, g, z, t, hit);
    }
    read_row(t, &head->shares, index);
    for (int64_t j = 0; j < N; j += VL) vstore(t + j, vnormal_or_zero(vload(t + j)));
    if (op->holes && t[0] != t[0]) return no_target(g, N);
    if (op->kind == FR_SOFTMAX_FOCAL) return focal_row(op, g, z, t, hit);
    return shares_row(g, z, t, N, smoothing, hit);
}

static void op_loss(fr_worker *w) {
    const fr_loss_op *op = &w->op->loss;
    const fr_through *through = &op->through;
    const int alone = !op->weights.data && !op->positive.data && !op->units.data && !op->holes;
    const int plain = through->activation == FR_LINEAR && through->activity_l1 == 0 && !masked_as(&through->mask);
    const int64_t N = op->N;
    const real smoothing = (real)op->smoothing;
    const void *weights = w->feed->head[op->head].weights;
    const double sum = w->batch.step_weight[op->head];
    const fr_mixture mixture = fr_draw_mixture(&op->mix, w->feed->seed, w->batch.step, w->batch.count);
    const int given = gives(w, &op->dz, w->batch.rows);
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const int64_t index = index_of_row(w, row);
        const real weight = weight_of_row(w, weights, row);
        const vec share = vset1((real)(op->head_weight * (op->by_row ? 1 : sum > 0 ? (double)weight / sum : 0)));
        const real *y = (const real *)through->y.data + row * through->y.ld;
        const real *t = (const real *)op->targets.data + row * op->targets.ld; /* not touched by the softmax */
        real *g = row_scratch(w);
        real loss, hit = 0;
        switch (op->kind) {
        case FR_SOFTMAX_CROSS_ENTROPY:
        case FR_SOFTMAX_FOCAL:
        case FR_CATEGORICAL_HINGE:
            if (mixture.shift) {
                const int64_t pair[2] = {index, index_of_row(w, mixed_with(w, &mixture, row))};
                loss = mixed_loss(w, op, g, y, pair, &mixture, &hit);
            } else {
                loss = classes_loss(w, op, g, y, index, &hit);
            }
            break;
        case FR_SIGMOID_CROSS_ENTROPY:
            loss = alone ? sigmoid_row(g, y, t, N, smoothing, &hit) : terms_row(op, g, y, t, &hit);
            break;
        case FR_MSE: loss = alone ? mse_row(g, y, t, N) : terms_row(op, g, y, t, &hit); break;
        case FR_MAE:
        case FR_HUBER:
        case FR_LOG_COSH:
        case FR_QUANTILE:
        case FR_POISSON:
        case FR_SIGMOID_FOCAL:
        case FR_HINGE: loss = terms_row(op, g, y, t, &hit); break;
        case FR_GIVEN: loss = ((real *)op->row_loss)[row], g = (real *)t; break;
        default: loss = (real)NAN; break; /* never reached; a forgotten loss would end training as diverged */
        }
        ((real *)op->row_loss)[row] = weight * loss;
        ((real *)op->row_hit)[row] = weight * hit;
        if (!op->dz.data) continue;
        real *dz = (real *)op->dz.data + row * op->dz.ld;
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            const int vectors = vectors_of(part.columns);
            for (int j = 0; j < vectors * VL; j += VL) vstore(dz + column + j, vload(g + column + j) * share);
            if (!plain) backward_row(dz + column, dz + column, through, &part);
            also_rounded(&op->rounded, dz + column, row, column, vectors);
            if (given) give(dz + column, part.columns);
        }
    }
}

/* sum of n values: blocks of FR_SUM_BLOCK in order, in double */
static double sum_blocks(const real *x, int64_t n) {
    double total = 0;
    for (int64_t first = 0; first < n; first += FR_SUM_BLOCK) {
        const int64_t last = first + FR_SUM_BLOCK < n ? first + FR_SUM_BLOCK : n;
        double sum = 0;
        for (int64_t i = first; i < last; i++) sum += (double)x[i];
        total += sum;
    }
    return total;
}

/* The activity penalty of the batch: sum over the layers of activity_l1 * sum_i w_i sum_j |y_ij| / sum(w). */
static double activity_penalty(const fr_worker *w) {
    double total = 0;
    for (int i = 0; i < w->program->n_ops; i++) {
        if (w->program->ops[i].kind != FR_DENSE) continue;
        const fr_dense_op *op = &w->program->ops[i].dense;
        if (!op->activity.data) continue;
        const int64_t panels = panels_of(op->N);
        double layer = 0;
        for (int64_t row = 0; row < w->batch.rows; row++) {
            double sum = 0;
            for (int64_t t = 0; t < panels; t++) {
                sum += (double)((const real *)op->activity.data)[row * op->activity.ld + t];
            }
            layer += (double)weight_of_row(w, activity_weights(w), row) * sum;
        }
        total += op->activity_l1 * layer;
    }
    return total / activity_weight(w);
}

static void op_totals(fr_worker *w) {
    if (w->id != 0) return;
    const fr_totals_op *op = &w->op->totals;
    fr_total *total = &w->tally->head[op->head];
    const double loss = sum_blocks(op->row_loss, w->batch.rows);
    total->loss += loss;
    total->hits += sum_blocks(op->row_hit, w->batch.rows);
    total->weight += w->batch.weight[op->head];
    if (op->activity) w->tally->penalty += activity_penalty(w);
    if (!(loss - loss == 0)) w->tally->code = FR_DIVERGED;
}

static void op_emit(fr_worker *w) {
    const fr_emit_op *op = &w->op->emit;
    const int64_t N = op->N;
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *z = (const real *)op->x.data + row * op->x.ld;
        real *p = row_scratch(w), max;
        if (op->softmax) {
            const real sum = softmax_terms(p, z, N, &max);
            for (int64_t j = 0; j < N; j += VL) vstore(p + j, vload(p + j) / sum);
        } else if (op->exponential) {
            for (int64_t j = 0; j < N; j += VL) vstore(p + j, vexp(vload(z + j)));
        } else {
            for (int64_t j = 0; j < N; j += VL) vstore(p + j, activate(vload(z + j), op->activation));
        }
        memcpy((real *)w->feed->head[op->head].out + (w->batch.first + row) * N, p, sizeof(real) * (size_t)N);
    }
}

#endif
