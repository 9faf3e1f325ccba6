/* Normalization: of the columns of a batch (batch_norm), of every row (layer_norm).
 *
 *   y = dropout(activation(z)), z = (x - mean) * scale + shift, scale = gamma * rstd, rstd = 1 / sqrt(variance + eps)
 *   dx = scale * (dz - sum(dz) / n - xhat * sum(dz * xhat) / n), xhat = (x - mean) * rstd, sums over the n values that
 *        share a mean; dgamma = sum(dz * xhat), dbeta = sum(dz)
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
 * Sums down a column run over blocks of FR_SUM_BLOCK rows, then over the blocks in order; those over the pixels of a
 * channel likewise. Sums along a row run over the lanes of lanes.h, in blocks of ROW_BLOCK columns. So their order depends
 * on nothing but their length.
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

enum { ROW_BLOCK = 1024, FAR_COLUMNS = 2048 / sizeof(real) };

INLINE real *table_row(const fr_norm_op *op, int row) { return (real *)op->table.data + row * op->table.ld; }

/* Zeros after the last column of a panel. */
INLINE void clear_tail(real *x, int64_t columns) {
    for (int64_t j = columns; j < vectors_of(columns) * VL; j++) x[j] = 0;
}

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

/* What is summed down the columns, of x or of g and x; mean and rstd are those of the columns, or, where by_row, pairs for
 * the rows. */
enum { OF_VALUES, OF_SQUARES, OF_GRADIENTS };
typedef struct {
    const real *x, *g;
    int64_t ldx, ldg, rows;
    const real *mean, *rstd;
    const real *by_row;
    int64_t ld_by_row;
} summands;

/* of_values: a = sum x. of_squares: a = sum (x - mean)^2. of_gradients: a = sum g, b = sum g * xhat. */
INLINE void sum_vectors(real *a, real *b, const summands *summed, int64_t j, const int kind, const int wide) {
    const summands s = *summed;
    vec total[4], dots[4], mean[4], rstd[4];
    UNROLL
    for (int k = 0; k < wide; k++) {
        total[k] = dots[k] = (vec){0};
        if (kind != OF_VALUES && !s.by_row) mean[k] = vload(s.mean + j + k * VL);
        if (kind == OF_GRADIENTS && !s.by_row) rstd[k] = vload(s.rstd + j + k * VL);
    }
    for (int64_t first = 0; first < s.rows; first += FR_SUM_BLOCK) {
        const int64_t last = first + FR_SUM_BLOCK < s.rows ? first + FR_SUM_BLOCK : s.rows;
        vec sum[4], dot[4];
        UNROLL
        for (int k = 0; k < wide; k++) sum[k] = dot[k] = (vec){0};
        for (int64_t i = first; i < last; i++) {
            const real *x = s.x + i * s.ldx + j;
            UNROLL
            for (int k = 0; k < wide; k++) {
                vec v = vload(x + k * VL);
                if (kind == OF_VALUES) sum[k] += v;
                if (kind == OF_SQUARES) v -= mean[k], sum[k] = vfma(v, v, sum[k]);
                if (kind == OF_GRADIENTS) {
                    const vec g = vload(s.g + i * s.ldg + j + k * VL);
                    const vec centre = s.by_row ? vset1(s.by_row[i * s.ld_by_row]) : mean[k];
                    const vec factor = s.by_row ? vset1(s.by_row[i * s.ld_by_row + 1]) : rstd[k];
                    sum[k] += g;
                    dot[k] = vfma(g, (v - centre) * factor, dot[k]);
                }
            }
        }
        UNROLL
        for (int k = 0; k < wide; k++) total[k] += sum[k], dots[k] += dot[k];
    }
    UNROLL
    for (int k = 0; k < wide; k++) {
        vstore(a + j + k * VL, total[k]);
        if (kind == OF_GRADIENTS) vstore(b + j + k * VL, dots[k]);
    }
}

/* The same sums of a wider slice, row by row, with the sums of a block of rows in the nearest cache. */
INLINE void sum_far(real *a, real *b, const summands *s, int end, const int kind) {
    real sum[FAR_COLUMNS], dot[FAR_COLUMNS];
    memset(a, 0, sizeof(real) * (size_t)end);
    if (kind == OF_GRADIENTS) memset(b, 0, sizeof(real) * (size_t)end);
    for (int64_t first = 0; first < s->rows; first += FR_SUM_BLOCK) {
        const int64_t last = first + FR_SUM_BLOCK < s->rows ? first + FR_SUM_BLOCK : s->rows;
        memset(sum, 0, sizeof sum);
        if (kind == OF_GRADIENTS) memset(dot, 0, sizeof dot);
        for (int64_t i = first; i < last; i++) {
            const real *x = s->x + i * s->ldx, *g = kind == OF_GRADIENTS ? s->g + i * s->ldg : NULL;
            const vec centre = s->by_row ? vset1(s->by_row[i * s->ld_by_row]) : (vec){0};
            const vec factor = s->by_row ? vset1(s->by_row[i * s->ld_by_row + 1]) : (vec){0};
            for (int j = 0; j < end; j += VL) {
                vec v = vload(x + j), total = vload(sum + j);
                if (kind == OF_VALUES) total += v;
                if (kind == OF_SQUARES) v -= vload(s->mean + j), total = vfma(v, v, total);
                if (kind == OF_GRADIENTS) {
                    const vec d = vload(g + j);
                    v = s->by_row ? (v - centre) * factor : (v - vload(s->mean + j)) * vload(s->rstd + j);
                    total += d;
                    vstore(dot + j, vfma(d, v, vload(dot + j)));
                }
                vstore(sum + j, total);
            }
        }
        for (int j = 0; j < end; j += VL) {
            vstore(a + j, vload(a + j) + vload(sum + j));
            if (kind == OF_GRADIENTS) vstore(b + j, vload(b + j) + vload(dot + j));
        }
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
    } else if (kind == OF_GRADIENTS) {
        for (; j + 2 * VL <= end; j += 2 * VL) sum_vectors(a, b, s, j, kind, 2);
    } else {
        for (; j + 4 * VL <= end; j += 4 * VL) sum_vectors(a, b, s, j, kind, 4);
    }
    for (; j < end; j += VL) sum_vectors(a, b, s, j, kind, 1);
    clear_tail(a, columns);
    if (b) clear_tail(b, columns);
}

INLINE const real *at_column(const fr_matrix *m, int64_t column) { return (const real *)m->data + column; }

/* The means of a panel of columns of x, and the sums of squares around them. */
INLINE void panel_moments(real *mean, real *squares, const fr_norm_op *op, int64_t column, int64_t columns, int64_t M,
                          const int may_be_far) {
    const summands s = {.x = at_column(&op->x, column), .ldx = op->x.ld, .rows = M, .mean = mean};
    sum_columns(mean, NULL, &s, columns, OF_VALUES, may_be_far);
    const vec count = vset1((real)M);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) vstore(mean + j, vload(mean + j) / count);
    sum_columns(squares, NULL, &s, columns, OF_SQUARES, may_be_far);
}

/* The numbers of some channels: gamma, beta and the moments as they are, and what they make of a value. */
typedef struct {
    real mean[FR_PANEL], variance[FR_PANEL], rstd[FR_PANEL], scale[FR_PANEL], shift[FR_PANEL];
} channel_numbers;

/* Of `n` values, whose mean and squares around it are given. */
static void use_moments(channel_numbers *c, const real *mean, const real *squares, int64_t columns, int64_t n) {
    const vec count = vset1((real)n);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        vstore(c->mean + j, vload(mean + j));
        vstore(c->variance + j, vload(squares + j) / count);
    }
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
        vstore(c->variance + j, vload(at_column(&op->variance, channel) + j));
    }
}

/* rstd, scale and shift of channels whose moments are known. The bias of a dense op, into which they are folded, comes with
 * the shift, and so does the mean. */
static void find_scale(channel_numbers *c, const fr_norm_op *op, int64_t channel, int64_t columns) {
    const vec eps = vset1((real)op->eps), one = vset1(1), zero = {0};
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        const vec rstd = one / vsqrt(vload(c->variance + j) + eps);
        const vec scale = op->gamma.value.data ? vload(at_column(&op->gamma.value, channel) + j) * rstd : rstd;
        vec shift = op->beta.value.data ? vload(at_column(&op->beta.value, channel) + j) : zero;
        if (op->folded) {
            const vec bias = op->bias.data ? vload(at_column(&op->bias, channel) + j) : zero;
            shift = vfma(bias - vload(c->mean + j), scale, shift);
        }
        vstore(c->rstd + j, rstd);
        vstore(c->scale + j, scale);
        vstore(c->shift + j, shift);
    }
    clear_tail(c->rstd, columns);
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
        real mean[FR_PANEL], squares[FR_PANEL], z[FR_PANEL];
        channel_numbers c;
        panel_moments(mean, squares, op, column, columns, M, 0);
        use_moments(&c, mean, squares, columns, M);
        if (op->moves) move_moments(op, &c, column, columns, M);
        find_scale(&c, op, column, columns);
        repeat_in_table(op, FR_TABLE_MEAN, c.mean, column, columns);
        repeat_in_table(op, FR_TABLE_RSTD, c.rstd, column, columns);
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
INLINE vec gradient_of(vec dz, vec x, vec mean, vec rstd, vec scale, vec k1, vec k2) {
    const vec xhat = (x - mean) * rstd;
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
        const real *scale = table_row(op, FR_TABLE_SCALE) + column;
        const summands s = {.x = at_column(&op->x, column),
                            .ldx = op->x.ld,
                            .g = at_column(&op->dz, column),
                            .ldg = op->dz.ld,
                            .rows = M,
                            .mean = mean,
                            .rstd = rstd};
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
                                           vload(scale + j), vload(k1 + j), vload(k2 + j)));
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
        panel_moments(table_row(op, FR_TABLE_SUM) + column, table_row(op, FR_TABLE_DOT) + column, op, column, columns,
                      w->batch.rows, 1);
    }
}

static void op_norm_sums(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    column_slices todo = slices_of(w, op->N, w->batch.rows, 1);
    int64_t columns, column;
    while ((columns = next_columns(w, &todo, &column))) {
        real mean[FAR_COLUMNS], rstd[FAR_COLUMNS];
        for (int64_t j = 0, from = column % op->period; j < columns; j++) {
            mean[j] = table_row(op, FR_TABLE_MEAN)[from], rstd[j] = table_row(op, FR_TABLE_RSTD)[from];
            from = from + 1 == op->period ? 0 : from + 1;
        }
        clear_tail(mean, columns);
        clear_tail(rstd, columns);
        const summands s = {.x = at_column(&op->x, column),
                            .ldx = op->x.ld,
                            .g = at_column(&op->dz, column),
                            .ldg = op->dz.ld,
                            .rows = w->batch.rows,
                            .mean = mean,
                            .rstd = rstd};
        sum_columns(table_row(op, FR_TABLE_SUM) + column, table_row(op, FR_TABLE_DOT) + column, &s, columns,
                    OF_GRADIENTS, 1);
    }
}

/* The sum over the pixels of a row of the table, channel by channel. With `centre` it is that of the squares of the distance
 * to it. */
static void sum_pixels(real *sum, const fr_norm_op *op, int row, const real *centre, int64_t channel, int64_t columns) {
    const int64_t pixels = op->N / op->channels;
    for (int64_t j = 0; j < columns; j++) sum[j] = 0;
    for (int64_t first = 0; first < pixels; first += FR_SUM_BLOCK) {
        const int64_t last = first + FR_SUM_BLOCK < pixels ? first + FR_SUM_BLOCK : pixels;
        real block[FR_PANEL] = {0};
        for (int64_t p = first; p < last; p++) {
            const real *x = table_row(op, row) + p * op->channels + channel;
            for (int64_t j = 0; j < columns; j++) {
                block[j] += centre ? (x[j] - centre[j]) * (x[j] - centre[j]) : x[j];
            }
        }
        for (int64_t j = 0; j < columns; j++) sum[j] += block[j];
    }
    clear_tail(sum, columns);
}

/* The moments of the channels from those of their columns: the squares around a mean of means are those around each, and
 * those of the means themselves. */
static void join_moments(real *mean, real *squares, const fr_norm_op *op, int64_t channel, int64_t columns, int64_t M) {
    const vec pixels = vset1((real)(op->N / op->channels)), rows = vset1((real)M);
    real apart[FR_PANEL];
    sum_pixels(mean, op, FR_TABLE_SUM, NULL, channel, columns);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) vstore(mean + j, vload(mean + j) / pixels);
    sum_pixels(apart, op, FR_TABLE_SUM, mean, channel, columns);
    sum_pixels(squares, op, FR_TABLE_DOT, NULL, channel, columns);
    for (int j = 0; j < vectors_of(columns) * VL; j += VL) {
        vstore(squares + j, vfma(rows, vload(apart + j), vload(squares + j)));
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
            real mean[FR_PANEL], squares[FR_PANEL];
            join_moments(mean, squares, op, channel, columns, M);
            use_moments(&c, mean, squares, columns, n);
        }
        if (op->moves) move_moments(op, &c, channel, columns, n);
        find_scale(&c, op, channel, columns);
        repeat_in_table(op, FR_TABLE_MEAN, c.mean, channel, columns);
        repeat_in_table(op, FR_TABLE_RSTD, c.rstd, channel, columns);
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
        sum_pixels(sum, op, FR_TABLE_SUM, NULL, channel, columns);
        sum_pixels(dot, op, FR_TABLE_DOT, NULL, channel, columns);
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
    const fr_range mine = fr_share(w, w->batch.rows);
    for (int64_t row = mine.begin; row < mine.end; row++) {
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
    const real *scale = table_row(op, FR_TABLE_SCALE);
    const real *k1 = table_row(op, FR_TABLE_K1), *k2 = table_row(op, FR_TABLE_K2);
    const fr_range mine = fr_share(w, w->batch.rows);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld, *dz = at_column(&op->dz, 0) + row * op->dz.ld;
        int64_t at = 0;
        for (int64_t column = 0; column < op->N; column += FR_PANEL) {
            real dx[FR_PANEL];
            const row_part part = part_of_row(w, row, column, panel_columns(op->N, column));
            for (int64_t j = 0; j < part.columns; j += LANES) {
                for (int i = 0; i < LANES; i += VL) {
                    const vec d = vload(dz + column + j + i), s = vload(scale + at + i);
                    vstore(dx + j + i,
                           op->running ? s * d
                                       : gradient_of(d, vload(x + column + j + i), vload(mean + at + i),
                                                     vload(rstd + at + i), s, vload(k1 + at + i), vload(k2 + at + i)));
                }
                at = next_in_table(op, at);
            }
            clear_tail(dx, part.columns);
            pass_back((real *)op->out.data + row * op->out.ld + column, dx, &op->through, op->add, &part);
        }
    }
}

/* The sum of x, or of its squares around a mean, over a row of N columns. */
INLINE real sum_row(const real *x, int64_t N, real mean, const int squares) {
    lanes total = lanes_set(0);
    for (int64_t first = 0; first < N; first += ROW_BLOCK) {
        const int64_t last = first + ROW_BLOCK < N ? first + ROW_BLOCK : N;
        lanes sum = lanes_set(0);
        for (int64_t j = first; j < last; j += LANES) {
            for (int i = 0; i < LANE_VECS; i++) {
                vec v = vload(x + j + i * VL);
                if (squares) v -= vset1(mean);
                if (j + LANES > N) v = vkeep(lanes_below(j, N, i), v);
                sum.v[i] = squares ? vfma(v, v, sum.v[i]) : sum.v[i] + v;
            }
        }
        for (int i = 0; i < LANE_VECS; i++) total.v[i] += sum.v[i];
    }
    return lanes_sum(&total);
}

static void op_layer_norm(fr_worker *w) {
    const fr_norm_op *op = &w->op->norm;
    const int64_t N = op->N;
    const real *gamma = op->gamma.value.data, *beta = op->beta.value.data;
    const vec zero = {0};
    const fr_range mine = fr_share(w, w->batch.rows);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld;
        real *moments = (real *)op->table.data + row * op->table.ld;
        const real mean = sum_row(x, N, 0, 0) / (real)N, variance = sum_row(x, N, mean, 1) / (real)N;
        const real rstd = (vset1(1) / vsqrt(vset1(variance) + vset1((real)op->eps)))[0];
        moments[0] = mean, moments[1] = rstd;
        for (int64_t column = 0; column < N; column += FR_PANEL) {
            real z[FR_PANEL];
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            for (int64_t j = 0; j < part.columns; j += VL) {
                vec v = (vload(x + column + j) - vset1(mean)) * vset1(rstd);
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
    const fr_range mine = fr_share(w, w->batch.rows);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const real *x = at_column(&op->x, 0) + row * op->x.ld, *dz = at_column(&op->dz, 0) + row * op->dz.ld;
        const real *moments = (const real *)op->table.data + row * op->table.ld;
        const vec mean = vset1(moments[0]), rstd = vset1(moments[1]);
        lanes sums = lanes_set(0), dots = lanes_set(0);
        for (int64_t first = 0; first < N; first += ROW_BLOCK) {
            const int64_t last = first + ROW_BLOCK < N ? first + ROW_BLOCK : N;
            lanes sum = lanes_set(0), dot = lanes_set(0);
            for (int64_t j = first; j < last; j += LANES) {
                for (int i = 0; i < LANE_VECS; i++) {
                    vec g = vload(dz + j + i * VL), v = vload(x + j + i * VL) - mean;
                    if (gamma) g *= vload(gamma + j + i * VL);
                    if (j + LANES > N) g = vkeep(lanes_below(j, N, i), g), v = vkeep(lanes_below(j, N, i), v);
                    sum.v[i] += g;
                    dot.v[i] = vfma(g, v * rstd, dot.v[i]);
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
                vstore(dx + j, gradient_of(g, vload(x + column + j), mean, rstd, rstd, k1, k2));
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
