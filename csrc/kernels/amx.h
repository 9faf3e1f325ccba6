/* The tile instructions of AMX: eight tiles of 16 rows of 64 bytes. A tile of C has 16 x 16 floats, one of A 16 rows of 16
 * pairs of bf16, one of B 16 pairs of rows of 16 columns. A pair is a word with the even term in its lower half.
 *
 * With FR_EMULATE_AMX they are plain C, so that what uses them can be tested on any machine. The sums are those of
 * bf16_tiles.h.
 */
#ifndef FR_AMX_H
#define FR_AMX_H

#include <stdint.h>
#include <string.h>

#include "bf16.h"
#include "vec.h"

enum { AMX_ROWS = 16, AMX_COLUMNS = 16, AMX_PAIRS = 16 }; /* of a tile */

/* Sizes of products (bf16_packed.h). */
enum {
    PACKED_TERMS = 4096,     /* done in one go */
    PACKED_TALL = 32,        /* rows of a strip: two tiles */
    PACKED_ROWS = 288,       /* of A that are packed at once */
    PACKED_PANELS = 1 << 18, /* words of packed panels of B: at least the pairs of one go by FR_PANEL */
};

/* A pair is two neighbours, the first in the lower half. */
enum { PAIR_GAP = 1 };
INLINE int64_t first_of_pair(int64_t p) { return 2 * p; }
INLINE u32vec pair(vec first, vec second) { return bf16_halves(second, first); }

/* The pairs of a group of terms that follow each other. */
INLINE void pair_group(uint32_t *out, const real *x) {
#ifdef FR_EMULATE_AMX
    for (int k = 0; k < FR_BF16_GROUP; k += VL) {
        const u32vec bits = (u32vec)vbits(to_bf16(vload(x + k)));
        for (int i = 0; i < VL; i += 2) out[(k + i) / 2] = bits[i] >> 16 | bits[i + 1];
    }
#else
    const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + VL), _mm512_loadu_ps(x));
    memcpy(out, &pairs, sizeof pairs);
#endif
}

#ifdef FR_EMULATE_AMX

typedef struct {
    uint32_t word[AMX_ROWS][AMX_COLUMNS];
} emulated_tile;

static _Thread_local emulated_tile amx_tile[8];

INLINE void begin_pairs(void) {}
INLINE void end_pairs(void) {}

INLINE void emulated_load(int tile, const void *from, int64_t bytes) {
    for (int i = 0; i < AMX_ROWS; i++) memcpy(amx_tile[tile].word[i], (const char *)from + i * bytes, 64);
}

INLINE void emulated_store(int tile, void *to, int64_t bytes) {
    for (int i = 0; i < AMX_ROWS; i++) memcpy((char *)to + i * bytes, amx_tile[tile].word[i], 64);
}

static void emulated_product(int c, int a, int b) {
    for (int i = 0; i < AMX_ROWS; i++) {
        real *sums = (real *)amx_tile[c].word[i], even[AMX_COLUMNS], odd[AMX_COLUMNS];
        for (int j = 0; j < AMX_COLUMNS; j += VL) {
            vec e = {0}, o = {0};
            for (int k = 0; k < AMX_PAIRS; k++) {
                const ireal pair = (ireal)amx_tile[a].word[i][k], upper = (ireal)0xffff0000u;
                const ivec pairs = vbits(vload((const real *)amx_tile[b].word[k] + j));
                e = vfma(vfrombits(viset1((ireal)((uint32_t)pair << 16))), vfrombits(pairs << 16), e);
                o = vfma(vfrombits(viset1(pair & upper)), vfrombits(pairs & viset1(upper)), o);
            }
            vstore(even + j, e), vstore(odd + j, o);
        }
        for (int j = 0; j < AMX_COLUMNS; j += VL) {
            vstore(sums + j, vload(sums + j) + (vload(even + j) + vload(odd + j)));
        }
    }
}

#define amx_zero(tile) memset(&amx_tile[tile], 0, sizeof amx_tile[tile])
#define amx_load(tile, from, bytes) emulated_load(tile, from, bytes)
#define amx_store(tile, to, bytes) emulated_store(tile, to, bytes)
#define amx_product(c, a, b) emulated_product(c, a, b)

#else

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_of_row[16];
    uint8_t rows[16];
} amx_config;

/* This thread: all tiles are whole. (As an instruction of its own, because GCC 12 takes the operand of _tile_loadconfig to
 * be 8 bytes, and drops what is stored beyond.) */
INLINE void begin_pairs(void) {
    amx_config whole = {.palette = 1};
    for (int i = 0; i < 8; i++) whole.bytes_of_row[i] = 64, whole.rows[i] = AMX_ROWS;
    __asm__ volatile("ldtilecfg %0" : : "m"(whole));
}

/* Tiles in use would have to be saved whenever the thread gives way to another. */
INLINE void end_pairs(void) { __asm__ volatile("tilerelease" :); }

#define amx_zero(tile) _tile_zero(tile)
#define amx_load(tile, from, bytes) _tile_loadd(tile, from, bytes)
#define amx_store(tile, to, bytes) _tile_stored(tile, to, bytes)
#define amx_product(c, a, b) _tile_dpbf16ps(c, a, b)

#endif

#endif
