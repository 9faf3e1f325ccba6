/* Any machine: 16-byte vectors that the compiler maps as it can. No fused multiply-add,
 * so its bits differ from those of the other targets. */
#define TARGET generic
#define VBYTES 16
#define MR 6 /* rows of a register tile */
#define NV 2 /* vectors of a register tile */
