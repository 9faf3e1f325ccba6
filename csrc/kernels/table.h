/* The table of one target and one dtype: every kernel, compiled here under the target's flags. All are static, so no
 * code of one target can be linked into another. A file of targets/ sets TARGET and REAL_BITS and includes this.
 */
#include "../targets.h"
#include "append.h"
#include "average.h"
#include "bf16.h"
#include "conv.h"
#include "conv_dw.h"
#include "dense.h"
#include "dense_dw.h"
#include "elementwise.h"
#include "embed.h"
#include "gather.h"
#include "loss.h"
#include "normalize.h"
#include "norms.h"
#include "noise.h"
#include "peak.h"
#include "philox.h"
#include "pool.h"
#include "update.h"

static void row_draws(uint16_t *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream) {
    const fr_round_keys keys = fr_round_keys_of(seed);
    philox_draws(out, &(draw_place){&keys, column, row, step, stream});
}

static void row_normals(void *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream) {
    const fr_round_keys keys = fr_round_keys_of(seed);
    normal_draws(out, &(draw_place){&keys, column, row, step, stream}, FR_PANEL / VL);
}

/* Bytes of scratch that every worker needs for an op. */
static size_t scratch_bytes(const fr_op *op) {
    switch (op->kind) {
    case FR_GATHER: return gather_scratch_bytes(&op->gather);
    case FR_DENSE: return dense_scratch_bytes(&op->dense.x_mask, &op->dense.mask, op->dense.bf16);
    case FR_DENSE_DX: return dense_scratch_bytes(&op->dense_dx.dz_mask, &op->dense_dx.through.mask, op->dense_dx.bf16);
    case FR_DENSE_DW: return dense_dw_scratch_bytes(&op->dense_dw);
    case FR_CONV: return conv_scratch_bytes(conv_work_of(&op->conv));
    case FR_CONV_DX: return conv_scratch_bytes(conv_dx_work_of(&op->conv_dx));
    case FR_CONV_DW: return conv_dw_scratch_bytes(&op->conv_dw);
    case FR_POOL_DX: return pool_dx_scratch_bytes(&op->pool_dx.window);
    case FR_EMBED_DW: return embed_dw_scratch_bytes(op->embed_dw.codes.width);
    case FR_LOSS: return loss_scratch_bytes(op->loss.N);
    case FR_EMIT: return row_scratch_bytes(op->emit.N);
    default: return 0;
    }
}

#define NAME_(target, bits) fr_##target##_f##bits
#define NAME(target, bits) NAME_(target, bits)

const fr_table NAME(TARGET, REAL_BITS) = {
#define ROW(KIND, NAME, KERNEL, FLAGS) [FR_##KIND] = op_##KERNEL,
    .op = {FR_FOR_EACH_KERNEL(ROW)},
#undef ROW
    .scratch_bytes = scratch_bytes,
    .draws = row_draws,
    .normals = row_normals,
    .fma_loop = fma_loop,
};
