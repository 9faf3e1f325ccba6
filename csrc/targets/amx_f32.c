#include "amx.h"

#if defined(COMPILES) || defined(FR_EMULATE_AMX)
#pragma GCC diagnostic ignored "-Wunused-function" /* three kernels are used of these */
#include "../kernels/bf16_table.h"
#else
#include "../targets.h"
const fr_bf16_ops fr_amx_f32 = {0}; /* of other compilers: as on a processor without it */
#endif
