/* AVX2 with FMA: 16 registers of 32 bytes. A tile of 6 rows by 2 vectors takes 12 accumulators. */
#define TARGET avx2
#define HAVE_AVX2
#define VBYTES 32
#define MR 6 /* rows of a register tile */
#define NV 2 /* vectors of a register tile */
