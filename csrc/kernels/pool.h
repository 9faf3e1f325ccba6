/* pool:    out = dropout(the maximum, or the mean, of every window), by channel. The border counts in neither.
 * pool_dx: out = or += through'(the gradient at the image). That of a maximum goes to the first place of the window that
 *          has it; where windows overlap, gradients are added in the order of the windows.
 *
 * Workers take equal shares of the rows. A mean is a sum of the sums of the window's lines.
 */
#ifndef FR_POOL_H
#define FR_POOL_H

#include "activation.h"
#include "window.h"

/* What a window covers of the image. */
typedef struct {
    int64_t top, bottom, left, right;
} pool_area;

INLINE pool_area area_of(const fr_window *w, int64_t i, int64_t j) {
    const int64_t top = i * w->step_down - w->top, left = j * w->step_right - w->left;
    return (pool_area){
        .top = top > 0 ? top : 0,
        .bottom = top + w->height < w->image_height ? top + w->height : w->image_height,
        .left = left > 0 ? left : 0,
        .right = left + w->width < w->image_width ? left + w->width : w->image_width,
    };
}

/* How windows lie. */
typedef struct {
    int64_t
        band; /* lines of windows done at a time: in the nearest cache, if they end with a panel and with their windows */
    int tiled; /* every place is in one window */
    int pairs; /* of 2 x 2 */
} pool_way;

INLINE pool_way pool_way_of(const fr_window *at) {
    const int64_t line = at->step_down * at->image_width * at->channels;
    const int apart = at->top == 0 && at->left == 0 && at->height <= at->step_down && at->width <= at->step_right;
    pool_way way = {.band = at->down};
    if (apart && at->down * at->step_down <= at->image_height) {
        for (int64_t lines = 1; lines < at->down; lines++) {
            if (lines * line % FR_PANEL == 0) {
                way.band = lines;
                break;
            }
        }
    }
    way.tiled = apart && at->height == at->step_down && at->width == at->step_right &&
                at->down * at->height == at->image_height && at->across * at->width == at->image_width;
    way.pairs = way.tiled && at->height == 2 && at->width == 2;
    return way;
}

INLINE real share_of_mean(const pool_area *a) { return (real)1 / (real)((a->bottom - a->top) * (a->right - a->left)); }

/* Channels are done a vector at a time, then one by one. This is the code of both: `V` is vec or real. */
#define POOL_CHANNELS(V, LOAD, STORE, CHOOSE, STEP, END)                                                               \
    for (; c + (STEP) <= (END); c += (STEP)) {                                                                         \
        V result = {0};                                                                                                \
        for (int64_t y = a.top; y < a.bottom; y++) {                                                                   \
            V sum = {0};                                                                                               \
            for (int64_t x = a.left; x < a.right; x++) {                                                               \
                const V here = LOAD(image + (y * wide + x) * C + c);                                                   \
                if (average) sum += here;                                                                              \
                else if (y == a.top && x == a.left) result = here;                                                     \
                else result = CHOOSE(here, result);                                                                    \
            }                                                                                                          \
            if (average) result += sum;                                                                                \
        }                                                                                                              \
        STORE(out + c, average ? result * share : result);                                                             \
    }

/* The larger; the first of them where one is NaN, which stays. */
INLINE vec larger(vec here, vec best) { return vselect(~(here <= best) & (best == best), here, best); }
INLINE real larger_real(real here, real best) { return !(here <= best) && best == best ? here : best; }
INLINE real load_real(const real *p) { return *p; }
INLINE void store_real(real *p, real x) { *p = x; }

INLINE void pool_image(real *out, const real *image, const fr_window *w, const int average, const int pairs) {
    const int64_t C = w->channels, wide = w->image_width;
    for (int64_t i = 0; i < w->down; i++) {
        for (int64_t j = 0; j < w->across; j++, out += C) {
            const pool_area a = pairs ? (pool_area){2 * i, 2 * i + 2, 2 * j, 2 * j + 2} : area_of(w, i, j);
            const real share = share_of_mean(&a);
            int64_t c = 0;
            POOL_CHANNELS(vec, vload, vstore, larger, VL, C)
            POOL_CHANNELS(real, load_real, store_real, larger_real, 1, C)
        }
    }
}

static void op_pool(fr_worker *w) {
    const fr_pool_op *op = &w->op->pool;
    const int64_t N = op->window.down * op->window.across * op->window.channels;
    const int pairs = pool_way_of(&op->window).pairs;
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *image = (const real *)op->x.data + row * op->x.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        if (op->average) pool_image(out, image, &op->window, 1, 0);
        else if (pairs) pool_image(out, image, &op->window, 0, 1);
        else pool_image(out, image, &op->window, 0, 0);
        for (int64_t column = 0; masked_as(&op->mask) && column < N; column += FR_PANEL) {
            const row_part part = part_of_row(w, row, column, panel_columns(N, column));
            forward_row(out + column, out + column, FR_LINEAR, &op->mask, &part);
        }
    }
}

/* The gradient of a window goes to the first place that has the maximum, channel by channel. Where no two windows cover
 * one place, it is what they leave there, else it is added. */
INLINE void unpool_maximum(real *dx, const real *image, const real *dy, const pool_area *a, int64_t wide, int64_t C,
                           const int adds) {
    int64_t c = 0;
    for (; c + VL <= C; c += VL) {
        vec most = vload(image + (a->top * wide + a->left) * C + c);
        for (int64_t y = a->top; y < a->bottom; y++) {
            for (int64_t x = a->left; x < a->right; x++) most = larger(vload(image + (y * wide + x) * C + c), most);
        }
        const vec d = vload(dy + c);
        ivec open = viset1(-1);
        for (int64_t y = a->top; y < a->bottom; y++) {
            for (int64_t x = a->left; x < a->right; x++) {
                const int64_t place = (y * wide + x) * C + c;
                const vec here = vload(image + place);
                const ivec is = open & ((here == most) | (here != here)); /* NaN is a maximum */
                const vec share = vkeep(is, d);
                vstore(dx + place, adds ? vload(dx + place) + share : share);
                open &= ~is;
            }
        }
    }
    for (; c < C; c++) {
        int64_t best = (a->top * wide + a->left) * C + c;
        for (int64_t y = a->top; y < a->bottom; y++) {
            for (int64_t x = a->left; x < a->right; x++) {
                const int64_t place = (y * wide + x) * C + c;
                if (!adds) dx[place] = 0;
                if (!(image[place] <= image[best]) && image[best] == image[best]) best = place;
            }
        }
        dx[best] += dy[c];
    }
}

/* Its share of the gradient goes to every place of the window. */
INLINE void unpool_mean(real *dx, const real *dy, const pool_area *a, int64_t wide, int64_t C) {
    const real share = share_of_mean(a);
    for (int64_t y = a->top; y < a->bottom; y++) {
        for (int64_t x = a->left; x < a->right; x++) {
            real *to = dx + (y * wide + x) * C;
            int64_t c = 0;
            for (; c + VL <= C; c += VL) vstore(to + c, vload(to + c) + vload(dy + c) * share);
            for (; c < C; c++) to[c] += dy[c] * share;
        }
    }
}

static void op_pool_dx(fr_worker *w) {
    const fr_pool_dx_op *op = &w->op->pool_dx;
    const fr_window *at = &op->window;
    const pool_way way = pool_way_of(at);
    const int64_t C = at->channels, wide = at->image_width, N = at->image_height * wide * C;
    const int64_t line = at->step_down * wide * C;
    real *dx = (real *)w->scratch;
    const fr_range mine = fr_share_of_rows(w);
    for (int64_t row = mine.begin; row < mine.end && fr_goes_on(w); row++) {
        const real *image = (const real *)op->x.data + row * op->x.ld;
        const real *dy = (const real *)op->dz.data + row * op->dz.ld;
        real *out = (real *)op->out.data + row * op->out.ld;
        for (int64_t first = 0; first < at->down; first += way.band) {
            const int64_t last = first + way.band < at->down ? first + way.band : at->down;
            const int64_t begin = first * line, end = last < at->down ? last * line : N; /* of the row */
            real *to = dx - begin;
            if (op->average || !way.tiled) memset(dx, 0, sizeof(real) * (size_t)(end - begin));
            for (int64_t i = first; i < last; i++) {
                for (int64_t j = 0; j < at->across; j++, dy += C) {
                    const pool_area a = area_of(at, i, j);
                    const pool_area pair = {2 * i, 2 * i + 2, 2 * j, 2 * j + 2};
                    if (op->average) unpool_mean(to, dy, &a, wide, C);
                    else if (way.pairs) unpool_maximum(to, image, dy, &pair, wide, C, 0);
                    else if (way.tiled) unpool_maximum(to, image, dy, &a, wide, C, 0);
                    else unpool_maximum(to, image, dy, &a, wide, C, 1);
                }
            }
            for (int64_t column = begin; column < end; column += FR_PANEL) {
                const row_part part = part_of_row(w, row, column, panel_columns(end, column));
                pass_back(out + column, to + column, &op->through, op->add, &part);
            }
        }
    }
}

INLINE size_t pool_dx_scratch_bytes(const fr_window *at) {
    return sizeof(real) * (size_t)(at->image_height * at->image_width * at->channels + FR_PANEL);
}

#endif
