/* Any machine: 16-byte vectors, which the compiler maps to whatever the machine has. There is no fused multiply-add, so
 * the bits differ from those of the other targets. */
#define TARGET generic
#define VBYTES 16

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
