/* AVX-512: 32 registers of 64 bytes. A tile of 6 rows by 4 vectors takes 24 accumulators. */
#define TARGET avx512
#define HAVE_AVX512
#define VBYTES 64
#define MR 6 /* rows of a register tile */
#define NV 4 /* vectors of a register tile */
