/* Normalization: of the columns of a batch (batch_norm), of every row (layer_norm).
 *
 *   y = dropout(activation(z)), z = (x - mean) * scale + shift, scale = gamma * rstd, rstd = 1 / sqrt(variance + eps)
 *   dx = scale * (dz - sum(dz) / n - xhat * sum(dz * xhat) / n), xhat = (x - mean) * rstd, sums over the n values that
 *        share a mean; dgamma = sum(dz * xhat), dbeta = sum(dz)
 *
 * A mean has two parts, the real next to it and what is left, so xhat = (x - mean) * rstd + rest, rest = -left * rstd. The
 * sum of the distances to a first mean gives both parts, and corrects the sum of their squares (Chan, Golub and LeVeque,
 * Algorithms for computing the sample variance, 1983). Without it the error of a mean far from 0 is an error of z, and
 * where gradients cancel it is much of what is left of them.
 *
 * batch_norm, batch_norm_dx   all of that for columns that are channels of their own. What is summed down a panel of columns
 *         is needed only in that panel, so one worker does it from end to end while it is in the cache: moments, running
 *         moments, activation and dropout; or both sums, dx on through the layer below, and the updates of gamma and beta.
 *         More can't be fused: the product before it gives tiles that lack rows of the batch, and the one after it takes
 *         whole rows.
 * moments, norm_scale, affine   the same in three ops, for images, whose channels are strewn over a row: the moments of the
 *         columns, then those of the channels, then the rows. Back: norm_sums, scale_dw, affine_dx. norm_scale alone,
 *         from the running moments, serves predictions: a dense or an affine follows.
 * layer_norm, layer_norm_dx   a row has an owner that does all of it. layer_norm_dw: gamma and beta, whose sums go down
 *         the columns, so it can't ride on the former.
 *
 * Sums down a column run over blocks of SHORT_BLOCK rows, then over the blocks in order, and what rounding takes from a
 * sum of blocks comes back at the end: sums of dz and of dz * xhat may all but cancel. Those over the pixels of a channel
 * likewise. Sums along a row run over the lanes of lanes.h, in blocks of ROW_BLOCK columns. So their order depends on
 * nothing but their length.
 *
 * Numbers of the columns are rows of a table, one of FR_TABLE_... each. Those of the channels are repeated in it until
 * `period` columns are full, a multiple of the channels and of the lanes, or the whole row.
 */
#ifndef FR_NORMALIZE_H
#define FR_NORMALIZE_H

#include "activation.h"
#include "lanes.h"
#include "tiles.h"
#include "update.h"

enum { ROW_BLOCK = 1024, SHORT_BLOCK = 4, FAR_COLUMNS = 2048 / sizeof(real) };

INLINE real *table_row(const fr_norm_op *op, int row) { return (real *)op->table.data + row * op->table.ld; }

/* Tiles of columns: panels, or narrower ones where there are too few for all workers. Where x comes from far, what only
 * reads it takes wider ones, so that each row has some length to stream. A result does not depend on them. */
typedef struct {
    fr_tiles tiles;
    int64_t columns, width;
} column_slices;

INLINE column_slices slices_of(const fr_worker *w, int64_t columns, int64_t rows, int only_read) {
    int64_t width = only_read && rows * columns > 256 * 1024 ? FAR_COLUMNS : FR_PANEL;
    while (width > LANES && columns < 2 * width * w->n) width /= 2;
    const int64_t count = (columns + width - 1) / width;
    return (column_slices){
        .tiles = {.panels = count, .groups = 1, .weight = 1, .last = 1, .dynamic = rows * columns > 1000 * 1000},
        .columns = columns,
        .width = width,
    };
}

/* The next columns of this worker, 0 for none. */
INLINE int64_t next_columns(fr_worker *w, column_slices *all, int64_t *column) {
    const int64_t t = fr_next_tile(w, &all->tiles);
    if (t < 0) return 0;
    *column = t * all->width;
    return all->columns - *column < all->width ? all->columns - *column : all->width;
}

/* total + left: the sum of all parts. What rounding takes from the total is left (Knuth, The Art of Computer Programming 2,
 * 4.2.2). */
INLINE void add_part(vec *total, vec *left, vec part) {
    const vec sum = *total + part, added = sum - *total;
    *left += (*total - (sum - added)) + (part - added);
    *total = sum;
}

/* What is summed down the columns, of x or of g and x; mean, rstd and rest are those of the columns, or, where by_row,
 * triples for the rows. */
enum { OF_VALUES, OF_DISTANCES, OF_GRADIENTS };
typedef struct {
    const real *x, *g;
    int64_t ldx, ldg, rows;
    const real *mean, *rstd, *rest;
    const real *by_row;
    int64_t ld_by_row;
} summands;

/* The sums over the rows from `first` to `last`, of `wide` vectors of columns. OF_VALUES: sum x. OF_DISTANCES: sum (x - mean)
 * and, as the dot, sum (x - mean)^2. OF_GRADIENTS: sum g, and sum g * xhat. */
INLINE void sum_block(vec *sum, vec *dot, const summands *s, int64_t first, int64_t last, int64_t j, const int kind,
                      const int wide) {
    vec mean[4], rstd[4], rest[4];
    UNROLL
    for (int k = 0; k < wide; k++) {
        sum[k] = dot[k] = (vec){0};
        if (kind != OF_VALUES && !s->by_row) mean[k] = vload(s->mean + j + k * VL);
        if (kind == OF_GRADIENTS && !s->by_row) {
            rstd[k] = vload(s->rstd + j + k * VL);
            rest[k] = vload(s->rest + j + k * VL);
        }
    }
    for (int64_t i = first; i < last; i++) {
        const real *own = s->by_row ? s->by_row + i * s->ld_by_row : NULL;
        UNROLL
        for (int k = 0; k < wide; k++) {
            vec v = vload(s->x + i * s->ldx + j + k * VL);
            if (kind == OF_VALUES) sum[k] += v;
            if (kind == OF_DISTANCES) v -= mean[k], sum[k] += v, dot[k] = vfma(v, v, dot[k]);
            if (kind == OF_GRADIENTS) {
                const vec g = vload(s->g + i * s->ldg + j + k * VL);
                v = own ? vfma(v - vset1(own[0]), vset1(own[1]), vset1(own[2])) : vfma(v - mean[k], rstd[k], rest[k]);
                sum[k] += g;
                dot[k] = vfma(g, v, dot[k]);
            }
        }
    }
}

/* The sums a and, but for OF_VALUES, b. */
INLINE void sum_vectors(real *a, real *b, const summands *summed, int64_t j, const int kind, const int wide) {
    const summands s = *summed;
    vec total[4], left[4], dots[4], left_dots[4];
    UNROLL
    for (int k = 0; k < wide; k++) total[k] = left[k] = dots[k] = left_dots[k] = (vec){0};
    for (int64_t first = 0; first < s.rows; first += SHORT_BLOCK) {
        vec sum[4], dot[4];
        sum_block(sum, dot, &s, first, first + SHORT_BLOCK < s.rows ? first + SHORT_BLOCK : s.rows, j, kind, wide);
        UNROLL
        for (int k = 0; k < wide; k++) {
            add_part(&total[k], &left[k], sum[k]);
            if (kind != OF_VALUES) add_part(&dots[k], &left_dots[k], dot[k]);
        }
    }
    UNROLL
    for (int k = 0; k < wide; k++) {
        vstore(a + j + k * VL, total[k] + left[k]);
        if (kind != OF_VALUES) vstore(b + j + k * VL, dots[k] + left_dots[k]);
    }
}

/* total += part, in memory. */
INLINE void add_part_to(real *total, real *left, vec part) {
    vec sum = vload(total), rounded = vload(left);
    add_part(&sum, &rounded, part);
    vstore(total, sum);
    vstore(left, rounded);
}

/* The same sums of a wider slice, block by block along the rows, with the totals in the nearest cache. */
INLINE void sum_far(real *a, real *b, const summands *s, int end, const int kind) {
    real left[FAR_COLUMNS] = {0}, left_dots[FAR_COLUMNS] = {0};
    memset(a, 0, sizeof(real) * (size_t)end);
    if (kind != OF_VALUES) memset(b, 0, sizeof(real) * (size_t)end);
    for (int64_t first = 0; first < s->rows; first += SHORT_BLOCK) {
        const int64_t last = first + SHORT_BLOCK < s->rows ? first + SHORT_BLOCK : s->rows;
        for (int j = 0; j < end; j += VL) {
            vec sum, dot;
            sum_block(&sum, &dot, s, first, last, j, kind, 1);
            add_part_to(a + j, left + j, sum);
            if (kind != OF_VALUES) add_part_to(b + j, left_dots + j, dot);
        }
    }
    for (int j = 0; j < end; j += VL) {
        vstore(a + j, vload(a + j) + vload(left + j));
        if (kind != OF_VALUES) vstore(b + j, vload(b + j) + vload(left_dots + j));
    }
}

/* The sums of a panel, or of a slice that `may_be_far`. x, g, mean and rstd point to its first column. What is behind its
 * last column becomes 0. */
INLINE void sum_columns(real *a, real *b, const summands *s, int64_t columns, const int kind, const int may_be_far) {
    const int end = vectors_of(columns) * VL;
    int j = 0;
    if (may_be_far && end > FR_PANEL) {
        sum_far(a, b, s, end, kind);
        j = end;
    } else if (kind != OF_VALUES) {
        for (; j + 2 * VL <= end; j += 2 * VL) sum_vectors(a, b, s, j, kind, 2);
    } else {
        for (; j + 4 * VL <= end; j += 4 * VL) sum_vectors(a, b, s, j, kind, 4);
    }
    for (; j < end; j += VL) sum_vectors(a, b, s, j, kind, 1);
    clear_tail(a, columns);
    if (b) clear_tail(b, columns);
}

INLINE const real *at_column(const fr_matrix *m, int64_t column) { return (const real *)m->data + column; }

/* A first mean becomes the mean and what is left of it, by the sum of the distances of the values to it; the sum of the
 * squares of these becomes that around the mean. */
INLINE void correct_moments(real *mean, real *left, real *squares, const real *distances, vec count, int j) {
    const vec first = vload(mean + j), distance = vload(distances + j), off = distance / count, corrected = first + off;
    vstore(mean + j, corrected);
    vstore(left + j, off - (corrected - first));
    vstore(squares + j, vmax((vec){0}, vfma(-off, distance, vload(squares + j))));
}

/* The means of a panel of columns of x, what is left of them, and the sums of squares around them. */
INLINE void panel_moments(real *mean, real *left, real *squares, const fr_norm_op *op, int64_t column, int64_t columns,
                          int64_t M, const int may_be_far) {
    const summands s = {.x = at_column(&op->x, column), .ldx = op->x.ld, .rows = M, .mean = mean};
    const vec count = vset1((real)M);
    real distances[FAR_COLUMNS];
    sum_columns(mean, NULL, &s, columns, OF_VALUES, may_be_far);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) vstore(mean + j, vload(mean + j) / count);
    sum_columns(distances, squares, &s, columns, OF_DISTANCES, may_be_far);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) correct_moments(mean, left, squares, distances, count, j);
}

/* The numbers of some channels: gamma, beta and the moments as they are, and what they make of a value. */
typedef struct {
    real mean[FR_PANEL], left[FR_PANEL], variance[FR_PANEL];
    real rstd[FR_PANEL], rest[FR_PANEL], scale[FR_PANEL], shift[FR_PANEL];
} channel_numbers;

/* The variances of `n` values, whose squares around their mean were summed there. */
static void divide_squares(channel_numbers *c, int64_t columns, int64_t n) {
    const vec count = vset1((real)n);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) vstore(c->variance + j, vload(c->variance + j) / count);
}

/* The running moments move towards those of the batch: by (1 - momentum) r + momentum b, with b the unbiased variance. */
static void move_moments(const fr_norm_op *op, const channel_numbers *c, int64_t channel, int64_t columns, int64_t n) {
    const vec momentum = vset1((real)op->momentum), rest = vset1((real)(1 - op->momentum));
    const vec unbiased = vset1((real)((double)n / (double)(n > 1 ? n - 1 : 1)));
    real *mean = (real *)op->mean.data + channel, *variance = (real *)op->variance.data + channel;
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        vstore(mean + j, vfma(rest, vload(mean + j), momentum * vload(c->mean + j)));
        vstore(variance + j, vfma(rest, vload(variance + j), momentum * (vload(c->variance + j) * unbiased)));
    }
}

static void use_running_moments(channel_numbers *c, const fr_norm_op *op, int64_t channel, int64_t columns) {
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        vstore(c->mean + j, vload(at_column(&op->mean, channel) + j));
        vstore(c->left + j, (vec){0});
        vstore(c->variance + j, vload(at_column(&op->variance, channel) + j));
    }
}

/* rstd, rest, scale and shift of channels whose moments are known. The bias of a dense op, into which they are folded,
 * comes with the shift, and so does the mean. */
static void find_scale(channel_numbers *c, const fr_norm_op *op, int64_t channel, int64_t columns) {
    const vec eps = vset1((real)op->eps), one = vset1(1), zero = {0};
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        const vec rstd = one / vsqrt(vload(c->variance + j) + eps);
        const vec scale = op->gamma.value.data ? vload(at_column(&op->gamma.value, channel) + j) * rstd : rstd;
        vec shift = op->beta.value.data ? vload(at_column(&op->beta.value, channel) + j) : zero;
        shift = vfma(-vload(c->left + j), scale, shift);
        if (op->folded) {
            const vec bias = op->bias.data ? vload(at_column(&op->bias, channel) + j) : zero;
            shift = vfma(bias - vload(c->mean + j), scale, shift);
        }
        vstore(c->rstd + j, rstd);
        vstore(c->rest + j, -vload(c->left + j) * rstd);
        vstore(c->scale + j, scale);
        vstore(c->shift + j, shift);
    }
    clear_tail(c->rstd, columns);
    clear_tail(c->rest, columns);
    clear_tail(c->scale, columns);
    clear_tail(c->shift, columns);
}

/* Numbers of some channels go to a row of the table, once for every pixel of a period. */
static void repeat_in_table(const fr_norm_op *op, int row, const real *numbers, int64_t channel, int64_t columns) {
    for (int64_t start = 0; start < op->period; start += op->channels) {
        memcpy(table_row(op, row) + start + channel, numbers, sizeof(real) * (size_t)columns);
    }
}

/* (x - mean) * scale + shift */
INLINE vec normal_of(vec x, const real *mean, const real *scale, const real *shift) {
    return vfma(x - vload(mean), vload(scale), vload(shift));
}

/* A part of a row of z becomes y. */
INLINE void finish_row(const fr_norm_op *op, const real *z, const row_part *part) {
    const size_t bytes = sizeof(vec) * (size_t)vectors_of(part->columns);
    if (op->z.data) memcpy((real *)op->z.data + part->row * op->z.ld + part->column, z, bytes);
    real *y = (real *)op->out.data + part->row * op->out.ld + part->column;
    forward_row(y, z, op->activation, &op->mask, part);
}

static void op_batch_norm(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const int64_t M = w->batch.rows;
    column_slices todo = slices_of(w, op->N, M, 0);
    int64_t columns, column;
    while ((columns = next_columns(w, &todo, &column))) {
        const int end = vectors_of(columns) * VL;
        real z[FR_PANEL];
        channel_numbers c;
        panel_moments(c.mean, c.left, c.variance, op, column, columns, M, 0);
        divide_squares(&c, columns, M);
        if (op->moves) move_moments(op, &c, column, columns, M);
        find_scale(&c, op, column, columns);
        repeat_in_table(op, FR_TABLE_MEAN, c.mean, column, columns);
        repeat_in_table(op, FR_TABLE_RSTD, c.rstd, column, columns);
        repeat_in_table(op, FR_TABLE_REST, c.rest, column, columns);
        repeat_in_table(op, FR_TABLE_SCALE, c.scale, column, columns);
        for (int64_t row = 0; row < M; row++) {
            const real *x = at_column(&op->x, column) + row * op->x.ld;
            for (int j = 0; j < end; j += VL) {
                vstore(z + j, normal_of(vload(x + j), c.mean + j, c.scale + j, c.shift + j));
            }
            const row_part part = part_of_row(w, row, column, columns);
            finish_row(op, z, &part);
        }
    }
}

/* What comes back to x, without what lies below it. */
INLINE vec gradient_of(vec dz, vec x, vec mean, vec rstd, vec rest, vec scale, vec k1, vec k2) {
    const vec xhat = vfma(x - mean, rstd, rest);
    return scale * vfma(-xhat, k2, dz - k1);
}

static void op_batch_norm_dx(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const int64_t M = w->batch.rows;
    const fr_numbers gamma = numbers_of(&op->gamma.rule, &w->batch), beta = numbers_of(&op->beta.rule, &w->batch);
    column_slices todo = slices_of(w, op->N, M, 0);
    int64_t columns, column;
    while ((columns = next_columns(w, &todo, &column))) {
        const int end = vectors_of(columns) * VL;
        real sum[FR_PANEL], dot[FR_PANEL], k1[FR_PANEL], k2[FR_PANEL], dx[FR_PANEL];
        const real *mean = table_row(op, FR_TABLE_MEAN) + column, *rstd = table_row(op, FR_TABLE_RSTD) + column;
        const real *rest = table_row(op, FR_TABLE_REST) + column, *scale = table_row(op, FR_TABLE_SCALE) + column;
        const summands s = {.x = at_column(&op->x, column),
                            .ldx = op->x.ld,
                            .g = at_column(&op->dz, column),
                            .ldg = op->dz.ld,
                            .rows = M,
                            .mean = mean,
                            .rstd = rstd,
                            .rest = rest};
        sum_columns(sum, dot, &s, columns, OF_GRADIENTS, 0);
        const vec count = vset1((real)M);
        for (int j = 0; j < end; j += VL) {
            vstore(k1 + j, vload(sum + j) / count);
            vstore(k2 + j, vload(dot + j) / count);
        }
        for (int64_t row = 0; op->out.data && row < M; row++) {
            const real *x = s.x + row * s.ldx, *dz = s.g + row * s.ldg;
            for (int j = 0; j < end; j += VL) {
                vstore(dx + j, gradient_of(vload(dz + j), vload(x + j), vload(mean + j), vload(rstd + j),
                                           vload(rest + j), vload(scale + j), vload(k1 + j), vload(k2 + j)));
            }
            clear_tail(dx, columns);
            const row_part part = part_of_row(w, row, column, columns);
            pass_back((real *)op->out.data + row * op->out.ld + column, dx, &op->through, op->add, &part);
        }
        const region all = {.rows = 1, .column = column, .columns = end};
        if (op->gamma.value.data) update_region(&op->gamma, &all, dot, 0, &gamma);
        if (op->beta.value.data) update_region(&op->beta, &all, sum, 0, &beta);
    }
}

static void op_moments(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    column_slices todo = slices_of(w, op->N, w->batch.rows, 1);
    int64_t columns, column;
    while ((columns = next_columns(w, &todo, &column))) {
        panel_moments(table_row(op, FR_TABLE_SUM) + column, table_row(op, FR_TABLE_REST) + column,
                      table_row(op, FR_TABLE_DOT) + column, op, column, columns, w->batch.rows, 1);
    }
}

static void op_norm_sums(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    column_slices todo = slices_of(w, op->N, w->batch.rows, 1);
    int64_t columns, column;
    while ((columns = next_columns(w, &todo, &column))) {
        real mean[FAR_COLUMNS], rstd[FAR_COLUMNS], rest[FAR_COLUMNS];
        for (int64_t j = 0, from = column % op->period; j < columns; j++) {
            mean[j] = table_row(op, FR_TABLE_MEAN)[from], rstd[j] = table_row(op, FR_TABLE_RSTD)[from];
            rest[j] = table_row(op, FR_TABLE_REST)[from];
            from = from + 1 == op->period ? 0 : from + 1;
        }
        clear_tail(mean, columns);
        clear_tail(rstd, columns);
        clear_tail(rest, columns);
        const summands s = {.x = at_column(&op->x, column),
                            .ldx = op->x.ld,
                            .g = at_column(&op->dz, column),
                            .ldg = op->dz.ld,
                            .rows = w->batch.rows,
                            .mean = mean,
                            .rstd = rstd,
                            .rest = rest};
        sum_columns(table_row(op, FR_TABLE_SUM) + column, table_row(op, FR_TABLE_DOT) + column, &s, columns,
                    OF_GRADIENTS, 1);
    }
}

/* The sum over the pixels of a row of the table, channel by channel. With a `centre` it is that of the distances to it of
 * means in two parts, and `squares` gets the sum of their squares. */
static void sum_pixels(real *sum, real *squares, const fr_norm_op *op, int row, const real *centre, int64_t channel,
                       int64_t columns) {
    const int64_t pixels = op->N / op->channels;
    const int end = vectors_of(columns) * VL;
    real left[2][FR_PANEL] = {{0}}, *totals[] = {sum, squares};
    for (int i = 0; i < (centre ? 2 : 1); i++) memset(totals[i], 0, sizeof(real) * (size_t)end);
    for (int64_t first = 0; first < pixels; first += SHORT_BLOCK) {
        const int64_t last = first + SHORT_BLOCK < pixels ? first + SHORT_BLOCK : pixels;
        real block[2][FR_PANEL];
        for (int j = 0; j < end; j++) block[0][j] = block[1][j] = 0;
        for (int64_t p = first; p < last; p++) {
            const int64_t at = p * op->channels + channel;
            const real *x = table_row(op, row) + at, *rest = table_row(op, FR_TABLE_REST) + at;
            for (int64_t j = 0; j < columns; j++) {
                const real distance = centre ? x[j] - centre[j] + rest[j] : x[j];
                block[0][j] += distance;
                if (centre) block[1][j] += distance * distance;
            }
        }
        for (int i = 0; i < (centre ? 2 : 1); i++) {
            for (int j = 0; j < end; j += VL) add_part_to(totals[i] + j, left[i] + j, vload(block[i] + j));
        }
    }
    for (int i = 0; i < (centre ? 2 : 1); i++) {
        for (int j = 0; j < end; j += VL) vstore(totals[i] + j, vload(totals[i] + j) + vload(left[i] + j));
    }
}

/* The moments of the channels from those of their columns: the squares around a mean of means are those around each, and
 * those of the means themselves. The squares go to the variances. */
static void join_moments(channel_numbers *c, const fr_norm_op *op, int64_t channel, int64_t columns, int64_t M) {
    const vec pixels = vset1((real)(op->N / op->channels)), rows = vset1((real)M);
    real distances[FR_PANEL], apart[FR_PANEL];
    sum_pixels(c->mean, NULL, op, FR_TABLE_SUM, NULL, channel, columns);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) vstore(c->mean + j, vload(c->mean + j) / pixels);
    sum_pixels(distances, apart, op, FR_TABLE_SUM, c->mean, channel, columns);
    sum_pixels(c->variance, NULL, op, FR_TABLE_DOT, NULL, channel, columns);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        correct_moments(c->mean, c->left, apart, distances, pixels, j);
        vstore(c->variance + j, vfma(rows, vload(apart + j), vload(c->variance + j)));
    }
}

static void op_norm_scale(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const int64_t M = w->batch.rows, n = M * (op->N / op->channels);
    column_slices todo = slices_of(w, op->channels, 0, 0);
    int64_t columns, channel;
    while ((columns = next_columns(w, &todo, &channel))) {
        channel_numbers c;
        if (op->running) {
            use_running_moments(&c, op, channel, columns);
        } else {
            join_moments(&c, op, channel, columns, M);
            divide_squares(&c, columns, n);
        }
        if (op->moves) move_moments(op, &c, channel, columns, n);
        find_scale(&c, op, channel, columns);
        repeat_in_table(op, FR_TABLE_MEAN, c.mean, channel, columns);
        repeat_in_table(op, FR_TABLE_RSTD, c.rstd, channel, columns);
        repeat_in_table(op, FR_TABLE_REST, c.rest, channel, columns);
        repeat_in_table(op, FR_TABLE_SCALE, c.scale, channel, columns);
        repeat_in_table(op, FR_TABLE_SHIFT, c.shift, channel, columns);
    }
}

static void op_scale_dw(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const fr_numbers gamma = numbers_of(&op->gamma.rule, &w->batch), beta = numbers_of(&op->beta.rule, &w->batch);
    const vec count = vset1((real)(w->batch.rows * (op->N / op->channels)));
    column_slices todo = slices_of(w, op->channels, 0, 0);
    int64_t columns, channel;
    while ((columns = next_columns(w, &todo, &channel))) {
        const int end = vectors_of(columns) * VL;
        real sum[FR_PANEL], dot[FR_PANEL], k[FR_PANEL];
        sum_pixels(sum, NULL, op, FR_TABLE_SUM, NULL, channel, columns);
        sum_pixels(dot, NULL, op, FR_TABLE_DOT, NULL, channel, columns);
        for (int j = 0; j < end; j += VL) vstore(k + j, vload(sum + j) / count);
        repeat_in_table(op, FR_TABLE_K1, k, channel, columns);
        for (int j = 0; j < end; j += VL) vstore(k + j, vload(dot + j) / count);
        repeat_in_table(op, FR_TABLE_K2, k, channel, columns);
        const region all = {.rows = 1, .column = channel, .columns = end};
        if (op->gamma.value.data) update_region(&op->gamma, &all, dot, 0, &gamma);
        if (op->beta.value.data) update_region(&op->beta, &all, sum, 0, &beta);
    }
}

/* The place in the table after the next lanes of a row. */
INLINE int64_t next_in_table(const fr_norm_op *op, int64_t at) { return at + LANES >= op->period ? 0 : at + LANES; }

static void op_affine(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const real *mean = table_row(op, FR_TABLE_MEAN), *scale = table_row(op, FR_TABLE_SCALE);
    const real *shift = table_row(op, FR_TABLE_SHIFT);
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld;
        int64_t at = 0;
        for (int64_t column = 0; column < op->N; column += FR_PANEL) {
            real z[FR_PANEL];
            const row_part part = part_of_row(w, row, column, panel_columns(op->N, column));
            for (int64_t j = 0; j < part.columns; j += LANES) {
                for (int i = 0; i < LANES; i += VL) {
                    vstore(z + j + i,
                           normal_of(vload(x + column + j + i), mean + at + i, scale + at + i, shift + at + i));
                }
                at = next_in_table(op, at);
            }
            finish_row(op, z, &part);
        }
    }
}

static void op_affine_dx(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const real *mean = table_row(op, FR_TABLE_MEAN), *rstd = table_row(op, FR_TABLE_RSTD);
    const real *rest = table_row(op, FR_TABLE_REST), *scale = table_row(op, FR_TABLE_SCALE);
    const real *k1 = table_row(op, FR_TABLE_K1), *k2 = table_row(op, FR_TABLE_K2);
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld, *dz = at_column(&op->dz, 0) + row * op->dz.ld;
        int64_t at = 0;
        for (int64_t column = 0; column < op->N; column += FR_PANEL) {
            real dx[FR_PANEL];
            const row_part part = part_of_row(w, row, column, panel_columns(op->N, column));
            for (int64_t j = 0; j < part.columns; j += LANES) {
                for (int i = 0; i < LANES; i += VL) {
                    const vec d = vload(dz + column + j + i), s = vload(scale + at + i);
                    vstore(dx + j + i, op->running ? s * d
                                                   : gradient_of(d, vload(x + column + j + i), vload(mean + at + i),
                                                                 vload(rstd + at + i), vload(rest + at + i), s,
                                                                 vload(k1 + at + i), vload(k2 + at + i)));
                }
                at = next_in_table(op, at);
            }
            clear_tail(dx, part.columns);
            pass_back((real *)op->out.data + row * op->out.ld + column, dx, &op->through, op->add, &part);
        }
    }
}

/* Over a row of N columns: the sum of the distances to a mean, and the sum of their squares. */
INLINE void sum_row(real *sum, real *squares, const real *x, int64_t N, real mean) {
    lanes totals = lanes_set(0), dots = lanes_set(0);
    for (int64_t first = 0; first < N; first += ROW_BLOCK) {
        const int64_t last = first + ROW_BLOCK < N ? first + ROW_BLOCK : N;
        lanes total = lanes_set(0), dot = lanes_set(0);
        for (int64_t j = first; j < last; j += LANES) {
            for (int i = 0; i < LANE_VECS; i++) {
                vec v = vload(x + j + i * VL) - vset1(mean);
                if (j + LANES > N) v = vkeep(lanes_below(j, N, i), v);
                total.v[i] += v;
                if (squares) dot.v[i] = vfma(v, v, dot.v[i]);
            }
        }
        for (int i = 0; i < LANE_VECS; i++) totals.v[i] += total.v[i], dots.v[i] += dot.v[i];
    }
    *sum = lanes_sum(&totals);
    if (squares) *squares = lanes_sum(&dots);
}

/* Mean, rstd and rest of a row. */
INLINE void row_moments(real *moments, const real *x, int64_t N, double eps) {
    real sum, distances, squares;
    sum_row(&sum, NULL, x, N, 0);
    const real first = sum / (real)N;
    sum_row(&distances, &squares, x, N, first);
    real mean[VL] = {first}, left[VL] = {0}, sums[VL] = {squares}, off[VL] = {distances};
    correct_moments(mean, left, sums, off, vset1((real)N), 0);
    const real rstd = (vset1(1) / vsqrt(vload(sums) / vset1((real)N) + vset1((real)eps)))[0];
    moments[0] = mean[0], moments[1] = rstd, moments[2] = -left[0] * rstd;
}

static void op_layer_norm(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const int64_t N = op->N;
    const real *gamma = op->gamma.value.data, *beta = op->beta.value.data;
    const vec zero = {0};
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld;
        real *moments = (real *)op->table.data + row * op->table.ld;
        row_moments(moments, x, N, op->eps);
        const vec mean = vset1(moments[0]), rstd = vset1(moments[1]), rest = vset1(moments[2]);
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            real z[FR_PANEL];
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            for (int64_t j = 0; j < part.columns; j += VL) {
                vec v = vfma(vload(x + column + j) - mean, rstd, rest);
                const vec shift = beta ? vload(beta + column + j) : zero;
                v = gamma ? vfma(v, vload(gamma + column + j), shift) : v + shift;
                vstore(z + j, v);
            }
            finish_row(op, z, &part);
        }
    }
}

static void op_layer_norm_dx(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const int64_t N = op->N;
    const real *gamma = op->gamma.value.data;
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld, *dz = at_column(&op->dz, 0) + row * op->dz.ld;
        const real *moments = (const real *)op->table.data + row * op->table.ld;
        const vec mean = vset1(moments[0]), rstd = vset1(moments[1]), rest = vset1(moments[2]);
        lanes sums = lanes_set(0), dots = lanes_set(0);
        for (int64_t first = 0; first < N; first += ROW_BLOCK) {
            const int64_t last = first + ROW_BLOCK < N ? first + ROW_BLOCK : N;
            lanes sum = lanes_set(0), dot = lanes_set(0);
            for (int64_t j = first; j < last; j += LANES) {
                for (int i = 0; i < LANE_VECS; i++) {
                    vec g = vload(dz + j + i * VL), v = vfma(vload(x + j + i * VL) - mean, rstd, rest);
                    if (gamma) g *= vload(gamma + j + i * VL);
                    if (j + LANES > N) g = vkeep(lanes_below(j, N, i), g), v = vkeep(lanes_below(j, N, i), v);
                    sum.v[i] += g;
                    dot.v[i] = vfma(g, v, dot.v[i]);
                }
            }
            for (int i = 0; i < LANE_VECS; i++) sums.v[i] += sum.v[i], dots.v[i] += dot.v[i];
        }
        const vec k1 = vset1(lanes_sum(&sums) / (real)N), k2 = vset1(lanes_sum(&dots) / (real)N);
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            real dx[FR_PANEL];
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            for (int64_t j = 0; j < part.columns; j += VL) {
                vec g = vload(dz + column + j);
                if (gamma) g *= vload(gamma + column + j);
                vstore(dx + j, gradient_of(g, vload(x + column + j), mean, rstd, rest, rstd, k1, k2));
            }
            clear_tail(dx, part.columns);
            pass_back((real *)op->out.data + row * op->out.ld + column, dx, &op->through, op->add, &part);
        }
    }
}

static void op_layer_norm_dw(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const fr_numbers gamma = numbers_of(&op->gamma.rule, &w->batch), beta = numbers_of(&op->beta.rule, &w->batch);
    column_slices todo = slices_of(w, op->N, w->batch.rows, 1);
    int64_t columns, column;
    while ((columns = next_columns(w, &todo, &column))) {
        real sum[FAR_COLUMNS], dot[FAR_COLUMNS];
        const summands s = {.x = at_column(&op->x, column),
                            .ldx = op->x.ld,
                            .g = at_column(&op->dz, column),
                            .ldg = op->dz.ld,
                            .rows = w->batch.rows,
                            .by_row = op->table.data,
                            .ld_by_row = op->table.ld};
        sum_columns(sum, dot, &s, columns, OF_GRADIENTS, 1);
        const region all = {.rows = 1, .column = column, .columns = vectors_of(columns) * VL};
        if (op->gamma.value.data) update_region(&op->gamma, &all, dot, 0, &gamma);
        if (op->beta.value.data) update_region(&op->beta, &all, sum, 0, &beta);
    }
}

#endif
