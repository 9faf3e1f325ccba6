/* Units that dropout has dropped for whole groups of rows, so that products can leave them out.
 *
 * Where a mask has one draw for a group of rows (fr_mask.group), a dropped unit is 0 in all of them. Its terms change no
 * sum, and what is computed for it is thrown away. So the products of a group are those of a smaller net. No bit depends
 * on it, as long as the weights are finite: every sum has the same terms in the same order, but for additions of 0.
 *
 * What belongs here: which units a group keeps. The products are in gemm.h and dense_dw.h.
 */
#ifndef FR_KEPT_H
#define FR_KEPT_H

#include "../worker.h"
#include "activation.h"
#include "philox.h"
#include "vec.h"

enum {
    KEPT_WORDS = 8192, /* of 64 columns: for so many panels of all groups of a batch there is room */
    LEAST_GROUP = 16,  /* rows: fewer do not fill a vector */
};

/* The groups of the rows of an op, which share their draws. */
typedef struct {
    uint32_t size, line; /* rows of a group; the coordinate of row 0 of the buffers in the draws */
    uint32_t first;      /* the coordinate of the first group there */
    fr_range rows;
    int64_t count, padded; /* of groups; the most rows that one has here, up to a whole number of FR_LANES */
} row_groups;

/* The units that each group keeps. */
typedef struct {
    int64_t panels;            /* 0: all of them */
    uint64_t word[KEPT_WORDS]; /* a bit for each: panel by panel, group by group */
} kept_units;

/* The columns of a panel that are kept, a bit for each. */
INLINE uint64_t kept_of_draws(const uint16_t *draws, uint32_t threshold) {
#ifdef HAVE_AVX512
    if (threshold == 0) return 0;
    const __m512i most = _mm512_set1_epi16((short)(threshold - 1)); /* which fits into 16 bits */
    const uint64_t low = _mm512_cmple_epu16_mask(_mm512_loadu_si512(draws), most);
    return low | (uint64_t)_mm512_cmple_epu16_mask(_mm512_loadu_si512(draws + 32), most) << 32;
#else
    uint64_t kept = 0;
    for (int j = 0; j < FR_PANEL; j++) kept |= (uint64_t)(draws[j] < threshold) << j;
    return kept;
#endif
}

/* Whether a mask drops units in all rows of a group alike. */
INLINE int drops_units(const fr_mask *mask) { return mask->group > 1 && mask->threshold < 65536 && mask->std == 0; }

/* Whether leaving out pays in a product of that many terms and columns. */
INLINE int pays_to_skip(const fr_worker *w, const fr_mask *terms, const fr_mask *columns, int64_t K, int64_t N) {
    if (!fr_tunes(w, FR_SKIP) || (!drops_units(terms) && !drops_units(columns))) return 0;
    const int64_t rows = w->batch.rows, group = (drops_units(terms) ? terms : columns)->group;
    const int64_t tall = group < rows ? group : rows;
    return tall >= LEAST_GROUP && K * N * rows >= 1 << 20 && K >= FR_PANEL && N >= FR_PANEL;
}

INLINE int64_t padded_rows(int64_t rows) { return (rows + FR_LANES - 1) / FR_LANES * FR_LANES; }

/* The groups of the current op, which has rows. */
INLINE row_groups groups_of(const fr_worker *w, const fr_mask *mask) {
    const fr_range rows = fr_rows(w);
    const uint32_t line = w->batch.line;
    const int64_t count = rows.end - rows.begin, most = mask->group < count ? mask->group : count;
    row_groups g = {.size = mask->group, .line = line, .rows = rows, .padded = padded_rows(most)};
    g.first = group_of(mask, line + (uint32_t)rows.begin);
    g.count = (int64_t)group_of(mask, line + (uint32_t)rows.end - 1) - g.first + 1;
    return g;
}

/* The number of a row's group, from 0. */
INLINE int64_t group_at(const row_groups *g, int64_t row) {
    return (int64_t)((g->line + (uint32_t)row) / g->size - g->first);
}

/* The first row of a row's group. */
INLINE int64_t group_begin(const row_groups *g, int64_t row) {
    const int64_t first = row - (int64_t)((g->line + (uint32_t)row) % g->size);
    return first > g->rows.begin ? first : g->rows.begin;
}

/* The row after the last one of a row's group, or `end` if that comes first. */
INLINE int64_t group_end(const row_groups *g, int64_t row, int64_t end) {
    const int64_t last = row + (int64_t)(g->size - (g->line + (uint32_t)row) % g->size);
    return last < end ? last : end;
}

/* Draws what the groups keep of `columns` columns. Returns 0 if that is all, or if the mask has other groups. */
static int draw_kept(kept_units *kept, const fr_worker *w, const row_groups *groups, const fr_mask *mask,
                     int64_t columns) {
    const int64_t panels = panels_of(columns);
    kept->panels = 0;
    if (!drops_units(mask) || mask->group != groups->size || groups->count * panels > KEPT_WORDS) return 0;
    kept->panels = panels;
    uint16_t draws[FR_PANEL];
    for (int64_t i = 0; i < groups->count * panels; i++) {
        const int64_t column = i % panels * FR_PANEL, width = panel_columns(columns, column);
        const draw_place place = {
            .keys = &w->keys,
            .column = (uint32_t)column,
            .row = groups->first + (uint32_t)(i / panels),
            .step = w->batch.step,
            .stream = mask->stream,
        };
        philox_draws(draws, &place);
        kept->word[i] = kept_of_draws(draws, mask->threshold) & ~(uint64_t)0 >> (FR_PANEL - width);
    }
    return 1;
}

/* Which of `columns` columns from `column` on, at most 64, a group keeps: a bit for each. */
INLINE uint64_t kept_in(const kept_units *kept, int64_t group, int64_t column, int64_t columns) {
    const uint64_t all = ~(uint64_t)0 >> (FR_PANEL - columns);
    if (!kept->panels) return all;
    const int64_t panel = column / FR_PANEL, shift = column % FR_PANEL;
    const uint64_t *word = kept->word + group * kept->panels + panel;
    const uint64_t next = shift && panel + 1 < kept->panels ? word[1] << (FR_PANEL - shift) : 0;
    return (word[0] >> shift | next) & all;
}

/* The numbers of the bits, each plus `base` and times `step`. Returns how many there are. */
INLINE int64_t list_bits(int32_t *list, uint64_t bits, int32_t base, int32_t step) {
    int64_t n = 0;
#ifdef HAVE_AVX512
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int at = 0; at < FR_PANEL; at += 16) {
        const __mmask16 some = (__mmask16)(bits >> at);
        const __m512i all =
            _mm512_mullo_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(at + base)), _mm512_set1_epi32(step));
        _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi32(some, all));
        n += __builtin_popcount(some);
    }
#else
    for (; bits; bits &= bits - 1) list[n++] = (__builtin_ctzll(bits) + base) * step;
#endif
    return n;
}

#endif
