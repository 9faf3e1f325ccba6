/* The affine map of an augmented image, and its cutouts. Plain scalar C without fused operations and without the system's libm, so every
 * machine gives the same bits; fastreg/reference/augment.py does the same in NumPy.
 */
#include "augment.h"
#include "philox_keys.h"

static int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

fr_augment_room fr_augment_layout(const fr_augment *a) {
    const int64_t row = round16(a->width) * a->channels;
    fr_augment_room room = {.ld = round16(a->width)};
    int64_t next = 0;
#define TAKE(part, elements) (room.part = next, next += round16(elements))
    TAKE(image, a->planes * (a->height + 3) * (a->width + 3) * a->channels);
    TAKE(row, row);
    TAKE(step, row);
    TAKE(pixel, row);
    TAKE(channel, row);
    if (a->smooth) {
        TAKE(draws, a->height * a->width + FR_PANEL);
        TAKE(line, room.ld + 2 * a->radius);
        TAKE(half, a->height * room.ld);
        TAKE(field[0], a->height * room.ld);
        TAKE(field[1], a->height * room.ld);
    }
#undef TAKE
    room.size = next;
    return room;
}

/* Sine and cosine of at most 360 degrees either way: exact at multiples of 90, else to the last place or so. */
static void sine_cosine(double degrees, double *sine, double *cosine) {
    const int quarters = (int)(degrees / 90 + (degrees < 0 ? -0.5 : 0.5));
    const double x = (degrees - 90 * quarters) * 0.017453292519943295, q = x * x;
    double s = 1, c = 1; /* Taylor's series, from the small end: |x| is at most pi / 4 */
    for (int k = 16; k >= 2; k -= 2) {
        s = 1 - q / (k * (k + 1)) * s;
        c = 1 - q / (k * (k - 1)) * c;
    }
    s *= x;
    switch (quarters & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}

/* The four draws of a transform. Its number in the list is the first word of the counter. */
static void draws_of(uint32_t words[4], const fr_augment *a, int number, uint64_t seed, uint32_t epoch,
                     uint32_t position) {
    const uint32_t counter[4] = {(uint32_t)number, position, epoch, a->stream};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    fr_philox(words, counter, key, FR_PHILOX_ROUNDS);
}

static double unit(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

/* The map of one transform, about the centre: y' = s[0] y + s[1] x + s[2], x' = s[3] y + s[4] x + s[5]. */
static void map_of(double s[6], const fr_augment *a, int number, uint64_t seed, uint32_t epoch, uint32_t position) {
    const fr_transform *t = &a->transform[number];
    const double H = (double)a->height, W = (double)a->width;
    uint32_t words[4];
    double u[4], sine, cosine;
    draws_of(words, a, number, seed, epoch, position);
    for (int i = 0; i < 4; i++) u[i] = unit(words[i]);
    const double amount = t->low + (t->high - t->low) * u[0];
    s[0] = s[4] = 1;
    s[1] = s[2] = s[3] = s[5] = 0;
    switch (t->kind) {
    case FR_ROTATE:
        sine_cosine(amount, &sine, &cosine);
        s[0] = s[4] = cosine, s[1] = sine, s[3] = -sine;
        break;
    case FR_TRANSLATE:
        s[2] = -amount * H;
        s[5] = -(t->low + (t->high - t->low) * u[1]) * W;
        break;
    case FR_RESIZE: s[0] = s[4] = 1 / amount; break;
    case FR_CROP:
        s[0] = s[4] = amount;
        s[2] = (1 - amount) * H * (u[1] - 0.5);
        s[5] = (1 - amount) * W * (u[2] - 0.5);
        break;
    case FR_SHEAR:
        sine_cosine(amount, &sine, &cosine);
        s[3] = sine / cosine;
        break;
    case FR_FLIP_HORIZONTAL:
        if (u[0] < t->low) s[4] = -1;
        break;
    case FR_FLIP_VERTICAL:
        if (u[0] < t->low) s[0] = -1;
        break;
    }
}

void fr_augment_map(double m[6], const fr_augment *a, uint64_t seed, uint32_t epoch, uint32_t position) {
    double c[6] = {1, 0, 0, 0, 1, 0}; /* the product of the maps, the first transform's first: it is undone last */
    for (int number = 0; number < a->count; number++) {
        double s[6], p[6];
        map_of(s, a, number, seed, epoch, position);
        for (int row = 0; row < 6; row += 3) {
            p[row] = c[row] * s[0] + c[row + 1] * s[3];
            p[row + 1] = c[row] * s[1] + c[row + 1] * s[4];
            p[row + 2] = c[row] * s[2] + c[row + 1] * s[5] + c[row + 2];
        }
        for (int i = 0; i < 6; i++) c[i] = p[i];
    }
    const double y = 0.5 * (double)(a->height - 1), x = 0.5 * (double)(a->width - 1);
    for (int i = 0; i < 6; i++) m[i] = c[i];
    m[2] = c[2] + y - (c[0] * y + c[1] * x);
    m[5] = c[5] + x - (c[3] * y + c[4] * x);
}

/* Where a square of `size` pixels begins and ends whose middle is any pixel of a side, cut off at its ends. */
static void cut_side(int64_t *begin, int64_t *end, int64_t size, int64_t side, uint32_t word) {
    const int64_t middle = (int64_t)((uint64_t)word * (uint64_t)side >> 32), first = middle - size / 2;
    *begin = first < 0 ? 0 : first;
    *end = first + size < side ? first + size : side;
}

fr_cut_region fr_augment_cut(const fr_augment *a, int number, uint64_t seed, uint32_t epoch, uint32_t position) {
    fr_cut_region cut = {0};
    const fr_transform *t = &a->transform[number];
    uint32_t words[4];
    if (t->kind != FR_CUTOUT) return cut;
    draws_of(words, a, number, seed, epoch, position);
    if (unit(words[0]) >= t->low) return cut;
    cut_side(&cut.top, &cut.bottom, (int64_t)t->high, a->height, words[1]);
    cut_side(&cut.left, &cut.right, (int64_t)t->high, a->width, words[2]);
    return cut;
}
