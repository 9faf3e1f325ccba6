/* What one worker writes and all read next, in small nets: latency from core to core bounds them.
 *
 * fetch asks for all of a matrix at once. give puts lines that were just written where the others find them sooner
 * (cldemote), on processors that have such an instruction and where it is wanted (FR_DEMOTE).
 */
#ifndef FR_HAND_OVER_H
#define FR_HAND_OVER_H

#include "../worker.h"
#include "vec.h"

/* Whether a matrix is small enough for a worker to read all of it at once. */
INLINE int is_handed_over(const fr_worker *w, const fr_matrix *m, int64_t rows) {
    return w->n > 1 && rows * m->ld <= 16 * 1024;
}

/* Reading line after line would wait for each. */
INLINE void fetch(const fr_worker *w, const fr_matrix *m, int64_t rows, int64_t columns) {
    if (!is_handed_over(w, m, rows)) return;
    for (int64_t row = 0; row < rows; row++) {
        prefetch_near((const real *)m->data + row * m->ld, columns * (int64_t)sizeof(real));
    }
}

/* Whether an op hands over a matrix of this number of rows. */
INLINE int gives(const fr_worker *w, const fr_matrix *m, int64_t rows) {
    return fr_tunes(w, FR_DEMOTE) && is_handed_over(w, m, rows);
}

/* Lines that this worker will not write again in this op. */
INLINE void give(const real *x, int64_t elements) {
#if defined(__x86_64__)
    for (int64_t byte = 0; byte < elements * (int64_t)sizeof(real); byte += 64) {
        const char *line = (const char *)x + byte;
        /* cldemote (%rax), which old assemblers do not know */
        __asm__ volatile(".byte 0x0f, 0x1c, 0x00" : : "a"(line), "m"(*line));
    }
#else
    (void)x, (void)elements;
#endif
}

#endif
