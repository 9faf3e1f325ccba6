#define REAL_BITS 32
#if !defined(FR_EMULATE_AMX) && __GNUC__ >= 11
#pragma GCC target("avx512bf16,amx-tile,amx-bf16")
#define HAVE_TILES
#endif
#include "amx.h"

#include "../targets.h"

#if defined(HAVE_TILES) || defined(FR_EMULATE_AMX)
#pragma GCC diagnostic ignored "-Wunused-function" /* three kernels are used of these */
#include "../kernels/dense.h"
#include "../kernels/dense_dw.h"

static size_t scratch_bytes(const fr_op *op) {
    switch (op->kind) {
    case FR_DENSE: return product_scratch_bytes(op->dense.bf16);
    case FR_DENSE_DX: return product_scratch_bytes(op->dense_dx.bf16);
    case FR_DENSE_DW: return dense_dw_scratch_bytes(&op->dense_dw);
    default: return 0;
    }
}

const fr_amx_ops fr_amx_f32 = {op_dense, op_dense_dx, op_dense_dw, scratch_bytes};
#else
const fr_amx_ops fr_amx_f32 = {0}; /* of other compilers: as on a processor without it */
#endif
