/* What augment.c and kernels/augment.h share: where a position takes its pixel from, and a worker's room. Internal.
 *
 * Letters: H rows and W columns of an image, C its interleaved channels, WC = W * C elements of a row of it.
 */
#ifndef FR_AUGMENT_H
#define FR_AUGMENT_H

#include "fastreg.h"

/* Where the parts of a worker's room begin, in elements of the working dtype (indices are as wide), each at a multiple of
 * 16; ld elements from one row of a displacement field to the next. */
typedef struct {
    int64_t image;                /* planes of (H + 3) x (W + 3) x C: the image with a border of zeros */
    int64_t row;                  /* WC: a row of the result; W rounded up to 16 here and below */
    int64_t step, pixel, channel; /* WC each: of every element of a row */
    int64_t draws;                /* H * W numbers of 16 bits */
    int64_t line;                 /* a row of draws between zeros */
    int64_t half;                 /* H x ld: smoothed along the rows */
    int64_t field[2];             /* H x ld: displacements down and to the right */
    int64_t ld, size;
} fr_augment_room;

fr_augment_room fr_augment_layout(const fr_augment *augment);

/* The map from positions of the augmented image to those of the stored one:
 * y' = m[0] y + m[1] x + m[2], x' = m[3] y + m[4] x + m[5]. */
void fr_augment_map(double m[6], const fr_augment *augment, uint64_t seed, uint32_t epoch, uint32_t position);

/* The part of an image that a cutout sets to 0: these rows and columns, none where it is not drawn. */
typedef struct {
    int64_t top, bottom, left, right; /* bottom and right are those after the last */
} fr_cut_region;

fr_cut_region fr_augment_cut(const fr_augment *augment, int number, uint64_t seed, uint32_t epoch, uint32_t position);

#endif
