/* The ops that a target with PACKS_BF16 does in place of the target beside it: those with products in bf16, unless they are
 * so thin that packing takes longer than it saves. They are compiled here under its flags. A file of targets/ sets TARGET
 * and includes this.
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

enum { LEAST_PACKED = 16 }; /* inputs and units of a layer */

INLINE int pays_to_pack(int bf16, int64_t K, int64_t N) { return bf16 && K >= LEAST_PACKED && N >= LEAST_PACKED; }

static void packed_dense(fr_worker *w) {
    const fr_dense_op *op = &w->op->dense;
    if (pays_to_pack(op->bf16, op->K, op->N)) op_dense(w);
    else FR_BESIDE_F32.op[FR_DENSE](w);
}

static void packed_dense_dx(fr_worker *w) {
    const fr_dense_dx_op *op = &w->op->dense_dx;
    if (pays_to_pack(op->bf16, op->K, op->N)) op_dense_dx(w);
    else FR_BESIDE_F32.op[FR_DENSE_DX](w);
}

static void packed_dense_dw(fr_worker *w) {
    const fr_dense_dw_op *op = &w->op->dense_dw;
    if (pays_to_pack(op->bf16, op->K, op->N)) op_dense_dw(w);
    else FR_BESIDE_F32.op[FR_DENSE_DW](w);
}

#define NAME_(target) fr_##target##_f32
#define NAME(target) NAME_(target)

const fr_bf16_ops NAME(TARGET) = {packed_dense, packed_dense_dx, packed_dense_dw, scratch_bytes};
