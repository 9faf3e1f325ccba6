/* conv:    out = dropout(activation(z)), z = the products of the windows on x with the columns of the weight + bias + noise
 * conv_dx: out = or += through'(the products of the windows on dz, which lies on a canvas, with the flipped weight)
 * flip:    out = the weight that conv_dx multiplies by
 *
 * A tile of work is a band of lines of one image. Its pixels are done in strips; what a strip leaves lies as in a row of
 * the buffer, and goes on panel by panel, as in dense. A band ends where a panel ends, so that draws and the sums of an
 * activity penalty are those of whole rows.
 *
 * The bits of an element depend on the length of its sum alone: one chain of fused multiply-adds for every FR_CHAIN terms,
 * in whole runs of a window; the sums of chains are added in order.
 */
#ifndef FR_CONV_H
#define FR_CONV_H

#include "activation.h"
#include "gemm.h"
#include "lanes.h"
#include "run_tiles.h"
#include "tiles.h"
#include "window.h"

enum {
    STRIP_SUMS = 16 * 1024, /* sums of a strip, */
    STRIP_PIXELS = 16 * MR, /* of at most so many pixels */
};

/* What products on windows need. */
typedef struct {
    windows windows;
    fr_matrix image, weight;
    int64_t N;           /* columns of the weight */
    int64_t unit;        /* lines of windows that end with a panel */
    int64_t band;        /* lines of a tile */
    int64_t pixels, ldc; /* of a strip: its pixels, and from the sums of one to the next */
} conv_work;

/* A worker's scratch; each part is aligned. */
typedef struct {
    real *canvas;
    real *flat;         /* sums of a strip as they lie in a row, after those of an unfinished panel */
    real *sums;         /* where sums are further apart than in a row */
    real *spare;        /* the sums of a later chain */
    real *bias, *scale; /* repeated, for a panel that begins at any column */
} conv_scratch;

INLINE int64_t whole_lanes(int64_t n) { return (n + FR_LANES - 1) / FR_LANES * FR_LANES; }

INLINE int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        const int64_t rest = a % b;
        a = b, b = rest;
    }
    return a;
}

INLINE conv_work work_on_windows(const windows *s, int64_t N) {
    conv_work c = {.windows = *s, .N = N, .ldc = (N + VL - 1) / VL * VL};
    c.unit = FR_PANEL / common_divisor(s->at.across * N, FR_PANEL);
    c.band = band_of(s, c.unit);
    const int64_t fit = STRIP_SUMS / c.ldc / MR * MR;
    c.pixels = fit < MR ? MR : fit > STRIP_PIXELS ? STRIP_PIXELS : fit;
    return c;
}

/* Cuts the scratch into its parts, and tells how long it is. */
INLINE int64_t conv_scratch_of(conv_scratch *scratch, real *memory, const conv_work *c, int64_t lines) {
    const int64_t sums = c->pixels * c->ldc, length = c->windows.runs * c->windows.run;
    int64_t size = 0;
#define PART(name, elements) scratch->name = memory + size, size += whole_lanes(elements)
    PART(canvas, canvas_size(&c->windows, lines));
    PART(flat, FR_PANEL + sums + FR_LANES);
    PART(sums, c->ldc == c->N ? 0 : sums);
    PART(spare, length > FR_CHAIN ? sums : 0);
    PART(bias, c->N + FR_PANEL + FR_LANES);
    PART(scale, c->N + FR_PANEL + FR_LANES);
#undef PART
    return size;
}

INLINE size_t conv_scratch_bytes(conv_work c) {
    conv_scratch unused;
    return (size_t)conv_scratch_of(&unused, NULL, &c, c.band) * sizeof(real);
}

INLINE conv_work conv_work_of(const fr_conv_op *op) {
    const windows s = windows_of(&op->window, 1, 1);
    conv_work c = work_on_windows(&s, op->dense.N);
    c.image = op->dense.x, c.weight = op->dense.weight;
    return c;
}

INLINE conv_work conv_dx_work_of(const fr_conv_dx_op *op) {
    const windows s = flipped_windows(&op->window, op->dense.N);
    conv_work c = work_on_windows(&s, op->window.channels);
    c.image = op->dense.dz, c.weight = op->dense.weight;
    return c;
}

/* A strip of pixels of a band, from `first` on. The band begins with line `line` of the windows. */
typedef struct {
    const real *canvas;
    int64_t line, first, pixels;
} conv_strip;

/* The runs of the windows at the lines `line` .. `last` that may lie in the image. The others lie in the border. */
INLINE fr_range runs_inside(const windows *w, int64_t line, int64_t last) {
    const int64_t above = w->at.top - last * w->at.step_down, height = (w->at.image_height - 1) * w->apart_down + 1;
    const int64_t below = height + w->at.top - line * w->at.step_down;
    return (fr_range){above > 0 ? above : 0, below < w->runs ? below : w->runs};
}

/* sums = or += the products of all pixels of a strip with the terms of runs `run` .. `run` + `runs` - 1. */
static void multiply_runs(real *sums, const conv_work *c, const conv_strip *s, int64_t run, int64_t runs, int adds) {
    const windows *w = &c->windows;
    const int64_t blocks = row_blocks(s->pixels, MR), vectors = c->ldc / VL, per_panel = FR_PANEL / VL;
    const row_heights heights = heights_of(s->pixels, blocks);
    const real *b = (const real *)c->weight.data + run * w->run * c->weight.ld;
    const int64_t pixel = w->at.step_right * w->at.channels, line = w->at.step_down * w->line;
    run_operands t = {
        .ldb = c->weight.ld,
        .ldc = c->ldc,
        .terms = w->run,
        .step = 1,
        .jump = w->line - w->run,
        .adds = adds,
    };
    for (int64_t panel = 0; panel < vectors; panel += per_panel) { /* its part of the weight stays in the caches */
        const int64_t end = panel + per_panel < vectors ? panel + per_panel : vectors;
        int64_t x = s->first % w->at.across, y = s->first / w->at.across;
        const real *at = s->canvas + y * line;
        for (int64_t block = 0, done = 0; block < blocks; block++) {
            const int64_t height = height_of(&heights, block);
            const int64_t top = y;
            for (int64_t i = 0; i < height; i++) {
                t.a[i] = at + x * pixel;
                if (++x == w->at.across) x = 0, y++, at += line;
            }
            /* Lines of the border are left out. */
            fr_range in = runs_inside(w, s->line + top, s->line + (x == 0 ? y - 1 : y));
            if (in.begin < run) in.begin = run;
            if (in.end > run + runs) in.end = run + runs;
            t.runs = in.end - in.begin;
            for (int64_t i = 0; i < height; i++) t.a[i] += in.begin * w->line;
            for (int64_t j = panel; j < end; j += NV) {
                t.b = b + (in.begin - run) * w->run * c->weight.ld + j * VL;
                sum_runs(sums + done * c->ldc + j * VL, &t, height, end - j < NV ? end - j : NV);
            }
            done += height;
        }
    }
}

/* The products of a strip: chains of whole runs, done in goes for which the caches have room. */
static void multiply_windows(real *sums, real *spare, const conv_work *c, const conv_strip *s) {
    const int64_t run = c->windows.run, runs = c->windows.runs;
    const int64_t chain = run < FR_CHAIN ? FR_CHAIN / run : 1, at_once = run < KC ? KC / run : 1;
    for (int64_t from = 0; from < runs; from += chain) {
        const int64_t end = from + chain < runs ? from + chain : runs;
        real *to = from == 0 ? sums : spare;
        for (int64_t r = from; r < end; r += at_once) {
            multiply_runs(to, c, s, r, end - r < at_once ? end - r : at_once, r != from);
        }
        if (from == 0) continue;
        for (int64_t i = 0; i < s->pixels * c->ldc; i += VL) vstore(sums + i, vload(sums + i) + vload(spare + i));
    }
}

/* What becomes of a panel of z in the forward op. */
INLINE void finish_panel(const fr_dense_op *op, real *z, const real *bias, const real *scale, const row_part *part) {
    const int64_t row = part->row, column = part->column;
    const int vectors = vectors_of(part->columns);
    if (scale) {
        for (int j = 0; j < vectors * VL; j += VL) vstore(z + j, vfma(vload(z + j), vload(scale + j), vload(bias + j)));
    } else if (bias) {
        for (int j = 0; j < vectors * VL; j += VL) vstore(z + j, vload(z + j) + vload(bias + j));
    }
    if (op->noise.std != 0) noise_row(z, z, &op->noise, part, NULL);
    if (op->z.data) memcpy((real *)op->z.data + row * op->z.ld + column, z, sizeof(vec) * (size_t)vectors);
    real *y = (real *)op->out.data + row * op->out.ld + column;
    forward_row(y, z, op->activation, &op->mask, part);
    if (op->activity.data) {
        real *sums = (real *)op->activity.data + row * op->activity.ld;
        sums[column / FR_PANEL] = sum_of_sizes(y, part->columns);
    }
}

/* The N numbers over and over, so that a panel that begins at column j finds its own from j % N on; NULL for none. */
static const real *repeated(real *out, const fr_matrix *numbers, int64_t N) {
    for (int64_t j = 0; numbers->data && j < N + FR_PANEL; j++) out[j] = ((const real *)numbers->data)[j % N];
    return numbers->data ? out : NULL;
}

/* All tiles of this worker; forward or back as the current op says. */
INLINE void multiply_images(fr_worker *w, const conv_work *given, const int back) {
    conv_work c = *given;
    const windows *s = &c.windows;
    const fr_dense_op *dense = &w->op->conv.dense;
    const fr_dense_dx_op *dx = &w->op->conv_dx.dense;
    const int64_t N = c.N, width = s->at.across * N; /* of a line of the result */
    const int own = w->op->rowwise;
    const fr_range mine = own ? fr_share_of_rows(w) : fr_rows(w);
    const int64_t images = mine.end - mine.begin;
    if (!own && images * row_blocks(s->at.down, c.band) < 8 * w->n) { /* few images: cut into more bands */
        const int64_t lines = images * s->at.down / (8 * w->n) / c.unit * c.unit;
        c.band = lines < c.unit ? (c.unit < s->at.down ? c.unit : s->at.down) : lines < c.band ? lines : c.band;
    }
    conv_scratch scratch;
    conv_scratch_of(&scratch, (real *)w->scratch, given, given->band);
    const real *bias = back ? NULL : repeated(scratch.bias, &dense->bias, N);
    const real *scale = back ? NULL : repeated(scratch.scale, &dense->scale, N);
    const int64_t bands = row_blocks(s->at.down, c.band);
    const int64_t flops = 2 * images * s->at.down * width * s->runs * s->run;
    fr_tiles tiles_left = {.panels = 1, .groups = images * bands, .weight = 1, .last = 1, .own = own};
    tiles_left.dynamic = flops / w->n > 30 * 1000 * 1000;
    int64_t t;
    while ((t = fr_next_tile(w, &tiles_left)) >= 0) {
        const int64_t row = mine.begin + t / bands, first = t % bands * c.band;
        const int64_t lines = s->at.down - first < c.band ? s->at.down - first : c.band;
        const real *image = (const real *)c.image.data + row * c.image.ld;
        conv_strip now = {.canvas = canvas_of(s, scratch.canvas, image, first, lines), .line = first};
        int64_t column = first * width, left = 0; /* of the row; sums of an unfinished panel */
        for (; now.first < lines * s->at.across; now.first += now.pixels) {
            const int64_t pixels = lines * s->at.across - now.first;
            now.pixels = pixels < c.pixels ? pixels : c.pixels;
            real *sums = c.ldc == N ? scratch.flat + left : scratch.sums;
            multiply_windows(sums, scratch.spare, &c, &now);
            for (int64_t i = 0; c.ldc != N && i < now.pixels; i++) {
                memcpy(scratch.flat + left + i * N, sums + i * c.ldc, sizeof(real) * (size_t)N);
            }
            const int ends = pixels == now.pixels; /* the band: its last panel may be short */
            const int64_t count = left + now.pixels * N;
            int64_t done = 0;
            for (; done + FR_PANEL <= count || (ends && done < count); done += FR_PANEL) {
                const row_part part = part_of_row(w, row, column, panel_columns(count, done));
                real *z = scratch.flat + done;
                if (back) {
                    real *out = (real *)dx->out.data + row * dx->out.ld + column;
                    pass_back(out, z, &dx->through, dx->add, &part);
                } else {
                    finish_panel(dense, z, bias ? bias + column % N : NULL, scale ? scale + column % N : NULL, &part);
                }
                column += part.columns;
            }
            left = count - done > 0 ? count - done : 0;
            memmove(scratch.flat, scratch.flat + done, sizeof(real) * (size_t)left);
        }
    }
}

static void op_conv(fr_worker *w) {
    const conv_work c = conv_work_of(&w->op->conv);
    multiply_images(w, &c, 0);
}

static void op_conv_dx(fr_worker *w) {
    const conv_work c = conv_dx_work_of(&w->op->conv_dx);
    multiply_images(w, &c, 1);
}

/* Row (r, q, f) of out has in column c what row (r', q', c) of the weight has in column f, for the window's places r and r'
 * as far from its two ends. */
static void op_flip(fr_worker *w) {
    const fr_flip_op *op = &w->op->flip;
    const int64_t places = op->window.height * op->window.width, C = op->window.channels, N = op->N;
    const fr_range mine = fr_share(w, places * N);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const int64_t place = places - 1 - row / N, unit = row % N;
        const real *in = (const real *)op->weight.data + place * C * op->weight.ld + unit;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t channel = 0; channel < C; channel++) out[channel] = in[channel * op->weight.ld];
    }
}

#endif
