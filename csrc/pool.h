/* The pool of worker threads, as run.c uses it. Internal; how it works is in pool.c. */
#ifndef FR_POOL_H
#define FR_POOL_H

typedef void (*fr_job)(void *arg, int id);

int fr_pool_begin(int n); /* takes the pool for n threads, the caller's included; returns how many it got */
void fr_pool_start(fr_job job, void *arg); /* wakes the workers 1 .. n - 1 */
void fr_pool_end(void);                    /* waits for them and gives the pool back */
int fr_pool_forks(void);                   /* how often this process was forked off another, by its line of descent */

#endif
