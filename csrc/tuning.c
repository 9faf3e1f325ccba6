/* What kernels do for the caches of a processor, beyond what suits all. See FR_FOR_EACH_TUNING in fastreg.h.
 *
 * Choosing by name (FASTREG_TUNING) and refusing unknown names is Python's business.
 */
#include <stdatomic.h>
#include <string.h>

#include "fastreg.h"

enum { AVX512 = 1 }; /* what a processor must have for a row to hold */
enum { KB = 1024 };

/* The first row that fits a processor holds; vendor NULL fits all. docs/performance.md has what was measured. */
static const struct {
    const char *vendor;
    int first_family, last_family;
    int64_t second_level; /* at least this size of cache for each core */
    int needs;
    uint32_t tuning;
} table[] = {
    /* Rows of x, dz and the weight are read from the second level at half the speed of copies. */
    {"GenuineIntel", 6, 255, 1024 * KB, AVX512,
     1u << FR_PACK_DW | 1u << FR_PACK_WEIGHT | 1u << FR_DEMOTE | 1u << FR_SKIP},
    /* All others. Zen 5 reads rows as fast as copies, so copies only cost. */
    {NULL, 0, 0, 0, 0, 1u << FR_SKIP},
};

static int fits(int row, const fr_processor *p) {
    if (!table[row].vendor) return 1;
    return strcmp(table[row].vendor, p->vendor) == 0 && p->family >= table[row].first_family &&
           p->family <= table[row].last_family && (p->cache[1] == 0 || p->cache[1] >= table[row].second_level) &&
           (p->avx512 || !(table[row].needs & AVX512));
}

#if defined(__x86_64__)
#include <cpuid.h>

static void find_names(fr_processor *p) {
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return;
    memcpy(p->vendor, &b, 4), memcpy(p->vendor + 4, &d, 4), memcpy(p->vendor + 8, &c, 4);
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    p->family = (a >> 8) & 15, p->model = (a >> 4) & 15;
    if (p->family == 6 || p->family == 15) p->model |= (int)((a >> 12) & 0xf0);
    if (p->family == 15) p->family += (int)((a >> 20) & 0xff);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    p->avx512 = (b >> 16) & 1, p->demotes = (c >> 25) & 1;
}

/* Intel and AMD have the sizes of the caches in a leaf of their own each, in the same form. */
static void find_caches(fr_processor *p) {
    const unsigned leaf = strcmp(p->vendor, "AuthenticAMD") == 0 ? 0x8000001du : 4;
    unsigned a, b, c, d;
    for (unsigned i = 0; i < 16 && __get_cpuid_count(leaf, i, &a, &b, &c, &d) && (a & 31); i++) {
        const int level = (a >> 5) & 7, for_instructions = (a & 31) == 2;
        const int64_t ways = (b >> 22) + 1, parts = ((b >> 12) & 0x3ff) + 1, line = (b & 0xfff) + 1;
        if (for_instructions || level < 1 || level > FR_CACHES) continue;
        p->cache[level - 1] = ways * parts * line * ((int64_t)c + 1);
    }
}
#else
static void find_names(fr_processor *p) { (void)p; }
static void find_caches(fr_processor *p) { (void)p; }
#endif

fr_processor fr_find_processor(void) {
    fr_processor p = {.vendor = ""};
    find_names(&p);
    find_caches(&p);
    return p;
}

uint32_t fr_tuning_for(const fr_processor *processor) {
    int row = 0;
    while (!fits(row, processor)) row++;
    const uint32_t demote = 1u << FR_DEMOTE;
    return processor->demotes ? table[row].tuning : table[row].tuning & ~demote;
}

static atomic_llong current = -1;

uint32_t fr_tuning(void) {
    if (atomic_load_explicit(&current, memory_order_relaxed) < 0) {
        const fr_processor processor = fr_find_processor();
        fr_use_tuning(fr_tuning_for(&processor));
    }
    return (uint32_t)atomic_load_explicit(&current, memory_order_relaxed);
}

void fr_use_tuning(uint32_t tuning) { atomic_store_explicit(&current, tuning, memory_order_relaxed); }
