/* AVX2 with FMA: 16 registers of 32 bytes. */
#define TARGET avx2
#define HAVE_AVX2
#define VBYTES 32

/* Register tiles: 12 accumulators. */
#define MR 6
#define NV 2
#define DW_MR 6
#define DW_NV 2

#define KC 1024
#define FAR_KC 256
#define STRIP_ROWS 264 /* a multiple of MR and DW_MR */
#define DW_KC 128
#define DW_KEEPS_A 0
#define FAR_DW_ROWS FR_ROW_GROUP
