/* Worker threads: started when first needed, asleep between runs, started afresh after a fork.
 *
 * One run has the pool at a time. A second run that starts meanwhile (two Python threads training) gets no workers and
 * uses its own thread alone. Results do not depend on it. Nothing here knows what a job does.
 *
 * Only one thread waits for each condition variable. Where two take turns, pthread_cond_wait of glibc 2.27 to 2.40 can
 * lose a wake-up (bug 25847): the other thread may take a signal that came before its own wait, and give it back.
 *
 * Not OpenMP: libgomp hangs in a child that was forked after its use, two copies of it in one process get in each other's
 * way, and its barrier takes several times as long as ours.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "fastreg.h"
#include "pool.h"

typedef struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;     /* the worker waits: a job has come */
    pthread_cond_t finished; /* the caller waits */
    int64_t ticket;          /* jobs handed to this worker */
    int64_t done;            /* jobs it has finished */
} member;

static struct {
    pthread_mutex_t busy; /* held by the run that has the pool */
    int size;             /* workers alive */
    int wanted;           /* threads of the current run, the caller's included */
    int forks;            /* between the process that loaded this and this one */
    fr_job job;
    void *arg;
    member members[FR_MAX_THREADS]; /* [0] is unused: it stands for the caller */
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A child has the memory of its parent, but none of its threads. */
static void forget(void) {
    pthread_mutex_init(&pool.busy, NULL);
    pool.size = 0;
    pool.forks++;
}

static void prepare(void) { pthread_atfork(NULL, NULL, forget); }

static void *work(void *arg) {
    member *me = arg;
    const int id = (int)(me - pool.members);
    for (int64_t job = 1;; job++) {
        pthread_mutex_lock(&me->lock);
        while (me->ticket < job) pthread_cond_wait(&me->wake, &me->lock);
        pthread_mutex_unlock(&me->lock);
        pool.job(pool.arg, id);
        pthread_mutex_lock(&me->lock);
        me->done = job;
        pthread_cond_signal(&me->finished);
        pthread_mutex_unlock(&me->lock);
    }
    return NULL;
}

/* Signals belong to the interpreter's threads: a worker takes none. */
static int start_member(member *m) {
    sigset_t all, old;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->wake, NULL);
    pthread_cond_init(&m->finished, NULL);
    m->ticket = m->done = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    const int failed = pthread_create(&m->thread, &attributes, work, m);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return !failed;
}

int fr_pool_begin(int n) {
    pthread_once(&once, prepare);
    if (n <= 1 || pthread_mutex_trylock(&pool.busy) != 0) return 1;
    if (n > FR_MAX_THREADS) n = FR_MAX_THREADS;
    while (pool.size < n - 1 && start_member(&pool.members[pool.size + 1])) pool.size++;
    pool.wanted = pool.size + 1 < n ? pool.size + 1 : n; /* the system may refuse threads: go on with fewer */
    if (pool.wanted == 1) pthread_mutex_unlock(&pool.busy);
    return pool.wanted;
}

void fr_pool_start(fr_job job, void *arg) {
    pool.job = job;
    pool.arg = arg;
    for (int i = 1; i < pool.wanted; i++) {
        member *m = &pool.members[i];
        pthread_mutex_lock(&m->lock);
        m->ticket++;
        pthread_cond_signal(&m->wake);
        pthread_mutex_unlock(&m->lock);
    }
}

void fr_pool_end(void) {
    for (int i = 1; i < pool.wanted; i++) {
        member *m = &pool.members[i];
        pthread_mutex_lock(&m->lock);
        while (m->done < m->ticket) pthread_cond_wait(&m->finished, &m->lock);
        pthread_mutex_unlock(&m->lock);
    }
    pthread_mutex_unlock(&pool.busy);
}

int fr_pool_size(void) { return pool.size; }

int fr_pool_forks(void) { return pool.forks; }
