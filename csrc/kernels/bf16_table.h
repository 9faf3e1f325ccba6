/* The ops that a target with PACKS_BF16 does in place of the target beside it: those with products. They are compiled here
 * under its flags. A file of targets/ sets TARGET and includes this.
 */
#include "../targets.h"
#include "dense.h"
#include "dense_dw.h"

static size_t scratch_bytes(const fr_op *op) {
    switch (op->kind) {
    case FR_DENSE: return dense_scratch_bytes(&op->dense.x_mask, &op->dense.mask, op->dense.bf16);
    case FR_DENSE_DX: return dense_scratch_bytes(&op->dense_dx.dz_mask, &op->dense_dx.through.mask, op->dense_dx.bf16);
    case FR_DENSE_DW: return dense_dw_scratch_bytes(&op->dense_dw);
    default: return 0;
    }
}

#define NAME_(target) fr_##target##_f32
#define NAME(target) NAME_(target)

const fr_bf16_ops NAME(TARGET) = {op_dense, op_dense_dx, op_dense_dw, scratch_bytes};
