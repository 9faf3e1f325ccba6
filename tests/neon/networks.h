/* The cases of driver.c that train: a network of two layers, for three batches, the last one smaller. */
#ifndef NETWORKS_H
#define NETWORKS_H

#include "support.h"

typedef struct {
    int64_t batch, K, H, N;
    fr_activation activation;
    uint32_t threshold; /* of the dropout on inputs and hidden units */
    fr_loss_kind loss;
    int bytes, weighted; /* inputs are uint8; samples have weights */
    int accumulate;      /* batches in a step; more than one: stored gradients, clip_norm, max_norm */
    fr_rule rule;
} network;

static const network USUAL = {
    .batch = 70,
    .K = 33,
    .H = 70,
    .N = 10,
    .activation = FR_RELU,
    .threshold = 65536,
    .loss = FR_SOFTMAX_CROSS_ENTROPY,
    .accumulate = 1,
    .rule = {.kind = FR_RULE_SGD, .lr_scale = 1},
};

/* Makes the ops 7 and 8 (dense_dw) store their gradients, and appends what clips them, applies them, and limits the
 * norms of columns. */
static int second_pass(fr_op *ops, int n_ops, double **squares) {
    fr_param *params[4] = {&ops[7].dense_dw.weight, &ops[7].dense_dw.bias, &ops[8].dense_dw.weight,
                           &ops[8].dense_dw.bias};
    fr_op updates[4], limits[2];
    for (int i = 0; i < 4; i++) {
        fr_param *p = params[i];
        const fr_matrix gradient = matrix_of(p->rows, p->columns);
        squares[i] = cleared((size_t)fr_update_tiles(p->rows, p->columns) * sizeof(double));
        ops[n_ops] = op_of(FR_PENALIZE, i == 0);
        ops[n_ops].penalize = (fr_penalize_op){.param = *p, .squares = squares[i]};
        ops[n_ops].param.rule.kind = FR_RULE_GRADIENT, ops[n_ops++].param.slot[0] = gradient;
        updates[i] = op_of(FR_UPDATE, i == 0);
        updates[i].update = (fr_update_op){.param = *p, .gradient = gradient, .scaled = 1};
        updates[i].param.rule.penalty.l2 = 0, updates[i].param.penalty = NULL;
        if (i % 2 == 0) {
            updates[i].param.norms = matrix_of((p->rows + FR_ROW_GROUP - 1) / FR_ROW_GROUP, p->columns).data;
            limits[i / 2] = op_of(FR_MAX_NORM, i == 0);
            limits[i / 2].max_norm = (fr_max_norm_op){.param = updates[i].param, .limit = 1};
        }
        p->rule = (fr_rule){.kind = FR_RULE_RAW, .lr_scale = 1};
        p->slot[0] = gradient, p->penalty = NULL;
    }
    ops[n_ops] = op_of(FR_CLIP_NORM, 1);
    ops[n_ops++].clip_norm.limit = 0.3;
    memcpy(ops + n_ops, updates, sizeof updates);
    memcpy(ops + n_ops + 4, limits, sizeof limits);
    return n_ops + 6;
}

static void train(const network *n, const char *name) {
    digest_start();
    const int64_t rows = 2 * n->batch + (n->batch + 1) / 2, batch = n->batch, K = n->K, H = n->H, N = n->N;
    const fr_mask in = mask_of(n->threshold, 1 << 16 | 7), hidden = mask_of(n->threshold, 1 << 16 | 8);

    int64_t *order = cleared((size_t)rows * sizeof *order), *labels = cleared((size_t)rows * sizeof *labels);
    unsigned char *inputs = cleared((size_t)(rows * K) * 8);
    void *targets = cleared((size_t)(rows * N) * 8), *weights = cleared((size_t)rows * 8);
    fill_permutation(order, rows, 5, 6);
    for (int64_t i = 0; i < rows * K; i++) {
        if (n->bytes) inputs[i] = (unsigned char)bits_of(1, (uint64_t)i);
        else put(inputs, i, uniform(1, (uint64_t)i));
    }
    for (int64_t i = 0; i < rows * N; i++) put(targets, i, 0.5 + 0.5 * uniform(2, (uint64_t)i));
    for (int64_t i = 0; i < rows; i++) {
        labels[i] = (int64_t)(bits_of(3, (uint64_t)i) % (uint64_t)N);
        put(weights, i, 1 + uniform(4, (uint64_t)i));
    }

    fr_rule bias_rule = n->rule;
    bias_rule.penalty = (fr_penalty){0}, bias_rule.weight_decay = 0;
    const fr_param w1 = param_of(K, H, &n->rule, 10, n->bytes ? 0.002 : 0.5);
    const fr_param w2 = param_of(H, N, &n->rule, 20, 0.3);
    const fr_param b1 = param_of(1, H, &bias_rule, 30, 0.2), b2 = param_of(1, N, &bias_rule, 40, 0.2);
    const fr_matrix x = matrix_of(batch, K), t = matrix_of(batch, N), z = matrix_of(batch, H), h = matrix_of(batch, H);
    const fr_matrix logits = matrix_of(batch, N), dz2 = matrix_of(batch, N), dz1 = matrix_of(batch, H);

    fr_op ops[24] = {
        op_of(FR_GATHER, 0), op_of(FR_GATHER, 0),   op_of(FR_DENSE, 1),    op_of(FR_DENSE, 1),    op_of(FR_LOSS, 1),
        op_of(FR_TOTALS, 1), op_of(FR_DENSE_DX, 0), op_of(FR_DENSE_DW, 1), op_of(FR_DENSE_DW, 0),
    };
    int n_ops = 9;
    ops[0].gather = (fr_gather_op){.out = x, .columns = K, .mask = in};
    ops[1].gather = (fr_gather_op){.out = t, .columns = N, .source = 1, .mask = NO_MASK};
    ops[2].dense = (fr_dense_op){.out = h, .z = z, .x = x, .weight = w1.value, .bias = b1.value, .K = K, .N = H};
    ops[2].dense.activation = n->activation, ops[2].dense.mask = hidden;
    ops[3].dense = (fr_dense_op){.out = logits, .x = h, .weight = w2.value, .bias = b2.value, .K = H, .N = N};
    ops[3].dense.mask = NO_MASK;
    ops[4].loss = (fr_loss_op){.dz = dz2, .targets = t, .kind = n->loss, .N = N, .shape = 0.5, .head_weight = 1};
    ops[4].loss.through = (fr_through){.y = logits, .mask = NO_MASK};
    ops[6].dense_dx = (fr_dense_dx_op){.out = dz1, .dz = dz2, .weight = w2.value, .K = H, .N = N};
    ops[6].dense_dx.through = (fr_through){.y = h, .z = z, .activation = n->activation, .mask = hidden};
    ops[7].dense_dw = (fr_dense_dw_op){.x = h, .dz = dz2, .weight = w2, .bias = b2, .K = H, .N = N};
    ops[8].dense_dw = (fr_dense_dw_op){.x = x, .dz = dz1, .weight = w1, .bias = b1, .K = K, .N = H};
    double *squares[4] = {NULL};
    if (n->accumulate > 1) n_ops = second_pass(ops, n_ops, squares);

    const double rates[3] = {0.1, 0.05, 0.2};
    const int32_t dtype = real == FR_F32 ? FR_FLOAT32 : FR_FLOAT64;
    const int64_t input_bytes = n->bytes ? 1 : (int64_t)real_size();
    const fr_feed feed = {
        .source =
            {{.data = (char *)inputs, .row_stride = K * input_bytes, .columns = K, .dtype = n->bytes ? FR_U8 : dtype},
             {.data = targets, .row_stride = N * (int64_t)real_size(), .columns = N, .dtype = dtype}},
        .head = {{.labels = labels, .weights = n->weighted ? weights : NULL}},
        .n_heads = 1,
        .order = order,
        .rows = rows,
        .batch_size = batch,
        .seed = 0x0123456789abcdefu,
        .step = 5,
        .rates = rates,
    };
    run(ops, n_ops, n->accumulate, &feed, FR_OK, name);
    digest_buffers();
    digest_print(name);
    free(order), free(labels), free(inputs), free(targets), free(weights);
    for (int i = 0; i < 4; i++) free(squares[i]);
}

static void networks(void) {
    char name[100];
    for (int a = 0; a < FR_ACTIVATIONS; a++) {
        for (int masked = 0; masked < 2; masked++) {
            network n = USUAL;
            n.activation = (fr_activation)a;
            if (masked) n.threshold = 40000;
            snprintf(name, sizeof name, "activation %d%s", a, masked ? " dropout" : "");
            train(&n, name);
        }
    }
    for (int loss = 0; loss < FR_GIVEN; loss++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            network n = USUAL;
            n.loss = (fr_loss_kind)loss, n.weighted = weighted, n.N = 37;
            snprintf(name, sizeof name, "loss %d%s", loss, weighted ? " weighted" : "");
            train(&n, name);
        }
    }
    for (int kind = 0; kind < FR_RULES; kind++) {
        for (int penalized = 0; penalized < 3;
             penalized++) { /* not, with the subgradient of L1, with its proximal step */
            network n = USUAL;
            n.bytes = 1;
            n.rule = (fr_rule){.kind = kind,
                               .momentum = 0.9,
                               .beta1 = 0.9,
                               .beta2 = 0.99,
                               .warm_up = 0.9,
                               .eps = 1e-8,
                               .lr_scale = 0.5};
            if (penalized) {
                n.rule.penalty = (fr_penalty){.l1 = 1e-2, .l2 = 0.5, .l2_per = FR_PER_ROW, .proximal = penalized == 2};
                n.rule.weight_decay = 0.01;
            }
            if (penalized == 1) n.rule.clip_value = 0.02;
            snprintf(name, sizeof name, "rule %d penalty %d", kind, penalized);
            train(&n, name);
            if (fr_stores_gradient(kind)) continue;
            n.accumulate = 2;
            snprintf(name, sizeof name, "rule %d penalty %d two passes", kind, penalized);
            train(&n, name);
        }
    }
    /* rows of a batch, inputs, hidden units, outputs: edges of tiles, KC, FR_CHAIN in both directions */
    static const int64_t shapes[][4] = {{1, 1, 1, 1},      {5, 7, 3, 2},    {97, 130, 129, 67},
                                        {13, 5000, 20, 3}, {4200, 5, 9, 3}, {7, 3, 1100, 65}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        network n = USUAL;
        n.batch = shapes[i][0], n.K = shapes[i][1], n.H = shapes[i][2], n.N = shapes[i][3];
        n.loss = FR_MSE, n.activation = FR_SIGMOID;
        snprintf(name, sizeof name, "shape %d %d %d %d", (int)n.batch, (int)n.K, (int)n.H, (int)n.N);
        train(&n, name);
    }
}

#endif
