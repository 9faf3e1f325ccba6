/* Which processor a thread runs on. Internal to run.c; the public part of cpu.c is in fastreg.h. */
#ifndef FR_CPU_H
#define FR_CPU_H

int fr_cpu_here(void);      /* the processor that runs the caller, -1 where that is not known */
void fr_cpu_leave(int cpu); /* moves the caller to another processor it may use, if there is one */

#endif
