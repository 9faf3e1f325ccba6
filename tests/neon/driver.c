/* Runs the C core on fixed inputs and prints one line a case: its name and a digest of every byte it wrote. Two targets
 * with fused multiply-add give the same lines, on any machine and for any number of threads. Started by compare.sh.
 *
 *   driver TARGET THREADS [SCRAMBLE]     exit code 3: this machine does not offer the target
 */
#include "graphs.h"
#include "networks.h"
#include "support.h"

/* ---- single ops ---- */

/* Every dtype, rows in order or not, columns side by side or not, with dropout, as images of 7 x 11 or not. Integers take
 * all their bits. */
static void gathers(void) {
    static const int64_t sizes[] = {1, 1, 2, 2, 4, 8, 4, 8}; /* by fr_dtype */
    enum { ROWS = 50, COLUMNS = 77 };
    char name[100];
    const double smooth[5] = {0.1, 0.2, 0.4, 0.2, 0.1};
    const fr_augment views = {
        .transform = {{FR_ROTATE, -300, 300},
                      {FR_TRANSLATE, -0.3, 0.3},
                      {FR_RESIZE, 0.5, 2},
                      {FR_CROP, 0.5, 1},
                      {FR_SHEAR, -50, 50},
                      {FR_FLIP_HORIZONTAL, 0.5, 0.5},
                      {FR_FLIP_VERTICAL, 0.5, 0.5}},
        .count = 7,
        .stream = 4 << 16,
        .planes = 1,
        .height = 7,
        .width = 11,
        .channels = 1,
        .radius = 2,
        .smooth = smooth,
        .alpha = 3,
    };
    for (int dtype = FR_U8; dtype <= FR_FLOAT64; dtype++) {
        for (int scattered = 0; scattered < 2; scattered++) {
            const int64_t size = sizes[dtype], spread = scattered ? 3 * size + 1 : size; /* not aligned */
            char *data = cleared(ROWS * COLUMNS * 32);
            int64_t offsets[COLUMNS], order[ROWS];
            for (int64_t j = 0; j < COLUMNS; j++) offsets[j] = j * spread;
            fill_permutation(order, ROWS, 1, 2);
            for (int64_t i = 0; i < ROWS * COLUMNS; i++) {
                const uint64_t word = bits_of(50, (uint64_t)i);
                const double d = uniform(50, (uint64_t)i) * (i % 7 ? 1 : 0x1p-140); /* some are subnormal as floats */
                const float f = (float)d;
                const void *from = dtype == FR_FLOAT32   ? (const void *)&f
                                   : dtype == FR_FLOAT64 ? (const void *)&d
                                                         : &word;
                memcpy(data + i * spread, from, (size_t)size);
            }
            fr_op op = op_of(FR_GATHER, 0);
            digest_start();
            op.gather = (fr_gather_op){.out = matrix_of(ROWS, COLUMNS), .columns = COLUMNS, .mask = mask_of(50000, 3)};
            if (scattered) {
                op.gather.noise = (fr_noise){.std = 0.25, .stream = 9};
                op.gather.augment = &views;
                op.gather.mean = random_matrix(1, COLUMNS, 51, 1), op.gather.scale = random_matrix(1, COLUMNS, 52, 3);
            }
            const fr_feed feed = {
                .source = {{.data = data,
                            .row_stride = COLUMNS * spread,
                            .offsets = scattered ? offsets : NULL,
                            .columns = COLUMNS,
                            .dtype = dtype}},
                .n_heads = 1,
                .order = scattered ? order : NULL,
                .rows = ROWS,
                .batch_size = ROWS,
                .seed = 77,
            };
            snprintf(name, sizeof name, "gather %d%s", dtype, scattered ? " scattered" : "");
            run(&op, 1, 1, &feed, FR_OK, name);
            digest_buffers();
            digest_print(name);
            if (dtype == FR_FLOAT64 && scattered) { /* a row that is not finite is found */
                const double inf = __builtin_inf();
                memcpy(data + (COLUMNS * 20 + 5) * spread, &inf, sizeof inf);
                fr_op ops[2] = {op_of(FR_GATHER, 0), op_of(FR_TOTALS, 1)};
                digest_start();
                ops[0].gather = (fr_gather_op){.out = matrix_of(ROWS, COLUMNS), .columns = COLUMNS, .mask = NO_MASK};
                run(ops, 2, 1, &feed, FR_BAD_ROW, "bad row");
                digest_buffers();
                digest_print("bad row");
            }
            free(data);
        }
    }
}

static void singles(void) {
    enum { ROWS = 50, COLUMNS = 203 };
    char name[100];
    void *out = cleared(ROWS * COLUMNS * 8);
    const double rate = 0.1;
    const fr_feed feed = {
        .rows = ROWS, .batch_size = ROWS, .seed = 77, .step = 9, .rates = &rate, .head = {{.out = out}}, .n_heads = 1};
    for (int a = 0; a <= FR_ACTIVATIONS; a++) { /* the last one: softmax */
        const int softmax = a == FR_ACTIVATIONS;
        fr_op op = op_of(FR_EMIT, 0);
        digest_start();
        op.emit = (fr_emit_op){.x = random_matrix(ROWS, COLUMNS, 60, 12), .N = COLUMNS, .softmax = softmax};
        op.emit.activation = softmax ? FR_LINEAR : a;
        snprintf(name, sizeof name, "emit %d", a);
        run(&op, 1, 1, &feed, FR_OK, name);
        digest_reals(out, ROWS * COLUMNS);
        digest_buffers();
        digest_print(name);
        if (softmax) continue;

        fr_op back = op_of(FR_ELEMENTWISE, 0);
        digest_start();
        fr_elementwise_op *e = &back.elementwise;
        e->x = random_matrix(ROWS, COLUMNS, 61, 2), e->out = matrix_of(ROWS, COLUMNS), e->N = COLUMNS;
        e->mask = mask_of(30000, 11), e->noise = (fr_noise){.std = a % 2 ? 0.5 : 0, .stream = 13};
        e->through.y = random_matrix(ROWS, COLUMNS, 62, 1), e->through.z = random_matrix(ROWS, COLUMNS, 63, 4);
        e->through.activation = a, e->through.mask = mask_of(50000, 12);
        snprintf(name, sizeof name, "elementwise %d", a);
        run(&back, 1, 1, &feed, FR_OK, name);
        digest_buffers();
        digest_print(name);
    }
    const double root = real == FR_F32 ? 0x1p-63 : 0x1p-511; /* its square is the smallest normal number */
    for (int power = -6; power <= 6; power += 3) {
        const double scale = root * (power < 0 ? 1.0 / (1 << -power) : 1 << power);
        fr_op op = op_of(FR_DENSE, 0);
        digest_start();
        op.dense = (fr_dense_op){.out = matrix_of(ROWS, COLUMNS), .K = 100, .N = COLUMNS, .mask = NO_MASK};
        op.dense.x = random_matrix(ROWS, 100, 65, scale), op.dense.weight = random_matrix(100, COLUMNS, 66, root);
        snprintf(name, sizeof name, "sums of small numbers %d", power);
        run(&op, 1, 1, &feed, FR_OK, name);
        digest_buffers();
        digest_print(name);
    }
    for (int kind = 0; kind < FR_RULES; kind++) {
        const fr_rule rule = {.kind = kind,
                              .penalty = {.l1 = 0.1, .l2 = 0.2, .proximal = 1},
                              .momentum = 0.9,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .warm_up = 0.9,
                              .eps = 1e-8,
                              .weight_decay = 0.1,
                              .lr_scale = 1};
        fr_op op = op_of(FR_UPDATE, 0);
        digest_start();
        op.update.param = param_of(101, COLUMNS, &rule, 70, 1), op.update.gradient = random_matrix(101, COLUMNS, 80, 1);
        snprintf(name, sizeof name, "update %d", kind);
        run(&op, 1, 1, &feed, FR_OK, name);
        digest_buffers();
        digest_print(name);
    }
    free(out);
}

/* ---- functions of one vector, and draws ---- */

typedef const char *(*vmath)(int function, const void *x, const void *y, void *out, int64_t n);

#define DECLARE(TARGET)                                                                                                \
    const char *vmath_##TARGET##_f32(int function, const void *x, const void *y, void *out, int64_t n);                \
    const char *vmath_##TARGET##_f64(int function, const void *x, const void *y, void *out, int64_t n);
#if defined(__x86_64__)
DECLARE(avx512)
DECLARE(avx2)
#else
DECLARE(neon)
#endif
DECLARE(generic)

static const struct {
    const char *name;
    vmath function[FR_REALS];
} vmaths[] = {
#if defined(__x86_64__)
    {"avx512", {vmath_avx512_f32, vmath_avx512_f64}},
    {"avx2", {vmath_avx2_f32, vmath_avx2_f64}},
#else
    {"neon", {vmath_neon_f32, vmath_neon_f64}},
#endif
    {"generic", {vmath_generic_f32, vmath_generic_f64}},
};

/* All pairs of special values, then bit patterns from the whole range, then moderate numbers. */
static void functions(void) {
    enum { N = 1 << 16 };
    const double inf = __builtin_inf(), nan = __builtin_nan("");
    const double special[] = {0.0, -0.0, 1,        -1,        0.5,       -2,   inf,  -inf,
                              nan, -nan, 0x1p-126, -0x1p-149, 0x1p-1074, 3e38, 1e308};
    enum { SPECIALS = sizeof special / sizeof *special };
    void *x = cleared(N * 8), *y = cleared(N * 8), *out = cleared(N * 8);
    for (int64_t i = 0; i < N; i++) {
        if (i < SPECIALS * SPECIALS) {
            put(x, i, special[i / SPECIALS]), put(y, i, special[i % SPECIALS]);
        } else if (i < N / 2) {
            const uint64_t a = bits_of(90, (uint64_t)i), b = bits_of(91, (uint64_t)i);
            memcpy((char *)x + (size_t)i * real_size(), &a, real_size());
            memcpy((char *)y + (size_t)i * real_size(), &b, real_size());
        } else {
            put(x, i, 25 * uniform(92, (uint64_t)i)), put(y, i, 25 * uniform(93, (uint64_t)i));
        }
    }
    for (size_t t = 0; t < sizeof vmaths / sizeof *vmaths; t++) {
        if (strcmp(vmaths[t].name, fr_simd_name(target)) != 0) continue;
        const char *name;
        for (int f = 0; (name = vmaths[t].function[real](f, x, y, out, N)) != NULL; f++) {
            digest_start();
            digest_reals(out, N);
            digest_print(name);
        }
    }
    free(x), free(y), free(out);
}

static void normals(void) {
    enum { N = 1000 * FR_PANEL };
    void *out = cleared(N * 8);
    for (uint32_t i = 0; i < N / FR_PANEL; i++) {
        fr_normals(real, (char *)out + i * FR_PANEL * real_size(), 0xfedcba9876543210u, i % 7 * FR_PANEL, i, i / 3, 5);
    }
    digest_start();
    digest_reals(out, N);
    digest_print("normals of a row");
    free(out);
}

static void draws(void) {
    enum { N = 5003 };
    double *out = cleared(N * sizeof *out);
    int64_t *order = cleared(N * sizeof *order);
    digest_start();
    fr_fill_uniform(out, N, 0xfedcba9876543210u, 3, 0);
    digest_doubles(out, N);
    digest_print("uniform");
    digest_start();
    fr_fill_normal(out, N, 0xfedcba9876543210u, 4, 0);
    digest_doubles(out, N);
    digest_print("normal");
    digest_start();
    fill_permutation(order, N, 17, 3);
    digest_bytes(order, N * sizeof *order);
    digest_print("permutation");
    digest_start();
    for (uint32_t i = 0; i < 100; i++) {
        const uint32_t counter[4] = {i, 1, 2, 3}, key[2] = {i * i, 5};
        uint32_t words[4];
        fr_philox(words, counter, key, i % 2 ? 7 : 10);
        digest_bytes(words, sizeof words);
    }
    digest_print("philox");
    free(out), free(order);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    threads = atoi(argv[2]);
    scramble = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    while (target < fr_simd_count() && strcmp(fr_simd_name(target), argv[1]) != 0) target++;
    if (target == fr_simd_count() || !fr_simd_available(target)) return 3;
    fr_simd_use(target);
    draws();
    for (int r = FR_F32; r < FR_REALS; r++) {
        real = (fr_real)r;
        functions();
        normals();
        gathers();
        singles();
        networks();
        graphs();
    }
    return failures > 0;
}
