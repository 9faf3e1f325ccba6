/* The targets: what each of them offers, their tables, and the one in use. Internal.
 *
 * A new instruction set is a file targets/NAME.h with two short .c files, its branches in kernels/vec.h, its tables here,
 * its row in cpu.c with the detection, and its compiler flags in setup.py.
 */
#ifndef FR_TARGETS_H
#define FR_TARGETS_H

#include "worker.h"

typedef void (*fr_kernel)(fr_worker *worker);

/* The kernels of one instruction set and one dtype. draws: the FR_PANEL 16-bit draws of columns column .. column + 63. */
typedef struct {
    fr_kernel op[FR_OP_KINDS];
    size_t (*scratch_bytes)(const fr_op *op); /* that every worker needs for it */
    void (*draws)(uint16_t *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream);
    void (*normals)(void *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream);
    double (*fma_loop)(int64_t rounds); /* returns the floating-point operations done */
} fr_table;

extern const fr_table fr_avx512_f32, fr_avx512_f64, fr_avx2_f32, fr_avx2_f64; /* x86-64 */
extern const fr_table fr_neon_f32, fr_neon_f64;                               /* aarch64 */
/* What a target with instructions for bf16 does in place of AVX-512; the scratch is that of these ops. NULL where the
 * compiler does not know the instructions. */
typedef struct {
    fr_kernel dense, dense_dx, dense_dw;
    size_t (*scratch_bytes)(const fr_op *op);
} fr_bf16_ops;

/* The target whose other ops they have: in tests on a machine with AVX2 alone, that. */
#ifdef FR_EMULATE_AMX
#define FR_BESIDE_F32 fr_avx2_f32
#define FR_BESIDE_F64 fr_avx2_f64
#else
#define FR_BESIDE_F32 fr_avx512_f32
#define FR_BESIDE_F64 fr_avx512_f64
#endif

extern const fr_bf16_ops fr_amx_f32, fr_avx512_bf16_f32; /* x86-64 */
int fr_adds_pairs_in_order(void); /* avx512_bf16: whether the instruction rounds as two fused multiply-adds do */
extern const fr_table fr_generic_f32, fr_generic_f64;

/* cpu.c: the table in use. */
const fr_table *fr_current_table(fr_real real);

#endif
