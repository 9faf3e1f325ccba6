/* The products of bf16 that AVX-512 may have: three ops use them, where they are in bf16; all else as on AVX-512. */
#include "beside_avx512.h"
#define TARGET avx512_bf16
#define HAVE_DOT
#if !defined(FR_EMULATE_AMX) && __GNUC__ >= 10
#pragma GCC target("avx512bf16")
#define COMPILES
#endif
