/* How the result of a product is divided among the workers: in pieces of some columns by some groups of rows.
 *
 * Tiles are one panel by one group, which tiles.h hands out. A short op whose weight is near, with a panel's columns or more for
 * every worker, gives each an equal share in columns instead: what it writes of a weight it reads again in the next step, so
 * where shares end within a panel, lines of it would go from one worker's cache to another's and back.
 */
#ifndef FR_DIVISION_H
#define FR_DIVISION_H

#include "../worker.h"
#include "tiles.h"
#include "vec.h"

enum { UNIT = 16 }; /* columns that are not cut: a line of float32, and what rows are padded to */

/* columns column .. column + columns - 1 of the groups of rows first .. last - 1; tile: its number, -1 if it has none */
typedef struct {
    int64_t column, columns, first, last, tile;
} piece;

typedef struct {
    fr_tiles tiles;
    int64_t columns, groups; /* of the result; of its rows */
    int by_rows;             /* tiles of a group of rows follow each other, not those of a panel */
    int in_columns;          /* shares end between units of columns, which lie one after the other, cut into groups */
    int64_t at, end;         /* of this worker's: unit * groups + group */
} division;

/* Long enough for the counter's cost not to show, and for a neighbour's interruption to hurt. */
INLINE int is_long(int64_t flops, int workers) { return flops / workers > 30 * 1000 * 1000; }

/* Whether a weight with so many elements comes from beyond the second-level caches. */
INLINE int is_far(int64_t elements) { return elements > 512 * 1024; }

/* Whether an op is divided in columns: where there is a panel for every worker. */
INLINE int shares_columns(const fr_worker *w, int64_t columns, int dynamic, int far) {
    return !dynamic && !far && !w->scramble && columns >= FR_PANEL * w->n;
}

INLINE division divide_columns(const fr_worker *w, int64_t columns, int64_t groups) {
    const fr_range mine = fr_share(w, (columns + UNIT - 1) / UNIT * groups);
    return (division){.columns = columns, .groups = groups, .in_columns = 1, .at = mine.begin, .end = mine.end};
}

INLINE division divide_tiles(int64_t columns, int64_t groups, int dynamic, int own, int by_rows) {
    const int64_t panels = panels_of(columns), last = panel_columns(columns, (panels - 1) * FR_PANEL);
    division d = {.columns = columns, .groups = groups, .by_rows = by_rows};
    if (by_rows) {
        d.tiles = (fr_tiles){.panels = groups, .groups = panels, .weight = 1, .last = 1};
    } else {
        const int64_t weight = FR_PANEL / UNIT;
        d.tiles = (fr_tiles){.panels = panels, .groups = groups, .weight = weight, .last = (last + UNIT - 1) / UNIT};
    }
    d.tiles.dynamic = dynamic, d.tiles.own = own;
    return d;
}

/* The piece that is a tile. */
INLINE piece piece_of(const division *d, int64_t tile) {
    const int64_t outer = tile / d->tiles.groups, inner = tile % d->tiles.groups;
    const int64_t column = (d->by_rows ? inner : outer) * FR_PANEL, group = d->by_rows ? outer : inner;
    return (piece){column, panel_columns(d->columns, column), group, group + 1, tile};
}

/* The next piece of a share in columns: the rest of a unit that an earlier worker has begun, panels of whole units, the
 * beginning of a unit. Five units make panels of three and two: one is too narrow to hide the latency of its sums. */
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

/* The next piece of this worker; 0: there is none. */
INLINE int next_piece(fr_worker *w, division *d, piece *p) {
    if (d->in_columns) return next_in_columns(d, p);
    const int64_t tile = fr_next_tile(w, &d->tiles);
    if (tile >= 0) *p = piece_of(d, tile);
    return tile >= 0;
}

#endif
