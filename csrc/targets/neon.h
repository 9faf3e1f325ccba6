/* NEON of aarch64: 32 registers of 16 bytes. */
#define TARGET neon
#define HAVE_NEON
#define VBYTES 16

/* Register tiles: 24 accumulators. */
#define MR 6
#define NV 4
/* In dense_dw they are tall and narrow: then the panel of dz, which every tile reads whole, takes half the room in the
 * nearest cache. */
#define DW_MR 12
#define DW_NV 2

#define KC 1024
#define FAR_KC 256
#define STRIP_ROWS 264 /* a multiple of MR and DW_MR */
#define DW_KC KC
#define DW_KEEPS_A 1
#define FAR_DW_ROWS DW_MR
