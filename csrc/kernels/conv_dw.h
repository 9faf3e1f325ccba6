/* conv_dw: the gradient of the weight of a conv, and of its bias. The update (update.h) uses it while it is in the scratch
 *          of the worker, so gradients never go to memory.
 *
 * A worker has some columns by some rows of the weight, and walks all images of the batch. Row i of a window's unfolded
 * image is the value i of every window, so the terms of its sums are those values, line by line.
 *
 * The bits of an element depend on the number of lines alone: one chain of fused multiply-adds for as many lines of windows
 * as have FR_CHAIN terms (at least one), through all images in order; the sums of chains are added in order.
 */
#ifndef FR_CONV_DW_H
#define FR_CONV_DW_H

#include "conv.h"
#include "dense_dw.h"
#include "division.h"

enum {
    GRADIENT_SUMS = 32 * 1024, /* elements of the weight that are done together */
    TERMS_AT_ONCE = 128, /* of their sums, in whole lines: all rows should find their terms in the nearest cache */
};

/* What a worker does at a time: `rows` rows of the weight from `row` on, and columns of a panel. */
typedef struct {
    windows windows;
    fr_matrix image, dz;
    int64_t N;
    int64_t band;                       /* lines done with one canvas */
    int64_t row, rows, column, columns; /* of the weight */
    int64_t ldc;                        /* from a row of the sums to the next */
    int with_bias;
} dw_part;

/* Where the values of a block of rows may lie in the image: lines of windows, and pixels of such a line. Elsewhere they are
 * those of the border, and are left out. */
typedef struct {
    fr_range lines, pixels;
} dw_block;

enum { MOST_BLOCKS = GRADIENT_SUMS / VL / MR + 1 };

typedef struct {
    real *canvas;
    real *dz;           /* columns of dz, where they do not lie in whole lanes */
    real *total, *sums; /* of all chains before, and of a later chain */
    real *bias;
    dw_block *blocks;
} dw_scratch;

INLINE int64_t dw_scratch_of(dw_scratch *scratch, real *memory, const windows *s, int64_t N) {
    const int64_t band = band_of(s, 1);
    int64_t size = 0;
#define PART(name, elements) scratch->name = memory + size, size += whole_lanes(elements)
    PART(canvas, canvas_size(s, band));
    PART(dz, N % FR_LANES ? band * s->at.across * FR_PANEL : 0);
    PART(total, GRADIENT_SUMS);
    PART(sums, GRADIENT_SUMS);
    PART(bias, FR_PANEL);
#undef PART
    scratch->blocks = (dw_block *)(memory + size);
    return size + whole_lanes(MOST_BLOCKS * (int64_t)(sizeof(dw_block) / sizeof(real)));
}

INLINE size_t conv_dw_scratch_bytes(const fr_conv_dw_op *op) {
    dw_scratch unused;
    const windows s = windows_of(&op->window, 1, 1);
    return (size_t)dw_scratch_of(&unused, NULL, &s, op->dense.N) * sizeof(real);
}

/* Columns of dz: the pixels of a band, `ld` apart. */
typedef struct {
    const real *data;
    int64_t ld;
} dz_band;

/* The lines of dz under a band. A part that does not lie in whole lanes is copied, with zeros after its columns. */
INLINE dz_band dz_band_of(const dw_part *p, real *copy, int64_t image, int64_t first, int64_t lines) {
    const int64_t across = p->windows.at.across;
    const real *in = (const real *)p->dz.data + image * p->dz.ld + first * across * p->N + p->column;
    if (p->N % FR_LANES == 0) return (dz_band){in, p->N};
    memset(copy, 0, sizeof(real) * (size_t)(lines * across * p->ldc));
    for (int64_t i = 0; i < lines * across; i++) {
        memcpy(copy + i * p->ldc, in + i * p->N, sizeof(real) * (size_t)p->columns);
    }
    return (dz_band){copy, p->ldc};
}

/* bias += the sums over the pixels: blocks of FR_SUM_BLOCK, then the blocks in order. */
static void add_pixels(real *bias, const dz_band *dz, int64_t pixels, int64_t columns) {
    for (int64_t j = 0; j < columns; j += VL) {
        vec total = vload(bias + j);
        for (int64_t first = 0; first < pixels; first += FR_SUM_BLOCK) {
            const int64_t last = first + FR_SUM_BLOCK < pixels ? first + FR_SUM_BLOCK : pixels;
            vec sum = {0};
            for (int64_t i = first; i < last; i++) sum += vload(dz->data + i * dz->ld + j);
            total += sum;
        }
        vstore(bias + j, total);
    }
}

/* The parts of the image that the blocks of rows touch. */
static void limit_blocks(dw_block *limits, const dw_part *p) {
    const windows *w = &p->windows;
    const int64_t blocks = row_blocks(p->rows, MR), C = w->at.channels;
    const row_heights heights = heights_of(p->rows, blocks);
    for (int64_t block = 0, row = p->row; block < blocks; block++) {
        const int64_t last = row + height_of(&heights, block) - 1, line = row / w->run, last_line = last / w->run;
        const int within = line == last_line;
        const int64_t pixel = within ? row % w->run / C : 0, last_pixel = within ? last % w->run / C : w->at.width - 1;
        limits[block].lines = inside(line, last_line, w->at.step_down, w->at.top, w->at.image_height, w->at.down);
        limits[block].pixels = inside(pixel, last_pixel, w->at.step_right, w->at.left, w->at.image_width, w->at.across);
        row = last + 1;
    }
}

/* sums = or += the products of some lines of a band, which begins with the line `first` of the windows. */
static void multiply_lines(real *sums, const dw_part *p, const dw_block *limits, const real *canvas, const dz_band *dz,
                           fr_range lines, int64_t first, int adds) {
    const windows *w = &p->windows;
    const int64_t blocks = row_blocks(p->rows, MR), vectors = vectors_of(p->columns);
    const row_heights heights = heights_of(p->rows, blocks);
    run_operands t = {
        .ldb = dz->ld,
        .ldc = p->ldc,
        .step = w->at.step_right * w->at.channels,
        .adds = adds,
    };
    for (int64_t j = 0; j < vectors; j += NV) { /* its part of dz stays in the nearest cache */
        int64_t in_run = p->row % w->run;
        const real *at = canvas + p->row / w->run * w->line;
        for (int64_t block = 0, done = 0; block < blocks; block++) {
            const int64_t height = height_of(&heights, block);
            const dw_block *in = &limits[block];
            const int64_t begin = lines.begin > in->lines.begin - first ? lines.begin : in->lines.begin - first;
            const int64_t end = lines.end < in->lines.end - first ? lines.end : in->lines.end - first;
            t.runs = end - begin, t.terms = in->pixels.end - in->pixels.begin;
            t.jump = w->at.step_down * w->line - t.terms * t.step, t.jump_b = (w->at.across - t.terms) * dz->ld;
            t.b = dz->data + (begin * w->at.across + in->pixels.begin) * dz->ld + j * VL;
            const int64_t to_first = begin * w->at.step_down * w->line + in->pixels.begin * t.step;
            for (int64_t i = 0; i < height; i++) {
                t.a[i] = at + in_run + to_first;
                if (++in_run == w->run) in_run = 0, at += w->line;
            }
            sum_runs(sums + done * p->ldc + j * VL, &t, height, vectors - j < NV ? vectors - j : NV);
            done += height;
        }
    }
}

/* scratch->total = the gradient of a part of the weight, and scratch->bias that of the bias. */
static void sum_images(fr_worker *w, const dw_part *p, const dw_scratch *scratch) {
    const windows *s = &p->windows;
    const int64_t across = s->at.across, size = p->rows * p->ldc;
    const int64_t chain = across < FR_CHAIN ? FR_CHAIN / across : 1,
                  at_once = across < TERMS_AT_ONCE ? TERMS_AT_ONCE / across : 1;
    int64_t left = chain, later = 0; /* lines of the current chain; whether it is a later one than the first */
    limit_blocks(scratch->blocks, p);
    if (p->with_bias) memset(scratch->bias, 0, sizeof(real) * FR_PANEL);
    for (int64_t image = 0; image < w->batch.rows; image++) {
        for (int64_t first = 0; first < s->at.down; first += p->band) {
            const int64_t lines = s->at.down - first < p->band ? s->at.down - first : p->band;
            const real *x = (const real *)p->image.data + image * p->image.ld;
            const real *canvas = canvas_of(s, scratch->canvas, x, first, lines);
            const dz_band dz = dz_band_of(p, scratch->dz, image, first, lines);
            if (p->with_bias) add_pixels(scratch->bias, &dz, lines * across, p->ldc);
            for (int64_t line = 0; line < lines;) {
                int64_t n = lines - line < at_once ? lines - line : at_once;
                if (n > left) n = left;
                const fr_range some = {line, line + n};
                real *sums = later ? scratch->sums : scratch->total;
                multiply_lines(sums, p, scratch->blocks, canvas, &dz, some, first, left < chain);
                line += n, left -= n;
                const int ends = image == w->batch.rows - 1 && first + line == s->at.down;
                if (left > 0 && !ends) continue;
                for (int64_t i = 0; later && i < size; i += VL) {
                    vstore(scratch->total + i, vload(scratch->total + i) + vload(scratch->sums + i));
                }
                left = chain, later = 1;
            }
        }
    }
}

static void op_conv_dw(fr_worker *w) {
    const fr_dense_dw_op *op = &w->op->conv_dw.dense;
    const windows s = windows_of(&w->op->conv_dw.window, 1, 1);
    const int64_t K = op->K, N = op->N;
    const fr_numbers weight_numbers = numbers_of(&op->weight.rule, &w->batch);
    const fr_numbers bias_numbers = numbers_of(&op->bias.rule, &w->batch);
    dw_scratch scratch;
    dw_scratch_of(&scratch, (real *)w->scratch, &s, N);
    /* Penalties and norms are sums over a row group, which must have one owner. */
    const int even = !op->weight.penalty && !op->weight.norms;
    const int64_t groups = row_blocks(K, even ? MR : FR_ROW_GROUP);
    division parts = w->scramble ? divide_tiles(N, groups, 0, 0, 0) : divide_columns(w, N, groups);
    piece at;
    while (next_piece(w, &parts, &at)) {
        const int64_t begin = even ? K * at.first / groups : at.first * FR_ROW_GROUP;
        const int64_t last = even ? K * at.last / groups : at.last * FR_ROW_GROUP, end = last < K ? last : K;
        dw_part p = {.windows = s, .image = op->x, .dz = op->dz, .N = N, .band = band_of(&s, 1)};
        p.column = at.column, p.columns = at.columns, p.ldc = vectors_of(at.columns) * VL;
        const int64_t fit = GRADIENT_SUMS / p.ldc / FR_ROW_GROUP * FR_ROW_GROUP;
        const int64_t tall = row_blocks(end - begin, row_blocks(end - begin, fit));
        const int64_t height = even ? tall : row_blocks(tall, FR_ROW_GROUP) * FR_ROW_GROUP;
        for (p.row = begin; p.row < end; p.row += p.rows) {
            p.rows = end - p.row < height ? end - p.row : height;
            p.with_bias = p.row == 0 && op->bias.value.data != NULL;
            sum_images(w, &p, &scratch);
            if (p.with_bias) {
                const region all = {.rows = 1, .column = p.column, .columns = p.ldc};
                update_region(&op->bias, &all, scratch.bias, 0, &bias_numbers);
            }
            for (int64_t row = p.row, rows; row < p.row + p.rows; row += rows) {
                rows = FR_ROW_GROUP - row % FR_ROW_GROUP;
                if (rows > p.row + p.rows - row) rows = p.row + p.rows - row;
                const region done = {.row = row, .rows = rows, .column = p.column, .columns = p.ldc};
                update_region(&op->weight, &done, scratch.total + (row - p.row) * p.ldc, p.ldc, &weight_numbers);
            }
        }
    }
}

#endif
