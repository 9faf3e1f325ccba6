/* AMX beside AVX-512: three ops on tiles, where they are in bf16; all else as on AVX-512. */
#include "beside_avx512.h"
#define TARGET amx
#define HAVE_AMX
#if !defined(FR_EMULATE_AMX) && __GNUC__ >= 11
#pragma GCC target("avx512bf16,amx-tile,amx-bf16")
#define COMPILES
#endif
