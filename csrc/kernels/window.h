/* Windows on images: where the values of a window lie, and images with a border of zeros around them.
 *
 * An image is a row of a buffer: lines of pixels, whose channels are adjacent. The values that a window covers are then
 * `height` runs of contiguous values, one from each line. So nothing is unfolded: products read windows where they lie, in
 * the image or in a canvas, a copy of some of its lines in the scratch of the worker that also has the border.
 */
#ifndef FR_WINDOW_H
#define FR_WINDOW_H

#include <string.h>

#include "../worker.h"
#include "vec.h"

enum { CANVAS = 32 * 1024 }; /* elements of a canvas, unless a single band of lines needs more */

/* Windows as a product sees them. The pixels of the image may lie `apart` on the canvas, with zeros between them. */
typedef struct {
    fr_window at;
    int64_t apart_down, apart_right;
    int64_t run, runs; /* contiguous values of a window; their number */
    int64_t line;      /* from a line of the canvas to the next */
    int in_place;      /* the image is its own canvas */
} windows;

INLINE windows windows_of(const fr_window *window, int64_t apart_down, int64_t apart_right) {
    windows s = {.at = *window, .apart_down = apart_down, .apart_right = apart_right};
    const int64_t down = (s.at.down - 1) * s.at.step_down + s.at.height;
    const int64_t across = (s.at.across - 1) * s.at.step_right + s.at.width;
    s.run = s.at.width * s.at.channels, s.runs = s.at.height;
    s.in_place = s.at.top == 0 && s.at.left == 0 && apart_down == 1 && apart_right == 1 && down <= s.at.image_height &&
                 across <= s.at.image_width;
    s.line = (s.in_place ? s.at.image_width : across) * s.at.channels;
    return s;
}

/* The windows whose products with the flipped kernel are the gradient at the image: on the gradient at the products, its
 * pixels as far apart as the windows were, they have every place of the image. */
INLINE windows flipped_windows(const fr_window *window, int64_t units) {
    const fr_window flipped = {
        .image_height = window->down,
        .image_width = window->across,
        .channels = units,
        .height = window->height,
        .width = window->width,
        .step_down = 1,
        .step_right = 1,
        .top = window->height - 1 - window->top,
        .left = window->width - 1 - window->left,
        .down = window->image_height,
        .across = window->image_width,
    };
    return windows_of(&flipped, window->step_down, window->step_right);
}

/* Of the lines of windows, or the pixels of such a line, from the first to the last: the part of 0 .. count - 1 in which the
 * value `offset` of a window (its line, or its pixel) may lie in the image, which has `side` lines (pixels) `apart` on the
 * canvas after a border of `before`. Elsewhere it is 0 and leaves sums as they are. */
INLINE fr_range inside(int64_t lowest, int64_t highest, int64_t step, int64_t before, int64_t side, int64_t count) {
    const int64_t begin = before - highest, end = side + before - lowest; /* step * place is from begin to before end */
    const int64_t from = begin <= 0 ? 0 : (begin + step - 1) / step, to = end <= 0 ? 0 : (end - 1) / step + 1;
    return (fr_range){from, to < count ? to : count};
}

/* The lines of a canvas under so many lines of windows. */
INLINE int64_t canvas_lines(const windows *s, int64_t lines) { return (lines - 1) * s->at.step_down + s->at.height; }

/* Lines of windows that are done together: as many as the canvas has room for, a multiple of `unit` or all. */
INLINE int64_t band_of(const windows *s, int64_t unit) {
    const int64_t fit = (CANVAS / s->line - s->at.height) / s->at.step_down + 1;
    const int64_t lines = fit < 1 ? unit : (fit + unit - 1) / unit * unit;
    return lines < s->at.down ? lines : s->at.down;
}

/* Elements of the canvas for such a band. */
INLINE int64_t canvas_size(const windows *s, int64_t lines) {
    return s->in_place ? 0 : canvas_lines(s, lines) * s->line;
}

/* What the windows of the lines `first` .. `first` + `lines` - 1 cover, of an image; its lines are s->line apart. */
static const real *canvas_of(const windows *s, real *canvas, const real *image, int64_t first, int64_t lines) {
    const int64_t C = s->at.channels, wide = s->at.image_width;
    if (s->in_place) return image + first * s->at.step_down * s->line;
    for (int64_t t = 0; t < canvas_lines(s, lines); t++) {
        real *out = canvas + t * s->line;
        const int64_t below = first * s->at.step_down + t - s->at.top, y = below / s->apart_down;
        if (below < 0 || below % s->apart_down || y >= s->at.image_height) {
            memset(out, 0, sizeof(real) * (size_t)s->line);
            continue;
        }
        const real *in = image + y * wide * C;
        const int64_t border = s->at.left * C, room = s->line - border;
        if (s->apart_right == 1) {
            const int64_t count = wide * C < room ? wide * C : room;
            memset(out, 0, sizeof(real) * (size_t)border);
            memcpy(out + border, in, sizeof(real) * (size_t)count);
            memset(out + border + count, 0, sizeof(real) * (size_t)(room - count));
            continue;
        }
        memset(out, 0, sizeof(real) * (size_t)s->line);
        for (int64_t x = 0; x < wide && x * s->apart_right * C < room; x++) {
            memcpy(out + border + x * s->apart_right * C, in + x * C, sizeof(real) * (size_t)C);
        }
    }
    return canvas;
}

#endif
