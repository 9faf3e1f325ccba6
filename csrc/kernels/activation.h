/* Activations, their derivatives and dropout, on the panel of a row while it is in the first-level cache.
 * The formulas of the activations are in vmath.h.
 *
 * forward_row:  y = dropout(activation(z));  backward_row: dz = dy * mask * scale * activation'.
 * Each is written once for a constant activation and reached by a switch.
 */
#ifndef FR_ACTIVATION_H
#define FR_ACTIVATION_H

#include "../worker.h"
#include "noise.h"
#include "philox.h"
#include "vmath.h"

/* How a mask is carried out. */
enum { UNMASKED, DROPPED, GAUSSIAN };

INLINE int masked_as(const fr_mask *mask) {
    return mask->std > 0 ? GAUSSIAN : mask->threshold < 65536 || mask->scale != 1 ? DROPPED : UNMASKED;
}

/* The row of the draws for a row, by their coordinates. */
INLINE uint32_t group_of(const fr_mask *mask, uint32_t line) { return mask->group ? line / mask->group : line; }

/* A part of a row of the batch: of a panel, unless it is said to be all. */
typedef struct {
    const fr_worker *w;
    int64_t row, column, columns; /* column is a multiple of 16 */
    uint32_t line;                /* the row's coordinate in the random draws */
} row_part;

INLINE row_part part_of_row(const fr_worker *w, int64_t row, int64_t column, int64_t columns) {
    return (row_part){w, row, column, columns, w->batch.line + (uint32_t)row};
}

/* The draws of a mask for such a part. */
typedef struct {
    const fr_mask *mask;
    uint16_t bits[FR_PANEL];
    real factor[FR_PANEL]; /* 1 + std * n */
} mask_draws;

/* a = activation(z) */
INLINE vec activate(vec z, const int activation) {
    switch (activation) {
#define CASE(KIND, NAME, ...)                                                                                          \
    case FR_##KIND: return v##NAME(z);
        FR_FOR_EACH_ACTIVATION(CASE)
#undef CASE
    default: return z;
    }
}

/* activation'(z) of z where the activation needs that, else of a */
INLINE vec derivative(vec x, const int activation) {
    switch (activation) {
#define CASE(KIND, NAME, ...)                                                                                          \
    case FR_##KIND: return v##NAME##_grad(x);
        FR_FOR_EACH_ACTIVATION(CASE)
#undef CASE
    default: return vset1(1);
    }
}

/* The columns of the table of activations, a bit for each of these. */
#define NEEDS_Z(KIND, NAME, NEEDS_Z, SHOWS_MASK) | (NEEDS_Z) << FR_##KIND
#define SHOWS_MASK(KIND, NAME, NEEDS_Z, SHOWS_MASK) | (SHOWS_MASK) << FR_##KIND
enum { NEED_Z = 0 FR_FOR_EACH_ACTIVATION(NEEDS_Z), SHOW_MASK = 0 FR_FOR_EACH_ACTIVATION(SHOWS_MASK) };
#undef NEEDS_Z
#undef SHOWS_MASK

INLINE int needs_z(const int activation) { return NEED_Z >> activation & 1; }
INLINE int mask_shows(const int activation) { return SHOW_MASK >> activation & 1; }

INLINE void forward_body(real *y, const real *z, int vectors, const mask_draws *draws, const int activation,
                         const int masked) {
    const uint32_t threshold = draws->mask->threshold;
    const vec scale = vset1((real)draws->mask->scale);
    for (int j = 0; j < vectors * VL; j += VL) {
        vec a = activate(vload(z + j), activation);
        if (masked == DROPPED) a = vkeep_below(draws->bits + j, threshold, a * scale);
        if (masked == GAUSSIAN) a *= vload(draws->factor + j);
        vstore(y + j, a);
    }
}

INLINE void backward_body(real *dz, const real *dy, const real *y, const real *z, int vectors, const mask_draws *draws,
                          const int activation, const int masked) {
    const fr_mask *mask = draws->mask;
    const uint32_t threshold = mask->threshold;
    const vec scale = vset1((real)mask->scale), unscale = vset1((real)(mask->scale > 0 ? 1 / mask->scale : 0));
    const vec zero = {0};
    for (int j = 0; j < vectors * VL; j += VL) {
        vec a = vload(y + j), d = vload(dy + j);
        if (masked == DROPPED) a *= unscale, d *= scale;
        if (masked == GAUSSIAN) { /* where the factor is 0 nothing comes back, whatever the derivative */
            const vec factor = vload(draws->factor + j);
            a = vkeep(factor != zero, a / factor), d *= factor;
        }
        if (activation != FR_LINEAR) d *= derivative(needs_z(activation) ? vload(z + j) : a, activation);
        if (masked == DROPPED && !mask_shows(activation)) d = vkeep_below(draws->bits + j, threshold, d);
        vstore(dz + j, d);
    }
}

static void draw_mask(mask_draws *draws, const row_part *part) {
    const fr_mask *mask = draws->mask;
    const draw_place place = {
        .keys = &part->w->keys,
        .column = (uint32_t)part->column,
        .row = group_of(mask, part->line),
        .step = part->w->batch.step,
        .stream = mask->stream,
    };
    if (mask->std > 0) {
        const vec std = vset1((real)mask->std), one = vset1(1);
        const int vectors = vectors_of(part->columns);
        normal_draws(draws->factor, &place, vectors);
        for (int j = 0; j < vectors * VL; j += VL) vstore(draws->factor + j, vfma(std, vload(draws->factor + j), one));
    } else if (mask->threshold < 65536) {
        philox_draws(draws->bits, &place);
    } else {
        memset(draws->bits, 0, sizeof draws->bits); /* all below the threshold */
    }
}

#define FOR_EACH_MASK(CASE, ACTIVATION)                                                                                \
    switch (masked) {                                                                                                  \
    case DROPPED: CASE(ACTIVATION, DROPPED); break;                                                                    \
    case GAUSSIAN: CASE(ACTIVATION, GAUSSIAN); break;                                                                  \
    default: CASE(ACTIVATION, UNMASKED);                                                                               \
    }

/* y and z may be the same memory. (Inline: for small layers the call alone is a tenth of the op.) */
INLINE void forward_row_inline(real *y, const real *z, int activation, const fr_mask *mask, const row_part *part) {
    const int vectors = vectors_of(part->columns), masked = masked_as(mask);
    mask_draws draws;
    draws.mask = mask;
    if (masked) draw_mask(&draws, part);
    switch (activation) {
#define BODY(A, MASKED) forward_body(y, z, vectors, &draws, A, MASKED)
#define CASE(KIND, ...)                                                                                                \
    case FR_##KIND: FOR_EACH_MASK(BODY, FR_##KIND) break;
        FR_FOR_EACH_ACTIVATION(CASE)
#undef CASE
#undef BODY
    }
}

static void forward_row(real *y, const real *z, int activation, const fr_mask *mask, const row_part *part) {
    forward_row_inline(y, z, activation, mask, part);
}

/* y = x + std * draws in a part of a row, or in all of it. Where `late` is not NULL, some may be left to it. */
static void noise_row(real *y, const real *x, const fr_noise *noise, const row_part *part, late_draws *late) {
    const vec std = vset1((real)noise->std);
    const draw_place place = {
        .keys = &part->w->keys,
        .column = (uint32_t)part->column,
        .row = part->line,
        .step = part->w->batch.step,
        .stream = noise->stream,
    };
    late_draws own;
    own.count = 0;
    add_normals(y, x, std, part->columns, &place, late ? late : &own);
    if (own.count) finish_late(&own, std);
}

/* The row of the data that a row of the batch is, or is a perturbed copy of. */
INLINE int64_t index_of_row(const fr_worker *w, int64_t row) {
    const int64_t position = w->batch.first + (row < w->batch.count ? row : row - w->batch.count);
    return fr_index_at(w->feed, position);
}

/* The weight of a row in the loss, from the sample weights; NULL: all are 1. A row and its perturbed copy share one. */
INLINE real weight_of_row(const fr_worker *w, const void *weights, int64_t row) {
    const double weight = weights ? (double)((const real *)weights)[index_of_row(w, row)] : 1;
    return (real)((row < w->batch.count ? w->program->clean : 1 - w->program->clean) * weight);
}

/* The weights of the rows in an activity penalty, and their sum over the step. They are those of the head. Of several
 * heads it belongs to none, and all rows count alike. */
INLINE const void *activity_weights(const fr_worker *w) {
    return w->feed->n_heads == 1 ? w->feed->head[0].weights : NULL;
}
INLINE double activity_weight(const fr_worker *w) {
    return w->feed->n_heads == 1 ? w->batch.step_weight[0] : (double)w->batch.step_rows;
}

/* out = dy + activity_l1 * w_i / sum(w) * sign(y): the pull of the activity penalty on a part of row i. After its columns
 * y may be anything, but a gradient is 0. */
static void pull_row(real *out, const real *dy, const real *y, double activity_l1, const row_part *part) {
    const fr_worker *w = part->w;
    const int end = vectors_of(part->columns) * VL;
    const double weight = (double)weight_of_row(w, activity_weights(w), part->row);
    const vec pull = vset1((real)(activity_l1 * weight / activity_weight(w)));
    for (int j = 0; j < end; j += VL) vstore(out + j, vfma(pull, sign_of(vload(y + j)), vload(dy + j)));
    for (int64_t j = part->columns; j < end; j++) out[j] = 0;
}

static void backward_row(real *dz, const real *dy, const fr_through *through, const row_part *part) {
    const fr_mask *mask = &through->mask;
    const int vectors = vectors_of(part->columns), masked = masked_as(mask);
    mask_draws draws;
    draws.mask = mask;
    const real *y = (const real *)through->y.data + part->row * through->y.ld + part->column;
    if (through->activity_l1 != 0) {
        pull_row(dz, dy, y, through->activity_l1, part);
        dy = dz;
    }
    const real *z = through->z.data ? (const real *)through->z.data + part->row * through->z.ld + part->column : y;
    if (masked == GAUSSIAN || (masked && !mask_shows(through->activation))) draw_mask(&draws, part);
    switch (through->activation) {
#define BODY(A, MASKED) backward_body(dz, dy, y, z, vectors, &draws, A, MASKED)
#define CASE(KIND, ...)                                                                                                \
    case FR_##KIND: FOR_EACH_MASK(BODY, FR_##KIND) break;
        FR_FOR_EACH_ACTIVATION(CASE)
#undef CASE
#undef BODY
    }
}

/* What an op on the way back adds to the gradient in a part of a row, or is all of it: out = or += through'(dy). */
INLINE void pass_back(real *out, const real *dy, const fr_through *through, int add, const row_part *part) {
    if (!add) {
        backward_row(out, dy, through, part);
        return;
    }
    real own[FR_PANEL];
    backward_row(own, dy, through, part);
    for (int j = 0; j < vectors_of(part->columns) * VL; j += VL) vstore(out + j, vload(out + j) + vload(own + j));
}

#endif
