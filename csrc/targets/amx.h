/* AMX beside AVX-512: three ops on tiles, where they are in bf16; all else as on AVX-512. */
#ifdef FR_EMULATE_AMX /* for tests on a machine with AVX2 alone */
#include "avx2.h"
#else
#include "avx512.h"
#endif
#define HAVE_AMX
