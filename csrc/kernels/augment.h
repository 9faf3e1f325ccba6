/* augment: an image through an affine map and a displacement field, in one pass of bilinear resampling; 0 outside. Then
 * squares of it are set to 0, where there are cutouts.
 *
 * A position of the result takes its pixel from y' = m0 (y + dy) + m1 (x + dx) + m2, and x' likewise. Every 16 pixels
 * of a row the position is computed in double precision and split into an integer and a fraction. The working dtype
 * only counts on from there, so its error does not grow with the image. The image first gets a border of zeros (1
 * before, 2 after), and coordinates are clamped to -1 .. size, so no pixel needs to check whether it is outside.
 *
 * The field: uniform draws in (-1, 1), smoothed by a Gaussian, times alpha (Simard, Steinkraus and Platt, "Best practices
 * for convolutional neural networks", ICDAR 2003). A pixel's draw is that of column y W + x in a row of draws.
 *
 * Letters as in ../augment.h.
 */
#ifndef FR_KERNEL_AUGMENT_H
#define FR_KERNEL_AUGMENT_H

#include "../augment.h"
#include "../worker.h"
#include "philox.h"

typedef struct {
    const fr_augment *a;
    int64_t pitch; /* elements of a row of `image` */
    int64_t ld;
    real *image, *row, *step, *line, *half, *field[2];
    ireal *pixel, *channel;
    uint16_t *draws;
} augment_room;

/* The worker's room, ready for images: a zero border, and the tables of a row. Element j belongs to a channel of pixel
 * j / C, which is `step` pixels after the first of its 16. */
static augment_room augment_room_of(const fr_augment *a, void *scratch) {
    const fr_augment_room at = fr_augment_layout(a);
    real *base = scratch;
    const augment_room room = {
        .a = a,
        .pitch = (a->width + 3) * a->channels,
        .ld = at.ld,
        .image = base + at.image,
        .row = base + at.row,
        .step = base + at.step,
        .pixel = (ireal *)(base + at.pixel),
        .channel = (ireal *)(base + at.channel),
        .draws = (uint16_t *)(base + at.draws),
        .line = base + at.line,
        .half = base + at.half,
        .field = {base + at.field[0], base + at.field[1]},
    };
    memset(room.image, 0, (size_t)(at.row - at.image) * sizeof(real));
    const int64_t C = a->channels, last = a->width - 1;
    for (int64_t j = 0; j < at.step - at.row; j++) {
        const int64_t pixel = j / C < last ? j / C : last; /* after the row: any that exists */
        room.pixel[j] = (ireal)pixel;
        room.channel[j] = (ireal)(j % C);
        room.step[j] = (real)(j / C % 16);
    }
    if (a->smooth) memset(room.line, 0, (size_t)(at.half - at.line) * sizeof(real));
    return room;
}

/* out[x] = sum over k of smooth[k] * line[x + k]; the order of the sum is that of k. */
static void smooth_row(real *out, const real *line, const double *smooth, int64_t terms, int64_t W) {
    for (int64_t x = 0; x < W; x += VL) {
        vec sum = {0};
        for (int64_t k = 0; k < terms; k++) sum = vfma(vset1((real)smooth[k]), vload(line + x + k), sum);
        vstore(out + x, sum);
    }
}

/* One displacement field of an image. */
static void displace(real *field, const augment_room *room, draw_place place) {
    const fr_augment *a = room->a;
    const int64_t H = a->height, W = a->width, ld = room->ld, radius = a->radius, terms = 2 * radius + 1;
    for (int64_t j = 0; j < H * W; j += FR_PANEL) {
        place.column = (uint32_t)j;
        philox_draws(room->draws + j, &place);
    }
    for (int64_t y = 0; y < H; y++) {
        for (int64_t x = 0; x < W; x++) { /* the middle of a draw's interval, exactly */
            room->line[radius + x] = (real)(2 * (int)room->draws[y * W + x] - 65535) * (real)0x1p-16;
        }
        smooth_row(room->half + y * ld, room->line, a->smooth, terms, W);
    }
    for (int64_t y = 0; y < H; y++) {
        const int64_t begin = y < radius ? radius - y : 0, end = H - y + radius < terms ? H - y + radius : terms;
        for (int64_t x = 0; x < W; x += VL) {
            vec sum = {0};
            for (int64_t k = begin; k < end; k++) {
                sum = vfma(vset1((real)a->smooth[k]), vload(room->half + (y + k - radius) * ld + x), sum);
            }
            vstore(field + y * ld + x, sum * (real)a->alpha);
        }
    }
}

/* A coordinate of the first of 16 pixels, split into an integer and a fraction. */
INLINE int64_t split(double coordinate, real *fraction) {
    const double far = 1 << 22; /* outside of every image, and exact in the working dtype */
    coordinate = coordinate < -far ? -far : coordinate > far ? far : coordinate;
    int64_t whole = (int64_t)coordinate;
    whole -= coordinate < (double)whole;
    *fraction = (real)(coordinate - (double)whole);
    return whole;
}

/* t as an integer, rounded down, and a fraction; `first` + t is clamped to -1 .. size. */
INLINE ivec split_lanes(vec t, int64_t first, int64_t size, vec *fraction) {
    t = vmin(vmax(t, vset1((real)(-1 - first))), vset1((real)(size - first)));
    ivec whole = __builtin_convertvector(t, ivec);
    whole += t < __builtin_convertvector(whole, vec);
    *fraction = t - __builtin_convertvector(whole, vec);
    return whole;
}

/* VL elements of a row of the result, from those of `plane` around whole + fraction. */
INLINE vec bilinear(const real *plane, ivec index, int64_t C, int64_t pitch, vec y, vec x) {
    const vec one = vset1(1);
    const vec top = vfma(vgather(plane + C, index), x, vgather(plane, index) * (one - x));
    const vec bottom = vfma(vgather(plane + pitch + C, index), x, vgather(plane + pitch, index) * (one - x));
    return vfma(bottom, y, top * (one - y));
}

static void resample_row(const augment_room *room, const real *plane, const double m[6], int64_t y) {
    const fr_augment *a = room->a;
    const int64_t H = a->height, W = a->width, C = a->channels, pitch = room->pitch;
    const vec m0 = vset1((real)m[0]), m1 = vset1((real)m[1]), m3 = vset1((real)m[3]), m4 = vset1((real)m[4]);
    for (int64_t begin = 0; begin < W * C; begin += 16 * C) {
        const double x = (double)(begin / C);
        real y_fraction, x_fraction;
        const int64_t y_first = split(m[0] * (double)y + m[1] * x + m[2], &y_fraction);
        const int64_t x_first = split(m[3] * (double)y + m[4] * x + m[5], &x_fraction);
        for (int64_t j = begin; j < begin + 16 * C; j += VL) {
            vec step = vload(room->step + j), ty = vset1(y_fraction), tx = vset1(x_fraction);
            if (a->smooth) {
                const ivec pixel = *(const ivec *)(room->pixel + j);
                const vec dy = vgather(room->field[0] + y * room->ld, pixel);
                step += vgather(room->field[1] + y * room->ld, pixel);
                ty = vfma(m0, dy, ty);
                tx = vfma(m3, dy, tx);
            }
            ty = vfma(m1, step, ty);
            tx = vfma(m4, step, tx);
            const ivec row = split_lanes(ty, y_first, H, &ty) + (ireal)(y_first + 1);
            const ivec column = split_lanes(tx, x_first, W, &tx) + (ireal)(x_first + 1);
            const ivec index = row * (ireal)pitch + column * (ireal)C + *(const ivec *)(room->channel + j);
            vstore(room->row + j, bilinear(plane, index, C, pitch, ty, tx));
        }
    }
}

/* Whether there is more to do than to cut out. */
INLINE int resamples(const fr_augment *a) { return a->smooth || (a->count > 0 && a->transform[0].kind != FR_CUTOUT); }

static void resample_image(real *x, const augment_room *room, const fr_worker *w, uint32_t position) {
    const uint32_t epoch = w->feed->epoch;
    const fr_augment *a = room->a;
    const int64_t H = a->height, C = a->channels, WC = a->width * C, pitch = room->pitch, plane = (H + 3) * pitch;
    const size_t bytes = (size_t)WC * sizeof(real);
    double m[6];
    fr_augment_map(m, a, w->feed->seed, epoch, position);
    if (a->smooth) {
        for (int i = 0; i < 2; i++) {
            const uint32_t stream = a->stream + 1 + (uint32_t)i;
            displace(room->field[i], room, (draw_place){&w->keys, .row = position, .step = epoch, .stream = stream});
        }
    }
    for (int64_t p = 0; p < a->planes; p++) {
        for (int64_t y = 0; y < H; y++) {
            memcpy(room->image + p * plane + (y + 1) * pitch + C, x + (p * H + y) * WC, bytes);
        }
    }
    for (int64_t p = 0; p < a->planes; p++) {
        for (int64_t y = 0; y < H; y++) {
            resample_row(room, room->image + p * plane, m, y);
            memcpy(x + (p * H + y) * WC, room->row, bytes);
        }
    }
}

static void cut_out(real *x, const fr_augment *a, const fr_cut_region *cut) {
    const int64_t H = a->height, C = a->channels, WC = a->width * C;
    const size_t bytes = (size_t)((cut->right - cut->left) * C) * sizeof(real);
    for (int64_t p = 0; p < a->planes; p++) {
        for (int64_t y = cut->top; y < cut->bottom; y++) memset(x + (p * H + y) * WC + cut->left * C, 0, bytes);
    }
}

/* Puts the augmented image of this position of the epoch in the place of the one in `x`. */
static void augment_image(real *x, const augment_room *room, const fr_worker *w, uint32_t position) {
    const fr_augment *a = room->a;
    if (resamples(a)) resample_image(x, room, w, position);
    for (int number = 0; number < a->count; number++) {
        const fr_cut_region cut = fr_augment_cut(a, number, w->feed->seed, w->feed->epoch, position);
        cut_out(x, a, &cut);
    }
}

#endif
