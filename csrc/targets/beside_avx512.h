/* What targets share that have instructions for bf16 beside AVX-512: three ops use them; all else is as on AVX-512. */
#ifdef FR_EMULATE_AMX /* for tests on a machine with AVX2 alone */
#include "avx2.h"
#else
#include "avx512.h"
#endif
#undef TARGET
#define PACKS_BF16
#define REAL_BITS 32
