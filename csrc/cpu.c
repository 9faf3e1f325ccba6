/* What the processor and the operating system both offer, and which target is in use.
 *
 * Targets are listed best first. Choosing one by name (FASTREG_SIMD) and refusing unknown names is Python's business.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#endif

#include "cpu.h"
#include "targets.h"

typedef struct {
    const char *name;
    int (*available)(void);
    const fr_table *tables[FR_REALS];
} target;

static int always(void) { return 1; }

#if defined(__x86_64__)
#include <cpuid.h>

/* The registers whose state the operating system saves (XCR0). Without it a CPU's AVX is of no use. */
static uint64_t saved_state(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return 0; /* OSXSAVE */
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has_avx2(void) {
    unsigned a, b, c, d;
    if ((saved_state() & 0x6) != 0x6) return 0;                         /* SSE and AVX state */
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 12))) return 0; /* FMA */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 5));
}

static int has_avx512(void) {
    const unsigned wanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    unsigned a, b, c, d;
    if (!has_avx2() || (saved_state() & 0xe6) != 0xe6) return 0; /* and opmask and ZMM state */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & wanted) == wanted;
}

/* AVX-512, with ops of their own. Made when the processor is asked for them. */
static fr_table amx_f32, avx512_bf16_f32;

#ifdef FR_EMULATE_AMX
static int has_amx(void) { return has_avx2(); }
static int has_fast_pairs(void) { return has_avx2(); }
#else
static int has_bf16(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

/* Linux lets a process use tiles if it has asked to, before it has other threads or after. */
static int has_amx(void) {
#ifdef __linux__
    enum { ASK_FOR_STATE = 0x1023, TILES = 18 };
    const unsigned wanted = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    unsigned a, b, c, d;
    if (!has_avx512() || !has_bf16() || (saved_state() & 0x60000) != 0x60000) return 0; /* tiles, their configuration */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & wanted) != wanted) return 0;
    return syscall(SYS_arch_prctl, ASK_FOR_STATE, TILES) == 0;
#else
    return 0;
#endif
}

/* On AMD (Zen 4 on) the instruction does twice the multiply-adds of others, on Intel half of them. */
static int has_fast_pairs(void) {
    return has_avx512() && has_bf16() && strcmp(fr_find_processor().vendor, "AuthenticAMD") == 0;
}
#endif

static size_t scratch_with(const fr_bf16_ops *own, const fr_op *op) {
    const size_t bytes = own->scratch_bytes(op);
    return bytes ? bytes : FR_BESIDE_F32.scratch_bytes(op);
}

static size_t amx_scratch_bytes(const fr_op *op) { return scratch_with(&fr_amx_f32, op); }
static size_t avx512_bf16_scratch_bytes(const fr_op *op) { return scratch_with(&fr_avx512_bf16_f32, op); }

static void make_table(fr_table *table, const fr_bf16_ops *own, size_t (*scratch_bytes)(const fr_op *op)) {
    if (table->scratch_bytes) return; /* made before: threads may be using it */
    *table = FR_BESIDE_F32;
    table->op[FR_DENSE] = own->dense;
    table->op[FR_DENSE_DX] = own->dense_dx;
    table->op[FR_DENSE_DW] = own->dense_dw;
    table->scratch_bytes = scratch_bytes;
}

static int granted_amx(void) {
    if (!fr_amx_f32.dense || !has_amx()) return 0;
    make_table(&amx_f32, &fr_amx_f32, amx_scratch_bytes);
    return 1;
}

static int granted_bf16(void) {
    if (!fr_avx512_bf16_f32.dense || !has_fast_pairs()) return 0;
    if (!avx512_bf16_f32.scratch_bytes && !fr_adds_pairs_in_order()) return 0;
    make_table(&avx512_bf16_f32, &fr_avx512_bf16_f32, avx512_bf16_scratch_bytes);
    return 1;
}
#endif

static const target targets[] = {
#if defined(__x86_64__)
    {"amx", granted_amx, {&amx_f32, &FR_BESIDE_F64}},
    {"avx512_bf16", granted_bf16, {&avx512_bf16_f32, &FR_BESIDE_F64}},
    {"avx512", has_avx512, {&fr_avx512_f32, &fr_avx512_f64}},
    {"avx2", has_avx2, {&fr_avx2_f32, &fr_avx2_f64}},
#elif defined(__aarch64__)
    {"neon", always, {&fr_neon_f32, &fr_neon_f64}}, /* part of the architecture */
#endif
    {"generic", always, {&fr_generic_f32, &fr_generic_f64}},
};

enum { N_TARGETS = sizeof targets / sizeof *targets };

static atomic_int current = -1;

int fr_simd_count(void) { return N_TARGETS; }
const char *fr_simd_name(int i) { return targets[i].name; }
int fr_simd_available(int i) { return targets[i].available(); }
void fr_simd_use(int i) { current = i; }

int fr_simd_current(void) {
    int found = current;
    if (found < 0) {
        for (found = 0; !fr_simd_available(found);) found++;
        current = found; /* only now: another thread must not see a target that is not there */
    }
    return found;
}

const fr_table *fr_current_table(fr_real real) { return targets[fr_simd_current()].tables[real]; }

int fr_cpu_count(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

int fr_cpu_here(void) {
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

void fr_cpu_leave(int cpu) {
#ifdef __linux__
    cpu_set_t all, others;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    others = all;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0) return;
    if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof all, &all);
#else
    (void)cpu;
#endif
}
