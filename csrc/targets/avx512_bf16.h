/* The products of bf16 that AVX-512 may have: three ops use them, where they are in bf16; all else as on AVX-512. */
#ifdef FR_EMULATE_AMX /* for tests on a machine with AVX2 alone */
#include "avx2.h"
#else
#include "avx512.h"
#endif
#undef TARGET
#define TARGET avx512_bf16
#define PACKS_BF16
#define HAVE_DOT
#define REAL_BITS 32
#if !defined(FR_EMULATE_AMX) && __GNUC__ >= 10
#pragma GCC target("avx512bf16")
#define COMPILES
#endif
