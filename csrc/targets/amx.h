/* AMX beside AVX-512: three ops on tiles, where they are in bf16; all else as on AVX-512. */
#ifdef FR_EMULATE_AMX /* for tests on a machine with AVX2 alone */
#include "avx2.h"
#else
#include "avx512.h"
#endif
#undef TARGET
#define TARGET amx
#define PACKS_BF16
#define HAVE_AMX
#define REAL_BITS 32
#if !defined(FR_EMULATE_AMX) && __GNUC__ >= 11
#pragma GCC target("avx512bf16,amx-tile,amx-bf16")
#define COMPILES
#endif
