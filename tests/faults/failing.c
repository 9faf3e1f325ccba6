/* Makes the n-th allocation, write or read of a process fail. For tests: it is loaded before the C library (LD_PRELOAD).
 *
 *     faults_arm(kind, n)   the n-th one from now on fails, counted from 0; no other one does
 *     faults_count(kind)    how many there were since then
 *
 * With PYTHONMALLOC=malloc every allocation of Python and NumPy comes here. A write is all that changes files: opening
 * one to write, write, fsync, rename, link. A read is opening a file to read, and read.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

enum { ALLOCATION, WRITE, READ, KINDS };

static atomic_long counted[KINDS], failing[KINDS] = {-1, -1, -1};

void faults_arm(int kind, long n) {
    atomic_store(&failing[kind], -1);
    atomic_store(&counted[kind], 0);
    atomic_store(&failing[kind], n);
}

long faults_count(int kind) { return atomic_load(&counted[kind]); }

static int fails(int kind, int number) {
    const long mine = atomic_fetch_add(&counted[kind], 1);
    if (mine != atomic_load(&failing[kind])) return 0;
    errno = number;
    return 1;
}

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

void *malloc(size_t n) { return fails(ALLOCATION, ENOMEM) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails(ALLOCATION, ENOMEM) ? NULL : __libc_calloc(n, size); }
void *realloc(void *old, size_t n) { return fails(ALLOCATION, ENOMEM) ? NULL : __libc_realloc(old, n); }

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t n) {
    REAL(write);
    return fails(WRITE, ENOSPC) ? -1 : real(file, data, n);
}

int fsync(int file) {
    REAL(fsync);
    return fails(WRITE, EIO) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return fails(WRITE, EIO) ? -1 : real(from, to);
}

int link(const char *from, const char *to) {
    REAL(link);
    return fails(WRITE, EIO) ? -1 : real(from, to);
}

ssize_t read(int file, void *data, size_t n) {
    REAL(read);
    return fails(READ, EIO) ? -1 : real(file, data, n);
}

static int opening(int flags) { return fails(flags & (O_WRONLY | O_RDWR | O_CREAT) ? WRITE : READ, EIO); }

int open(const char *path, int flags, ...) {
    REAL(open);
    va_list more;
    va_start(more, flags);
    const mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opening(flags) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more;
    va_start(more, flags);
    const mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opening(flags) ? -1 : real(path, flags, mode);
}
