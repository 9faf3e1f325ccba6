/* NEON of aarch64: 32 registers of 16 bytes. A tile of 6 rows by 4 vectors takes 24 accumulators. */
#define TARGET neon
#define HAVE_NEON
#define VBYTES 16
#define MR 6 /* rows of a register tile */
#define NV 4 /* vectors of a register tile */
