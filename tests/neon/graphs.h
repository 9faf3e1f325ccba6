/* The cases of driver.c of ops that only graphs have, and of what rides on the others there: images, norms, embeddings,
 * averages, coupled weights, all options of losses and gathers. Each runs for three batches, the last one smaller. */
#ifndef GRAPHS_H
#define GRAPHS_H

#include "support.h"

/* ---- what they share ---- */

static const fr_rule SGD = {.kind = FR_RULE_SGD, .lr_scale = 1};

/* Plain, with state, with what comes after the step, and stored. */
static const fr_rule UPDATES[] = {
    {.kind = FR_RULE_SGD, .lr_scale = 1},
    {.kind = FR_RULE_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .lr_scale = 0.5, .penalty = {.l2 = 0.1}},
    {.kind = FR_RULE_NESTEROV, .momentum = 0.9, .lr_scale = 1, .penalty = {.l1 = 1e-2, .l2 = 0.5, .proximal = 1}},
    {.kind = FR_RULE_RAW, .lr_scale = 1},
    {.kind = FR_RULE_ADD, .lr_scale = 1},
};
enum { UPDATE_KINDS = sizeof UPDATES / sizeof *UPDATES };

/* Three batches, the last one of a bit more than half the rows. */
static fr_feed three_batches(int64_t batch) {
    static const double rates[3] = {0.1, 0.05, 0.2};
    return (fr_feed){
        .n_heads = 1,
        .rows = 2 * batch + (batch + 1) / 2,
        .batch_size = batch,
        .seed = 0xfedcba9876543210u,
        .step = 5,
        .rates = rates,
    };
}

static fr_param trained(int64_t rows, int64_t columns, const fr_rule *rule, uint64_t seed, double size) {
    fr_param p = param_of(rows, columns, rule, seed, size);
    p.norms = matrix_of((rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP, columns).data;
    return p;
}

/* Few different values, so that many are equal. */
static fr_matrix rough_matrix(int64_t rows, int64_t columns, uint64_t seed) {
    const fr_matrix m = matrix_of(rows, columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        put(m.data, i / columns * m.ld + i % columns, (double)(int64_t)(4 * uniform(seed, (uint64_t)i)) / 4);
    }
    return m;
}

static void finish(fr_op *ops, int n_ops, const fr_feed *feed, fr_code expected, const char *name) {
    digest_start();
    run(ops, n_ops, 1, feed, expected, name);
    digest_buffers();
    digest_print(name);
}

/* ---- images ---- */

typedef struct {
    int64_t height, width, channels, down, across, step_down, step_right;
    int same;
    int64_t units;
} picture;

static fr_window window_of(const picture *p) {
    fr_window w = {p->height, p->width, p->channels, p->down, p->across, p->step_down, p->step_right, 0, 0, 0, 0};
    if (p->same) {
        w.down = (p->height + p->step_down - 1) / p->step_down;
        w.across = (p->width + p->step_right - 1) / p->step_right;
        const int64_t high = (w.down - 1) * p->step_down + p->down - p->height;
        const int64_t wide = (w.across - 1) * p->step_right + p->across - p->width;
        w.top = high > 0 ? high / 2 : 0, w.left = wide > 0 ? wide / 2 : 0;
    } else {
        w.down = (p->height - p->down) / p->step_down + 1;
        w.across = (p->width - p->across) / p->step_right + 1;
    }
    return w;
}

static void convolutions(void) {
    static const picture pictures[] = {
        {12, 10, 8, 5, 5, 1, 1, 1, 64}, /* LeNet */
        {9, 11, 1, 5, 5, 1, 1, 1, 32},  /* one channel */
        {9, 8, 3, 3, 3, 1, 1, 0, 20},   /* no border */
        {7, 6, 5, 4, 2, 1, 1, 1, 7},    /* an uneven one */
        {11, 9, 4, 3, 3, 2, 2, 1, 16},  /* strides */
        {12, 9, 2, 3, 2, 2, 3, 0, 65},  /* strides and a rest */
        {9, 10, 3, 2, 1, 3, 4, 0, 33},  /* gaps */
        {5, 6, 24, 1, 1, 1, 1, 1, 48},  /* one pixel */
        {6, 5, 1, 3, 3, 1, 1, 1, 1},    /* one unit */
        {4, 4, 500, 3, 3, 1, 1, 1, 5},  /* long sums */
    };
    enum { M = 4 };
    char name[100];
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        for (int u = 0; u < UPDATE_KINDS; u++) {
            const fr_window window = window_of(&pictures[i]);
            const int64_t N = pictures[i].units, K = window.height * window.width * window.channels;
            const int64_t inputs = window.image_height * window.image_width * window.channels;
            const int64_t outputs = window.down * window.across * N;
            const fr_feed feed = three_batches(M);
            const fr_param weight = trained(K, N, &UPDATES[u], 100, 0.3), bias = param_of(1, N, &SGD, 110, 0.3);
            const fr_matrix x = random_matrix(M, inputs, 120, 1), dz = random_matrix(M, outputs, 121, 0.2);
            const fr_matrix y = matrix_of(M, outputs), z = matrix_of(M, outputs), dx = random_matrix(M, inputs, 122, 1);
            const fr_matrix scale = random_matrix(1, N, 123, 2),
                            flipped = matrix_of(K / window.channels * N, window.channels);
            const int activation = u % 2 ? FR_GELU : FR_RELU;

            fr_op ops[5] = {op_of(FR_FLIP, 0), op_of(FR_CONV, 0), op_of(FR_CONV_DX, 1), op_of(FR_CONV_DW, 1),
                            op_of(FR_MAX_NORM, 1)};
            ops[0].flip = (fr_flip_op){.out = flipped, .weight = weight.value, .N = N, .window = window};
            ops[1].conv = (fr_conv_op){.window = window};
            ops[1].conv.dense = (fr_dense_op){.out = y, .z = z, .x = x, .weight = weight.value, .bias = bias.value};
            ops[1].conv.dense.K = K, ops[1].conv.dense.N = N, ops[1].conv.dense.activation = activation;
            ops[1].conv.dense.mask = mask_of(u % 2 ? 40000 : 65536, 1 << 16 | 9);
            ops[1].conv.dense.noise = (fr_noise){.std = u == 2 ? 0.3 : 0, .stream = 11};
            if (u == 3) ops[1].conv.dense.scale = scale;
            ops[2].conv_dx = (fr_conv_dx_op){.window = window};
            ops[2].conv_dx.dense = (fr_dense_dx_op){.out = dx, .dz = dz, .weight = flipped, .K = K, .N = N};
            ops[2].conv_dx.dense.add = u % 2;
            ops[2].conv_dx.dense.through = (fr_through){.y = x, .activation = FR_TANH, .mask = mask_of(50000, 12)};
            ops[3].conv_dw = (fr_conv_dw_op){.window = window};
            ops[3].conv_dw.dense = (fr_dense_dw_op){.weight = weight, .bias = bias, .x = x, .dz = dz, .K = K, .N = N};
            ops[4].max_norm = (fr_max_norm_op){.param = weight, .limit = 1};
            snprintf(name, sizeof name, "conv %d rule %d", (int)i, u);
            finish(ops, fr_stores_gradient(UPDATES[u].kind) ? 4 : 5, &feed, FR_OK, name);
        }
    }
}

static void pools(void) {
    static const picture pictures[] = {
        {8, 6, 32, 2, 2, 2, 2, 0, 0}, {9, 7, 5, 2, 2, 2, 2, 0, 0},  {9, 7, 20, 3, 3, 2, 2, 1, 0}, /* overlap */
        {6, 7, 1, 4, 2, 3, 1, 1, 0},  {10, 7, 9, 2, 1, 3, 4, 0, 0},                               /* gaps */
        {5, 4, 17, 5, 4, 5, 4, 0, 0}, {6, 9, 18, 3, 3, 3, 3, 0, 0},
    };
    enum { M = 5 };
    char name[100];
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        for (int average = 0; average < 2; average++) {
            for (int add = 0; add < 2; add++) {
                const fr_window window = window_of(&pictures[i]);
                const int64_t inputs = window.image_height * window.image_width * window.channels;
                const int64_t outputs = window.down * window.across * window.channels;
                const fr_feed feed = three_batches(M);
                fr_op ops[2] = {op_of(FR_POOL, 0), op_of(FR_POOL_DX, 0)};
                ops[0].pool = (fr_pool_op){.x = rough_matrix(M, inputs, 130), .out = matrix_of(M, outputs)};
                ops[0].pool.window = window, ops[0].pool.average = average;
                ops[0].pool.mask = mask_of(add ? 40000 : 65536, 13);
                ops[1].pool_dx = (fr_pool_dx_op){.x = ops[0].pool.x, .dz = random_matrix(M, outputs, 131, 1)};
                ops[1].pool_dx.out = random_matrix(M, inputs, 132, 1);
                ops[1].pool_dx.window = window, ops[1].pool_dx.average = average, ops[1].pool_dx.add = add;
                ops[1].pool_dx.through =
                    (fr_through){.y = ops[0].pool.x, .activation = FR_RELU, .mask = mask_of(50000, 14)};
                snprintf(name, sizeof name, "pool %d%s%s", (int)i, average ? " mean" : "", add ? " added" : "");
                finish(ops, 2, &feed, FR_OK, name);
            }
        }
    }
}

/* ---- norms ---- */

typedef struct {
    int64_t rows, pixels, channels;
} block;

/* gamma and beta may be left out. */
static void one_norm(const block *b, const fr_rule *rule, int layer, int bare, const char *name) {
    const int64_t M = b->rows, N = b->pixels * b->channels, C = layer ? N : b->channels;
    const fr_feed feed = three_batches(M);
    fr_norm_op norm = {.N = N, .channels = C, .eps = 1e-3, .momentum = 0.3};
    int64_t period = C;
    while (period % FR_LANES) period += C;
    norm.period = period < N ? period : N;
    if (!bare) {
        norm.gamma = trained(1, C, rule, 140, 1), norm.beta = param_of(1, C, &SGD, 141, 1);
    }
    const fr_matrix below = random_matrix(M, N, 142, 3), dx = random_matrix(M, N, 144, 1);
    norm.x = below, norm.dz = random_matrix(M, N, 143, 0.1);
    norm.table = layer ? matrix_of(M, 3) : matrix_of(FR_TABLE_ROWS, N);
    fr_norm_op forward = norm, back = norm;
    forward.out = matrix_of(M, N), forward.z = matrix_of(M, N);
    forward.activation = bare ? FR_TANH : FR_GELU, forward.mask = mask_of(bare ? 65536 : 45000, 15);
    forward.mean = random_matrix(1, C, 145, 1), forward.variance = matrix_of(1, C), forward.moves = 1;
    for (int64_t j = 0; j < C; j++) put(forward.variance.data, j, 1.5 + uniform(146, (uint64_t)j));
    back.out = dx, back.add = bare;
    back.through = (fr_through){.y = below, .activation = FR_SIGMOID, .mask = mask_of(50000, 16)};

    static const fr_op_kind of_columns[] = {FR_BATCH_NORM, FR_BATCH_NORM_DX};
    static const fr_op_kind of_channels[] = {FR_MOMENTS,   FR_NORM_SCALE, FR_AFFINE,
                                             FR_NORM_SUMS, FR_SCALE_DW,   FR_AFFINE_DX};
    static const fr_op_kind of_rows[] = {FR_LAYER_NORM, FR_LAYER_NORM_DX, FR_LAYER_NORM_DW};
    const fr_op_kind *kinds = layer ? of_rows : b->pixels > 1 ? of_channels : of_columns;
    const int n_ops = layer ? 3 : b->pixels > 1 ? 6 : 2, first_back = n_ops == 6 ? 3 : 1;
    fr_op ops[6];
    for (int i = 0; i < n_ops; i++) {
        ops[i] = op_of(kinds[i], i > 0);
        ops[i].norm = i < first_back ? forward : back;
    }
    finish(ops, n_ops, &feed, FR_OK, name);
}

/* Predictions, by the running moments: of the values, and folded into a product. */
static void running_norm(const block *b, const char *name) {
    const int64_t M = b->rows, N = b->pixels * b->channels, C = b->channels, K = 21;
    const fr_feed feed = three_batches(M);
    const fr_param gamma = param_of(1, C, &SGD, 150, 1), beta = param_of(1, C, &SGD, 151, 1);
    int64_t period = C;
    while (period % FR_LANES) period += C;
    fr_norm_op norm = {.gamma = gamma, .beta = beta, .N = N, .channels = C, .eps = 1e-3, .running = 1};
    norm.period = period < N ? period : N;
    norm.mean = random_matrix(1, C, 152, 1), norm.variance = matrix_of(1, C);
    for (int64_t j = 0; j < C; j++) put(norm.variance.data, j, 1.5 + uniform(153, (uint64_t)j));
    norm.x = random_matrix(M, N, 154, 3), norm.table = matrix_of(FR_TABLE_ROWS, N);
    norm.activation = FR_SILU, norm.mask = NO_MASK, norm.out = matrix_of(M, N);
    fr_op ops[5] = {op_of(FR_NORM_SCALE, 0), op_of(FR_AFFINE, 1), op_of(FR_AFFINE_DX, 1), op_of(FR_NORM_SCALE, 0),
                    op_of(FR_DENSE, 1)};
    ops[0].norm = ops[1].norm = ops[2].norm = ops[3].norm = norm;
    ops[2].norm.dz = random_matrix(M, N, 155, 1), ops[2].norm.out = matrix_of(M, N);
    ops[2].norm.through = (fr_through){.y = norm.x, .mask = NO_MASK};
    ops[3].norm.folded = 1, ops[3].norm.bias = random_matrix(1, C, 156, 1),
    ops[3].norm.table = matrix_of(FR_TABLE_ROWS, N);
    const fr_matrix table = ops[3].norm.table;
    ops[4].dense = (fr_dense_op){.out = matrix_of(M, C), .K = K, .N = C, .activation = FR_ELU, .mask = NO_MASK};
    ops[4].dense.x = random_matrix(M, K, 157, 1), ops[4].dense.weight = random_matrix(K, C, 158, 1);
    ops[4].dense.scale = ops[4].dense.bias = table;
    ops[4].dense.scale.data = (char *)table.data + (size_t)(FR_TABLE_SCALE * table.ld) * real_size();
    ops[4].dense.bias.data = (char *)table.data + (size_t)(FR_TABLE_SHIFT * table.ld) * real_size();
    finish(ops, 5, &feed, FR_OK, name);
}

static void norms(void) {
    /* panels that are full, narrow, many; blocks of rows that are full and not; the last one is read from far */
    static const block blocks[] = {{7, 1, 10}, {130, 1, 65}, {65, 9, 3},   {70, 6, 20},   {5, 4, 16},
                                   {33, 1, 1}, {66, 70, 33}, {2, 100, 32}, {90, 1, 3000}, {66, 125, 33}};
    char name[100];
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        snprintf(name, sizeof name, "norm %d running", (int)i);
        running_norm(&blocks[i], name);
        for (int layer = 0; layer < 2; layer++) {
            const int large = blocks[i].rows * blocks[i].pixels * blocks[i].channels > 100 * 1000;
            for (int u = 0; u < (large ? 1 : UPDATE_KINDS); u++) {
                snprintf(name, sizeof name, "norm %d%s rule %d", (int)i, layer ? " of rows" : "", u);
                one_norm(&blocks[i], &UPDATES[u], layer, 0, name);
            }
            snprintf(name, sizeof name, "norm %d%s bare", (int)i, layer ? " of rows" : "");
            one_norm(&blocks[i], &SGD, layer, 1, name);
        }
    }
}

/* ---- embeddings ---- */

static void embeddings(void) {
    enum { M = 37, COLUMNS = 3, MOST = 1123 };
    static const int64_t starts[2][COLUMNS] = {{0, 1000, 1003}, {0, 0, 0}};
    static const int64_t counts[2][COLUMNS] = {{1000, 3, 120}, {70, 70, 70}};
    static const int64_t widths[] = {1, 9, 64, 130};
    char name[100];
    int32_t heads[MOST], next[M * COLUMNS];
    for (int shared = 0; shared < 2; shared++) {
        const int64_t rows = shared ? 70 : MOST;
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            for (int u = 0; u <= UPDATE_KINDS; u++) { /* the last one: a code that names no row */
                const int bad = u == UPDATE_KINDS;
                const fr_rule *rule = bad ? &SGD : &UPDATES[u];
                const fr_feed feed = three_batches(M);
                const fr_param weight = trained(rows, widths[i], rule, 160, 1);
                const fr_matrix x = matrix_of(M, COLUMNS);
                for (int64_t k = 0; k < M * COLUMNS; k++) {
                    const int64_t j = k % COLUMNS,
                                  code = (int64_t)(bits_of(161, (uint64_t)k) % (uint64_t)counts[shared][j]);
                    put(x.data, k / COLUMNS * x.ld + j, bad && k == 50 ? -1 : (double)code);
                }
                for (int64_t k = 0; k < rows; k++) heads[k] = -1;
                const fr_codes codes = {
                    .x = x, .starts = starts[shared], .counts = counts[shared], .columns = COLUMNS, .width = widths[i]};
                fr_op ops[3] = {op_of(FR_EMBED, 0), op_of(FR_EMBED_DW, 1), op_of(FR_ROW_NORM, 1)};
                ops[0].embed = (fr_embed_op){.weight = weight.value, .codes = codes, .mask = mask_of(50000, 17)};
                ops[0].embed.out = matrix_of(M, COLUMNS * widths[i]);
                ops[1].embed_dw = (fr_embed_dw_op){.weight = weight, .codes = codes, .heads = heads, .next = next};
                ops[1].embed_dw.dz = random_matrix(M, COLUMNS * widths[i], 162, 0.3);
                ops[2].max_norm = (fr_max_norm_op){.param = weight, .limit = 1};
                snprintf(name, sizeof name, "embed %d width %d %s %d", shared, (int)widths[i], bad ? "bad" : "rule", u);
                finish(ops, fr_stores_gradient(rule->kind) ? 2 : 3, &feed, bad ? FR_BAD_ROW : FR_OK, name);
            }
        }
    }
}

/* ---- weights: averages, couples, noise; biases alone ---- */

static void weights(void) {
    static const int64_t shapes[][2] = {{1, 1}, {3, 70}, {101, 203}, {5, 4100}};
    static const double decays[] = {0, 0.9, 0.999999};
    enum { M = 50 };
    char name[100];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t rows = shapes[i][0], columns = shapes[i][1];
        const fr_feed feed = three_batches(M);
        for (size_t d = 0; d < sizeof decays / sizeof *decays; d++) {
            const fr_param p = param_of(rows, columns, &SGD, 170, 1);
            const fr_matrix count = matrix_of(1, 1), gradient = random_matrix(rows, columns, 171, 1);
            fr_op ops[3] = {op_of(FR_UPDATE, 0), op_of(FR_COUNT, 0), op_of(FR_AVERAGE, 1)};
            ops[0].update = (fr_update_op){.param = p, .gradient = gradient};
            ops[1].count.count = count;
            ops[2].average =
                (fr_average_op){.out = random_matrix(rows, columns, 172, 1), .param = p.value, .count = count};
            ops[2].average.rows = rows, ops[2].average.columns = columns, ops[2].average.decay = decays[d];
            snprintf(name, sizeof name, "average %d decay %d", (int)i, (int)d);
            finish(ops, 3, &feed, FR_OK, name);
        }
        const fr_rule pulled = {.kind = FR_RULE_GRADIENT, .lr_scale = 1, .penalty = {.l2 = 0.3}};
        const fr_param a = param_of(rows, columns, &pulled, 173, 1), b = param_of(rows, columns, &SGD, 174, 1);
        /* all wait: worker 0 may still add up the penalties of the batch before */
        fr_op ops[5] = {op_of(FR_COUPLE, 1), op_of(FR_UPDATE, 1), op_of(FR_UPDATE, 0), op_of(FR_PERTURB, 1),
                        op_of(FR_BIAS_DW, 1)};
        ops[0].couple = (fr_couple_op){.a = a, .b = b.value, .gradient_a = random_matrix(rows, columns, 175, 1)};
        ops[0].couple.gradient_b = random_matrix(rows, columns, 176, 1);
        ops[1].update = (fr_update_op){.param = a, .gradient = ops[0].couple.gradient_a};
        ops[1].param.rule = SGD, ops[1].param.penalty = NULL;
        ops[2].update = (fr_update_op){.param = b, .gradient = ops[0].couple.gradient_b};
        ops[3].perturb = (fr_perturb_op){.out = matrix_of(rows, columns), .weight = b.value, .rows = rows};
        ops[3].perturb.columns = columns, ops[3].perturb.noise = (fr_noise){.std = 0.2, .stream = 18};
        ops[4].bias_dw = (fr_bias_dw_op){.bias = param_of(1, columns, &UPDATES[1], 177, 1), .N = columns};
        ops[4].bias_dw.dz = random_matrix(M, columns, 178, 1);
        snprintf(name, sizeof name, "couple %d", (int)i);
        finish(ops, 5, &feed, FR_OK, name);
    }
}

/* ---- products and passes with what graphs add to them ---- */

static void passes(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {50, 77, 203}, {70, 300, 64}, {3, 5000, 10}};
    char name[100];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t M = shapes[i][0], K = shapes[i][1], N = shapes[i][2];
        for (int way = 0; way < 4; way++) { /* rows or tiles for each worker; the weight as it is or transposed */
            const int transposed = way / 2;
            const fr_feed feed = three_batches(M);
            const fr_matrix weight = transposed ? random_matrix(N, K, 180, 1) : random_matrix(K, N, 180, 1);
            const fr_matrix x = random_matrix(M, K, 181, 1), dz = random_matrix(M, N, 182, 1);
            fr_op ops[2] = {op_of(FR_DENSE, 0), op_of(FR_DENSE_DX, 0)};
            ops[0].dense = (fr_dense_op){.out = matrix_of(M, N), .z = matrix_of(M, N), .x = x, .weight = weight};
            ops[0].dense.scale = random_matrix(1, N, 183, 1), ops[0].dense.bias = random_matrix(1, N, 184, 1);
            ops[0].dense.activity = matrix_of(M, (N + FR_PANEL - 1) / FR_PANEL), ops[0].dense.activity_l1 = 0.1;
            ops[0].dense.K = K, ops[0].dense.N = N, ops[0].dense.transposed = transposed;
            ops[0].dense.activation = FR_TANH, ops[0].dense.mask = mask_of(40000, 19);
            ops[0].dense.mask.group = UINT32_MAX;
            ops[1].dense_dx = (fr_dense_dx_op){.out = random_matrix(M, K, 185, 1), .dz = dz, .weight = weight};
            ops[1].dense_dx.K = K, ops[1].dense_dx.N = N, ops[1].dense_dx.add = 1,
            ops[1].dense_dx.transposed = transposed;
            ops[1].dense_dx.through = (fr_through){.y = x, .activation = FR_LEAKY_RELU, .activity_l1 = 0.1};
            ops[1].dense_dx.through.mask = (fr_mask){.threshold = 65536, .stream = 20, .scale = 1, .std = 0.3};
            ops[0].rowwise = ops[1].rowwise = way % 2;
            snprintf(name, sizeof name, "product %d way %d", (int)i, way);
            finish(ops, 2, &feed, FR_OK, name);
        }
        const fr_feed feed = three_batches(M);
        fr_op ops[3] = {op_of(FR_ELEMENTWISE, 0), op_of(FR_ELEMENTWISE, 1), op_of(FR_APPEND, 0)};
        fr_elementwise_op *e = &ops[0].elementwise; /* forward, with a second summand, into some columns */
        e->x = random_matrix(M, K, 186, 1), e->plus = random_matrix(M, K, 187, 1), e->z = matrix_of(M, K);
        e->out = random_matrix(M, N + K, 188, 1), e->out_column = N, e->N = K, e->within = 1;
        e->activation = FR_MISH, e->mask = mask_of(50000, 21), e->noise = (fr_noise){.std = 0.1, .stream = 22};
        e = &ops[1].elementwise; /* back, from some columns, added */
        e->x = ops[0].elementwise.out, e->x_column = N, e->out = random_matrix(M, K, 189, 1), e->N = K, e->within = 1;
        e->add = 1, e->mask = mask_of(50000, 21);
        e->through = (fr_through){.y = ops[0].elementwise.x, .activation = FR_SOFTPLUS, .mask = NO_MASK};
        ops[2].append = (fr_append_op){.out = random_matrix(2 * M, K, 190, 1), .gradient = random_matrix(M, K, 191, 1)};
        ops[2].append.N = K, ops[2].append.epsilon = 0.2, ops[2].append.low = -0.5, ops[2].append.high = 0.75;
        ops[2].append.mean = random_matrix(1, K, 192, 1), ops[2].append.scale = random_matrix(1, K, 193, 2);
        ops[2].append.clipped = 1;
        snprintf(name, sizeof name, "passes %d", (int)i);
        finish(ops, 3, &feed, FR_OK, name);
    }
}

/* ---- losses ---- */

enum { PLAIN, SMOOTHED, SHARES, WEIGHED, HOLES, BY_ROW, MIXED, SHAPED, LOSS_WAYS };

static void one_loss(fr_loss_kind kind, int way, int64_t N, const char *name) {
    enum { M = 41 };
    const int64_t rows = 2 * M + (M + 1) / 2;
    int64_t labels[2 * M + (M + 1) / 2];
    const fr_matrix y = random_matrix(M, N, 200, 4), t = matrix_of(M, N);
    double *shares = cleared((size_t)(rows * N) * sizeof *shares);
    void *own = cleared((size_t)rows * sizeof(double));
    for (int64_t i = 0; i < rows * N; i++) shares[i] = (1 + uniform(201, (uint64_t)i)) / (double)N;
    for (int64_t i = 0; i < rows; i++) {
        labels[i] = way == HOLES && i % 7 == 3 ? -1 : (int64_t)(bits_of(202, (uint64_t)i) % (uint64_t)N);
        put(own, i, 1 + uniform(203, (uint64_t)i));
    }
    for (int64_t i = 0; i < M * N; i++) {
        const double nan = __builtin_nan("");
        put(t.data, i / N * t.ld + i % N, way == HOLES && i % 5 == 2 ? nan : 0.5 + 0.5 * uniform(204, (uint64_t)i));
    }
    const int of_classes = kind == FR_SOFTMAX_CROSS_ENTROPY || kind == FR_SOFTMAX_FOCAL || kind == FR_CATEGORICAL_HINGE;
    fr_op ops[2] = {op_of(FR_LOSS, 0), op_of(FR_TOTALS, 1)};
    ops[0].loss = (fr_loss_op){.dz = matrix_of(M, N), .kind = (int32_t)kind, .N = N, .shape = 1, .head_weight = 0.7};
    fr_loss_op *loss = &ops[0].loss;
    loss->through = (fr_through){.y = y, .mask = mask_of(way == WEIGHED ? 40000 : 65536, 23)};
    if (!of_classes) loss->targets = t;
    if (way == SMOOTHED) loss->smoothing = 0.1;
    if (way == WEIGHED) {
        loss->weights = random_matrix(1, N, 205, 2), loss->units = random_matrix(1, N, 206, 2);
        if (kind == FR_SIGMOID_CROSS_ENTROPY || kind == FR_SIGMOID_FOCAL || kind == FR_HINGE)
            loss->positive = random_matrix(1, N, 207, 2);
    }
    loss->holes = way == HOLES, loss->by_row = way == BY_ROW;
    if (way == MIXED) loss->mix = (fr_mix){.alpha = 0.4, .stream = 24};
    if (way == SHAPED) loss->shape = kind == FR_QUANTILE ? 0.3 : 2;
    fr_feed feed = three_batches(M);
    feed.head[0] = (fr_head){.labels = labels, .weights = way == BY_ROW ? NULL : own};
    if (way == SHARES) {
        feed.head[0].labels = NULL;
        feed.head[0].shares =
            (fr_source){.data = (char *)shares, .row_stride = N * 8, .columns = N, .dtype = FR_FLOAT64};
    }
    finish(ops, 2, &feed, FR_OK, name);
    free(shares), free(own);
}

static void losses(void) {
    static const int64_t outputs[] = {1, 37, 130};
    char name[100];
    for (int kind = 0; kind < FR_GIVEN; kind++) {
        const int of_classes =
            kind == FR_SOFTMAX_CROSS_ENTROPY || kind == FR_SOFTMAX_FOCAL || kind == FR_CATEGORICAL_HINGE;
        for (int way = 0; way < LOSS_WAYS; way++) {
            if (!of_classes && (way == SHARES || way == MIXED)) continue;
            if (kind == FR_CATEGORICAL_HINGE && (way == SHARES || way == MIXED)) continue;
            for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
                snprintf(name, sizeof name, "loss %d way %d outputs %d", kind, way, (int)outputs[i]);
                one_loss((fr_loss_kind)kind, way, outputs[i], name);
            }
        }
    }
}

/* ---- gathers: sparse rows, holes, mixed and cut images ---- */

static void more_gathers(void) {
    enum { M = 29, ROWS = 2 * M + (M + 1) / 2, COLUMNS = 77, MOST = 9 };
    char name[100];
    const fr_augment cut = {
        .transform = {{FR_ROTATE, -30, 30}, {FR_CUTOUT, 0.7, 4}},
        .count = 2,
        .stream = 4 << 16,
        .planes = 1,
        .height = 7,
        .width = 11,
        .channels = 1,
    };
    int64_t starts[ROWS + 1], *places = cleared(ROWS * MOST * sizeof *places);
    int32_t *narrow = cleared(ROWS * MOST * sizeof *narrow);
    double *data = cleared(ROWS * COLUMNS * sizeof *data);
    starts[0] = 0;
    for (int64_t i = 0; i < ROWS; i++) starts[i + 1] = starts[i] + (int64_t)(bits_of(210, (uint64_t)i) % (MOST + 1));
    for (int64_t i = 0; i < ROWS; i++) {
        for (int64_t k = starts[i]; k < starts[i + 1]; k++) { /* ascending, each once */
            narrow[k] = (int32_t)(places[k] = (k - starts[i]) * 8 + (int64_t)(bits_of(211, (uint64_t)k) % 8));
        }
    }
    for (int64_t i = 0; i < ROWS * COLUMNS; i++) data[i] = uniform(212, (uint64_t)i);
    for (int way = 0; way < 5; way++) { /* 32-bit places, 64-bit ones, holes, mixed, cut and mixed */
        if (way == 2) data[100] = data[333] = __builtin_nan("");
        if (way == 3) data[100] = data[333] = 0;
        fr_feed feed = three_batches(M);
        fr_source *source = &feed.source[0];
        *source = (fr_source){.data = (char *)data, .row_stride = COLUMNS * 8, .columns = COLUMNS, .dtype = FR_FLOAT64};
        if (way < 2)
            source->starts = starts, source->wide = way, source->places = way ? (void *)places : (void *)narrow;
        fr_op op = op_of(FR_GATHER, 0);
        op.gather = (fr_gather_op){.out = matrix_of(M, COLUMNS), .columns = COLUMNS, .holes = way == 2};
        op.gather.mask = way == 2 ? NO_MASK : mask_of(50000, 25);
        op.gather.noise = (fr_noise){.std = way == 2 ? 0 : 0.1, .stream = 26};
        op.gather.mean = random_matrix(1, COLUMNS, 213, 1), op.gather.scale = random_matrix(1, COLUMNS, 214, 3);
        if (way >= 3) op.gather.mix = (fr_mix){.alpha = 0.4, .stream = 24};
        if (way == 4) op.gather.augment = &cut;
        snprintf(name, sizeof name, "gather way %d", way);
        finish(&op, 1, &feed, FR_OK, name);
    }
    free(places), free(narrow), free(data);
}

static void graphs(void) {
    convolutions();
    pools();
    norms();
    embeddings();
    weights();
    passes();
    losses();
    more_gathers();
}

#endif
