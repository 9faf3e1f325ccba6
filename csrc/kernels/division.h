/* How the result of a product is divided among the workers: in pieces of some columns by some groups of rows.
 *
 * Usually a piece is a tile, one panel by one group of rows, and tiles.h hands it out. A short op gives every worker an
 * equal share in columns instead, if the weight is near and there is a panel of columns for every worker. A worker then
 * reads in the next step what it wrote in this one. With tiles, two workers would share a panel, and lines of it would
 * move from one cache to the other and back.
 */
#ifndef FR_DIVISION_H
#define FR_DIVISION_H

#include "../worker.h"
#include "tiles.h"
#include "vec.h"

enum { UNIT = FR_LANES }; /* columns that stay together: a cache line of float32, and what rows are padded to */

/* Columns column .. column + columns - 1 of the groups of rows first .. last - 1. tile: its number, if it is a tile, or -1. */
typedef struct {
    int64_t column, columns, first, last, tile;
} piece;

typedef struct {
    fr_tiles tiles;
    int64_t columns, groups; /* of the result; of its rows */
    int by_rows;             /* the tiles of a group of rows are consecutive, else those of a panel */
    int64_t across;          /* and of so many panels: all groups of a block of panels come before the next block */
    int in_columns;  /* shares are counted in units of columns, each cut into groups, one unit after the other */
    int64_t at, end; /* of this worker's share, in unit * groups + group */
} division;

/* Long enough for the cost of the counter not to matter, and for an interrupted worker to hold up the others. */
INLINE int is_long(int64_t flops, int workers) { return flops / workers > 30 * 1000 * 1000; }

/* Whether a weight of this size comes from beyond the second-level caches. */
INLINE int is_far(int64_t elements) { return elements > 512 * 1024; }

/* Whether an op is divided in columns. */
INLINE int shares_columns(const fr_worker *w, int64_t columns, int dynamic, int far) {
    return !dynamic && !far && !w->scramble && columns >= FR_PANEL * w->n;
}

INLINE division divide_columns(const fr_worker *w, int64_t columns, int64_t groups) {
    const fr_range mine = fr_share(w, (columns + UNIT - 1) / UNIT * groups);
    return (division){.columns = columns, .groups = groups, .in_columns = 1, .at = mine.begin, .end = mine.end};
}

INLINE division divide_tiles(int64_t columns, int64_t groups, int dynamic, int own, int by_rows) {
    const int64_t panels = panels_of(columns), last = panel_columns(columns, (panels - 1) * FR_PANEL);
    division d = {.columns = columns, .groups = groups, .by_rows = by_rows, .across = panels};
    if (by_rows) {
        d.tiles = (fr_tiles){.panels = groups, .groups = panels, .weight = 1, .last = 1};
    } else {
        const int64_t weight = FR_PANEL / UNIT;
        d.tiles = (fr_tiles){.panels = panels, .groups = groups, .weight = weight, .last = (last + UNIT - 1) / UNIT};
    }
    d.tiles.dynamic = dynamic, d.tiles.own = own;
    return d;
}

/* By rows, in blocks of at most `most` panels. */
INLINE division divide_blocks(int64_t columns, int64_t groups, int dynamic, int64_t most) {
    division d = divide_tiles(columns, groups, dynamic, 0, 1);
    const int64_t panels = panels_of(columns), blocks = (panels + most - 1) / most;
    d.across = (panels + blocks - 1) / blocks;
    return d;
}

/* The piece that a tile is. */
INLINE piece piece_of(const division *d, int64_t tile) {
    int64_t panel = tile / d->tiles.groups, group = tile % d->tiles.groups;
    if (d->by_rows) {
        const int64_t block = tile / (d->across * d->groups), first = block * d->across;
        const int64_t left = panels_of(d->columns) - first, across = left < d->across ? left : d->across;
        const int64_t within = tile - first * d->groups;
        group = within / across, panel = first + within % across;
    }
    const int64_t column = panel * FR_PANEL;
    return (piece){column, panel_columns(d->columns, column), group, group + 1, tile};
}

/* The next piece of a share in columns. First comes the rest of a unit that an earlier worker began, then panels of
 * whole units, then the beginning of a unit. Five units make panels of three and two, because a panel of one unit is
 * too narrow to hide the latency of its sums. */
INLINE int next_in_columns(division *d, piece *p) {
    if (d->at >= d->end) return 0;
    const int64_t unit = d->at / d->groups, group = d->at % d->groups, left = d->end - d->at;
    int64_t units = 1, groups = d->groups - group < left ? d->groups - group : left;
    if (groups == d->groups) {
        const int64_t whole = left / groups;
        units = whole == 5 ? 3 : whole < FR_PANEL / UNIT ? whole : FR_PANEL / UNIT;
    }
    const int64_t column = unit * UNIT, columns = d->columns - column;
    *p = (piece){column, columns < units * UNIT ? columns : units * UNIT, group, group + groups, -1};
    d->at += units * groups;
    return 1;
}

/* The next piece of this worker; returns 0 if there is none. */
INLINE int next_piece(fr_worker *w, division *d, piece *p) {
    if (d->in_columns) return next_in_columns(d, p);
    const int64_t tile = fr_next_tile(w, &d->tiles);
    if (tile >= 0) *p = piece_of(d, tile);
    return tile >= 0;
}

#endif
