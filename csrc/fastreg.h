/* fastreg: the whole C interface. Programs, feeds, tallies, and the few calls on them.
 *
 * C computes; it never prints, exits, or allocates in a step. Memory belongs to the caller. Python.h is not included.
 *
 * Letters: M rows of a batch, K inputs and N units of a dense layer, ld elements from one row of a matrix to the next.
 */
#ifndef FASTREG_H
#define FASTREG_H

#include <stddef.h>
#include <stdint.h>

enum { FR_LANES = 16 };            /* elements to which rows are padded, and lanes of a sum over a row */
enum { FR_PANEL = 64 };            /* columns that one tile of work spans, whatever the vector width */
enum { FR_ROW_GROUP = 48 };        /* rows of a weight over which column sums (penalties) run in order */
enum { FR_UPDATE_COLUMNS = 4096 }; /* columns of one tile when an op passes over a parameter */
enum { FR_SUM_BLOCK = 64 };        /* rows over which losses and bias gradients are summed before the next level */
enum { FR_CHAIN = 4096 };    /* terms of one chain of fused multiply-adds; the sums of chains are added in order */
enum { FR_BF16_GROUP = 32 }; /* terms of a product in bf16 that are summed from 0 (kernels/bf16_tiles.h) */
enum { FR_SLOTS = 2 };       /* arrays of state a parameter may have */
enum { FR_POWERS = 3 };      /* running numbers of an optimizer: mu_1 ... mu_t, beta2^t, warm_up^t */
enum { FR_MAX_THREADS = 256 };
enum { FR_MAX_OPS = 1 << 21 };        /* of a program: 64 for each of the most layers that a model has */
enum { FR_MAX_TRANSFORMS = 16 };      /* of an augmentation */
enum { FR_MAX_SOURCES = 32 };         /* of a feed */
enum { FR_MAX_HEADS = 16 };           /* of a feed */
enum { FR_SHUFFLE_STREAM = 2 << 16 }; /* of the draws that order the samples */

typedef enum { FR_F32, FR_F64, FR_REALS } fr_real;

typedef enum { FR_OK, FR_DIVERGED, FR_BAD_ROW, FR_CALL_FAILED, FR_FORKED } fr_code;

/* Tables. A row is X(KIND, name, ...): FR_KIND in C, "name" in Python, and its properties. The enums follow from them,
 * and so do the names (tables.c), the cases of the kernels and the dictionaries of the extension.
 */
#define FR_ENUM(KIND, ...) FR_##KIND,

/* What the walk through a program has to know of an op. */
enum {
    FR_READS_DATA = 1,  /* rows of the data: a step of zero weight goes no further than these ops */
    FR_MAY_FAIL = 2,    /* and then the batch ends at the next barrier */
    FR_ONCE_A_STEP = 4, /* waits for the last batch of a step */
    FR_HAS_PARAM = 8,   /* begins with a parameter whose rule is carried out */
    FR_ASKS_AHEAD = 16  /* the last of these in a batch asks for the rows of the next */
};

/* Op kinds that are kernels: X(KIND, name, kernel, flags). */
#define FR_FOR_EACH_KERNEL(X)                                                                                          \
    X(GATHER, Gather, gather, FR_READS_DATA | FR_MAY_FAIL)                                                             \
    X(DENSE, Dense, dense, 0)                                                                                          \
    X(LOSS, Loss, loss, 0)                                                                                             \
    X(TOTALS, Totals, totals, 0)                                                                                       \
    X(DENSE_DX, DenseDx, dense_dx, 0)                                                                                  \
    X(DENSE_DW, DenseDw, dense_dw, FR_HAS_PARAM | FR_ASKS_AHEAD)                                                       \
    X(UPDATE, Update, update, FR_ONCE_A_STEP | FR_HAS_PARAM)                                                           \
    X(ELEMENTWISE, Elementwise, elementwise, 0)                                                                        \
    X(EMIT, Emit, emit, 0)                                                                                             \
    X(PENALIZE, Penalize, penalize, FR_ONCE_A_STEP | FR_HAS_PARAM)                                                     \
    X(CLIP_NORM, ClipNorm, clip_norm, FR_ONCE_A_STEP)                                                                  \
    X(MAX_NORM, MaxNorm, max_norm, FR_ONCE_A_STEP)                                                                     \
    X(APPEND, Append, append, 0)                                                                                       \
    X(COUNT, Count, count, FR_ONCE_A_STEP)                                                                             \
    X(AVERAGE, Average, average, FR_ONCE_A_STEP)                                                                       \
    X(PERTURB, Perturb, perturb, 0)                                                                                    \
    X(BIAS_DW, BiasDw, bias_dw, FR_HAS_PARAM)                                                                          \
    X(COUPLE, Couple, couple, FR_ONCE_A_STEP | FR_HAS_PARAM)                                                           \
    X(BATCH_NORM, BatchNorm, batch_norm, 0)                                                                            \
    X(BATCH_NORM_DX, BatchNormDx, batch_norm_dx, FR_HAS_PARAM)                                                         \
    X(MOMENTS, Moments, moments, 0)                                                                                    \
    X(NORM_SCALE, NormScale, norm_scale, 0)                                                                            \
    X(AFFINE, Affine, affine, 0)                                                                                       \
    X(NORM_SUMS, NormSums, norm_sums, 0)                                                                               \
    X(SCALE_DW, ScaleDw, scale_dw, FR_HAS_PARAM)                                                                       \
    X(AFFINE_DX, AffineDx, affine_dx, 0)                                                                               \
    X(LAYER_NORM, LayerNorm, layer_norm, 0)                                                                            \
    X(LAYER_NORM_DX, LayerNormDx, layer_norm_dx, 0)                                                                    \
    X(LAYER_NORM_DW, LayerNormDw, layer_norm_dw, FR_HAS_PARAM)                                                         \
    X(CONV, Conv, conv, 0)                                                                                             \
    X(FLIP, Flip, flip, 0)                                                                                             \
    X(CONV_DX, ConvDx, conv_dx, 0)                                                                                     \
    X(CONV_DW, ConvDw, conv_dw, FR_HAS_PARAM)                                                                          \
    X(POOL, Pool, pool, 0)                                                                                             \
    X(POOL_DX, PoolDx, pool_dx, 0)                                                                                     \
    X(EMBED, Embed, embed, FR_MAY_FAIL)                                                                                \
    X(EMBED_DW, EmbedDw, embed_dw, FR_HAS_PARAM)                                                                       \
    X(ROW_NORM, RowNorm, row_norm, FR_ONCE_A_STEP)                                                                     \
    X(ROUND, Round, round, 0)

/* All op kinds. A call goes to a function of the caller's. */
#define FR_FOR_EACH_OP(X) FR_FOR_EACH_KERNEL(X) X(CALL, Call, call, FR_MAY_FAIL)

typedef enum { FR_FOR_EACH_OP(FR_ENUM) FR_OP_KINDS } fr_op_kind;

/* Activations: X(KIND, name, needs_z, shows_mask). needs_z: the derivative takes z itself, else the output a.
 * shows_mask: the derivative is 0 where a is 0, so a plain dropout mask need not be drawn again on the way back. */
#define FR_FOR_EACH_ACTIVATION(X)                                                                                      \
    X(LINEAR, linear, 0, 0)                                                                                            \
    X(RELU, relu, 0, 1)                                                                                                \
    X(LEAKY_RELU, leaky_relu, 0, 0)                                                                                    \
    X(SIGMOID, sigmoid, 0, 1)                                                                                          \
    X(TANH, tanh, 0, 0)                                                                                                \
    X(GELU, gelu, 1, 0)                                                                                                \
    X(GELU_TANH, gelu_tanh, 1, 0)                                                                                      \
    X(SILU, silu, 1, 0)                                                                                                \
    X(ELU, elu, 0, 0)                                                                                                  \
    X(SELU, selu, 0, 0)                                                                                                \
    X(SOFTPLUS, softplus, 0, 1)                                                                                        \
    X(MISH, mish, 1, 0)                                                                                                \
    X(HARD_SWISH, hard_swish, 1, 0)

typedef enum { FR_FOR_EACH_ACTIVATION(FR_ENUM) FR_ACTIVATIONS } fr_activation;

#define FR_FOR_EACH_LOSS(X)                                                                                            \
    X(SOFTMAX_CROSS_ENTROPY, softmax_cross_entropy)                                                                    \
    X(SIGMOID_CROSS_ENTROPY, sigmoid_cross_entropy)                                                                    \
    X(MSE, mse)                                                                                                        \
    X(MAE, mae)                                                                                                        \
    X(HUBER, huber)                                                                                                    \
    X(LOG_COSH, log_cosh)                                                                                              \
    X(QUANTILE, quantile)                                                                                              \
    X(POISSON, poisson)                                                                                                \
    X(SIGMOID_FOCAL, sigmoid_focal)                                                                                    \
    X(SOFTMAX_FOCAL, softmax_focal)                                                                                    \
    X(HINGE, hinge)                                                                                                    \
    X(CATEGORICAL_HINGE, categorical_hinge)                                                                            \
    X(GIVEN, given)

typedef enum { FR_FOR_EACH_LOSS(FR_ENUM) FR_LOSSES } fr_loss_kind;

/* Rules that update a parameter: X(KIND, name, slots), with the number of arrays of state that it keeps. */
#define FR_FOR_EACH_MOVE(X)                                                                                            \
    X(RULE_SGD, sgd, 0)                                                                                                \
    X(RULE_MOMENTUM, momentum, 1)                                                                                      \
    X(RULE_NESTEROV, nesterov, 1)                                                                                      \
    X(RULE_RMSPROP, rmsprop, 1)                                                                                        \
    X(RULE_RMSPROP_MOMENTUM, rmsprop_momentum, 2)                                                                      \
    X(RULE_ADAM, adam, 2)                                                                                              \
    X(RULE_NADAM, nadam, 2)                                                                                            \
    X(RULE_LION, lion, 1)

/* Rules that leave it unchanged and store its gradient. */
#define FR_FOR_EACH_STORE(X)                                                                                           \
    X(RULE_GRADIENT, gradient, 0)                                                                                      \
    X(RULE_RAW, raw, 0)                                                                                                \
    X(RULE_ADD, add, 0)

#define FR_FOR_EACH_RULE(X) FR_FOR_EACH_STORE(X) FR_FOR_EACH_MOVE(X)

typedef enum { FR_FOR_EACH_RULE(FR_ENUM) FR_RULES } fr_rule_kind;

static inline int fr_stores_gradient(int rule) {
    return rule == FR_RULE_GRADIENT || rule == FR_RULE_RAW || rule == FR_RULE_ADD;
}

/* Dtypes of data: X(KIND, name, type), named as NumPy does. */
#define FR_FOR_EACH_DTYPE(X)                                                                                           \
    X(U8, u1, uint8_t)                                                                                                 \
    X(I8, i1, int8_t)                                                                                                  \
    X(U16, u2, uint16_t)                                                                                               \
    X(I16, i2, int16_t)                                                                                                \
    X(I32, i4, int32_t)                                                                                                \
    X(I64, i8, int64_t)                                                                                                \
    X(FLOAT32, f4, float)                                                                                              \
    X(FLOAT64, f8, double)

typedef enum { FR_FOR_EACH_DTYPE(FR_ENUM) FR_DTYPES } fr_dtype;

#define FR_FOR_EACH_TRANSFORM(X)                                                                                       \
    X(ROTATE, rotate)                                                                                                  \
    X(TRANSLATE, translate)                                                                                            \
    X(RESIZE, resize)                                                                                                  \
    X(CROP, crop)                                                                                                      \
    X(SHEAR, shear)                                                                                                    \
    X(FLIP_HORIZONTAL, flip_horizontal)                                                                                \
    X(FLIP_VERTICAL, flip_vertical)                                                                                    \
    X(CUTOUT, cutout)

typedef enum { FR_FOR_EACH_TRANSFORM(FR_ENUM) FR_TRANSFORMS } fr_transform_kind;

/* What helps on some processors only, and changes no result: X(KIND, name).
 * pack_dw: dense_dw copies x and dz into the order in which its tiles read them (kernels/pack.h).
 * pack_weight: dense copies the panel of the weight that it multiplies by (kernels/gemm.h).
 * demote: small nets hand lines over to the other cores as soon as they are written (kernels/hand_over.h).
 * skip: products leave out the units that dropout has dropped for whole groups of rows (kernels/kept.h).
 */
#define FR_FOR_EACH_TUNING(X) X(PACK_DW, pack_dw) X(PACK_WEIGHT, pack_weight) X(DEMOTE, demote) X(SKIP, skip)

typedef enum { FR_FOR_EACH_TUNING(FR_ENUM) FR_TUNINGS } fr_tuning_kind;

/* tables.c: names, NULL after the last of a table; and the other columns. */
const char *fr_op_name(int kind);
const char *fr_activation_name(int kind);
const char *fr_loss_name(int kind);
const char *fr_rule_name(int kind);
const char *fr_dtype_name(int kind);
const char *fr_transform_name(int kind);
const char *fr_tuning_name(int kind);
int fr_op_flags(int kind);
int fr_activation_needs_z(int kind);
int fr_rule_slots(int kind);

/* A row-major matrix in the working dtype. ld is a multiple of 16; what lies after the last column may be read, and
 * in buffers it may be written. In parameters it is zero. */
typedef struct {
    void *data;
    int64_t ld;
} fr_matrix;

/* What dropout multiplies by: scale where the 16-bit draw is below threshold, else 0; threshold 65536 draws nothing.
 * std above 0: 1 + std times a normal draw instead. group: how many rows share their draws: group g has those of row g;
 * 0: each row has its own. */
typedef struct {
    uint32_t threshold;
    uint32_t stream;
    uint32_t group;
    double scale, std;
} fr_mask;

/* Additive normal noise; std 0: nothing is drawn. */
typedef struct {
    double std;
    uint32_t stream;
} fr_noise;

/* Mixup: row i of a batch becomes share * row i + (1 - share) * row (i + shift) mod M, with one share and one shift for
 * the batch. The share is of the distribution Beta(alpha, alpha); alpha 0: nothing is mixed. */
typedef struct {
    double alpha;
    uint32_t stream;
} fr_mix;

/* A random affine transform of an image, of an amount from low to high; a flip has the probability low. Or a cutout: a
 * square of high pixels a side is set to 0, with the probability low. */
typedef struct {
    int32_t kind;
    double low, high;
} fr_transform;

/* Random transforms, one after the other, of images that lie as planes x height x width x channels. Cutouts come last.
 * smooth: weights
 * -radius .. radius of a Gaussian, for a field of displacements of alpha pixels; NULL for none. */
typedef struct {
    fr_transform transform[FR_MAX_TRANSFORMS];
    int32_t count;
    uint32_t stream; /* the next two are those of the field */
    int64_t planes, height, width, channels;
    int64_t radius;
    const double *smooth;
    double alpha;
} fr_augment;

/* The way back through what made y: dz = (dy + activity_l1 * share of the row * sign(y)) * mask * scale * activation'. */
typedef struct {
    fr_matrix y, z;
    int32_t activation;
    double activity_l1;
    fr_mask mask;
} fr_through;

/* What a parameter costs in the objective, l1 |W|_1 + l2/2 |W|^2. The coefficients are divided by 1, by the rows of the
 * step, or by the sum of their weights in the first head (by the rows where that is 0). Proximal, L1 is a soft threshold
 * after the step and no part of the gradient. */
enum { FR_PER_ONE, FR_PER_ROW, FR_PER_WEIGHT };

typedef struct {
    double l1, l2;
    int32_t l1_per, l2_per, proximal;
} fr_penalty;

/* How a parameter follows its gradient; the formulas are in kernels/update.h. */
typedef struct {
    int32_t kind, non_negative;
    int32_t scheduled; /* weight_decay is multiplied by the decay of the batch instead of the rate */
    fr_penalty penalty;
    double momentum, beta1, beta2, eps, weight_decay, lr_scale;
    double warm_up;    /* beta1 is the limit of mu_t = beta1 (1 - warm_up^t / 2), and 0 is at once */
    double clip_value; /* 0: no limit */
} fr_rule;

/* A weight (rows x columns) or a bias (one row) with its state. For every group of FR_ROW_GROUP rows and every column,
 * penalty holds the penalty of the last step and norms the sum of squares after it: (groups x value.ld), NULL where
 * they are not needed. Under the rules that store a gradient, slot[0] is that. */
typedef struct {
    fr_matrix value, slot[FR_SLOTS];
    int64_t rows, columns;
    fr_rule rule;
    void *penalty, *norms;
} fr_param;

/* Ops: what each kind reads and writes. A matrix or pointer that may be left out is NULL then.
 *
 * bf16: the product is one of operands in bf16, in the order of kernels/bf16_tiles.h. x and dz hold such numbers already;
 * the weight is rounded as it is read. x_mask, dz_mask: x, or dz, is 0 wherever this mask drops, so products may leave it
 * out (kernels/kept.h). rounded: what is written to out, or dz, is also written there, in bf16. It may be
 * the same matrix, which then has nothing else. source: x has the rows of this source of the feed; products read these
 * instead if they are sparse (kernels/sparse.h), and then nobody writes x. -1 for none.
 *
 * gather: out = the rows of the batch, augmented, standardized ((x - mean) * scale, where mean is given), mixed, noisy,
 * masked. */
typedef struct {
    fr_matrix out, mean, scale;
    int64_t columns;
    int32_t source; /* of the feed */
    int32_t holes;  /* NaN is taken as it is: no target */
    fr_mask mask;
    fr_noise noise;
    const fr_augment *augment; /* may be NULL */
    fr_mix mix;
    fr_matrix rounded; /* may be NULL */
    int32_t direct;    /* all that read `out` are products with this source */
} fr_gather_op;

/* dense: out = dropout(activation(z)), z = (x * weight) * scale + bias + noise. The weight is (K, N), or (N, K) where
 * `transposed`. */
typedef struct {
    fr_matrix out, x, weight;
    fr_matrix bias, z;  /* may be NULL */
    fr_matrix scale;    /* of a normalization that follows; may be NULL, and has a bias if it is not */
    fr_matrix activity; /* the sums of |out| by row and panel; may be NULL */
    fr_matrix rounded;  /* may be NULL */
    int64_t K, N;
    int32_t activation, transposed, bf16;
    int32_t source;
    fr_mask mask, x_mask;
    fr_noise noise;
    double activity_l1;
} fr_dense_op;

/* loss: row_loss and row_hit, one value a row, and dz, the gradient at what `through` leads back to. Losses of classes read
 * labels or, where the head has none, rows of shares, both from the feed. */
typedef struct {
    void *row_loss, *row_hit;
    fr_matrix dz;                       /* NULL in evaluation */
    fr_matrix rounded;                  /* may be NULL */
    fr_matrix targets;                  /* NULL in losses of classes */
    fr_matrix weights, positive, units; /* one number an output, or NULL; see kernels/loss.h */
    fr_through through;
    int64_t N;
    int32_t kind;
    int32_t head;       /* of the feed */
    int32_t by_row;     /* the gradient of every row by itself, sample weights left out */
    int32_t holes;      /* NaN or a label below 0 is no target */
    double smoothing;   /* of labels: the share of the target that goes to all classes alike */
    double shape;       /* delta of huber, q of quantile, gamma of a focal loss, power of a hinge */
    double head_weight; /* a factor of dz */
    fr_mix mix;         /* in losses of classes: of their targets. Others read targets that a gather has mixed */
} fr_loss_op;

/* totals: adds the losses and hits of a head's rows, and where asked the activity penalties, to the tally. */
typedef struct {
    const void *row_loss, *row_hit;
    int32_t head, activity;
} fr_totals_op;

/* dense_dx: out = through'(dz * weight^T), or out += where `add`. The weight is (K, N), or (N, K) where `transposed`. */
typedef struct {
    fr_matrix out, dz, weight;
    fr_matrix rounded; /* may be NULL */
    int64_t K, N;
    int32_t add, transposed, bf16;
    fr_through through;
    fr_mask dz_mask;
} fr_dense_dx_op;

/* dense_dw: weight and bias follow the gradients x^T * dz and the column sums of dz. */
typedef struct {
    fr_param weight; /* first: see FR_HAS_PARAM */
    fr_param bias;   /* its value may be NULL */
    fr_matrix x, dz;
    int64_t K, N;
    int32_t bf16, source;
    int64_t most_rows; /* of a batch; only where there is a source */
    fr_mask x_mask, dz_mask;
} fr_dense_dw_op;

/* bias_dw: a bias follows its gradient, the column sums of dz. */
typedef struct {
    fr_param bias; /* first: see FR_HAS_PARAM */
    fr_matrix dz;
    int64_t N;
} fr_bias_dw_op;

/* couple: l2/2 |a - b|^2, with the l2 of the rule of a, goes to the penalty, and its gradients to those stored for a and
 * b. */
typedef struct {
    fr_param a; /* first: see FR_HAS_PARAM */
    fr_matrix b;
    fr_matrix gradient_a, gradient_b; /* NULL for one that is not trained */
} fr_couple_op;

/* Windows of height x width pixels on images that lie as image_height x image_width x channels. They are step_down and
 * step_right apart, `down` by `across` of them. The first one begins `top` lines above the image and `left` pixels before
 * it: there, and after its end, is a border of zeros. */
typedef struct {
    int64_t image_height, image_width, channels;
    int64_t height, width, step_down, step_right, top, left, down, across;
} fr_window;

/* conv: as dense, on windows of x. K is the number of values in a window, the rows of the weight in the order of the image;
 * a row of out holds the N units of all windows, in order. */
typedef struct {
    fr_dense_op dense;
    fr_window window;
} fr_conv_op;

/* flip: out = the weight (K, N) of a conv as conv_dx multiplies by it. Its rows are the places of the window from the last
 * to the first, the units of each; its columns the channels. */
typedef struct {
    fr_matrix out, weight;
    int64_t N;
    fr_window window;
} fr_flip_op;

/* conv_dx: the gradient at the image; the weight is a flipped one. */
typedef struct {
    fr_dense_dx_op dense;
    fr_window window; /* of the conv, like that of all these ops */
} fr_conv_dx_op;

/* conv_dw: as dense_dw. */
typedef struct {
    fr_dense_dw_op dense; /* first: see FR_HAS_PARAM */
    fr_window window;
} fr_conv_dw_op;

/* pool: out = dropout(the maximum, or the average, of each window of x), by channel. */
typedef struct {
    fr_matrix out, x;
    fr_window window;
    int32_t average;
    fr_mask mask;
} fr_pool_op;

/* pool_dx: out = through'(the gradient at x, from that at the windows, dz), or out += where `add`. */
typedef struct {
    fr_matrix out, dz, x;
    fr_window window;
    int32_t average, add;
    fr_through through;
} fr_pool_dx_op;

/* update: a parameter follows its stored gradient. */
typedef struct {
    fr_param param;
    fr_matrix gradient;
    int32_t scaled; /* a clip_norm came before */
} fr_update_op;

/* elementwise: out = dropout(activation(z)), z = x + plus + noise, and on the way back out = through'(mask * x), or out +=
 * where `add`. Forward through.y is NULL. The N columns begin at x_column of x and at out_column of out. */
typedef struct {
    fr_matrix out, x;
    fr_matrix plus, z; /* may be NULL */
    int64_t N, x_column, out_column;
    int32_t activation, add;
    int32_t within; /* x or out has more columns, which are not touched */
    fr_mask mask;
    fr_noise noise;
    fr_through through;
} fr_elementwise_op;

/* emit: rows of x to the array of a head, by softmax, exp or an activation. */
typedef struct {
    fr_matrix x;
    int64_t N;
    int32_t head;
    int32_t softmax, exponential; /* else an activation */
    int32_t activation;
} fr_emit_op;

/* penalize: the stored gradient of a parameter, whose rule is FR_RULE_GRADIENT, becomes the one to be clipped. */
typedef struct {
    fr_param param;
    double *squares; /* of every tile, fr_update_tiles() of them */
} fr_penalize_op;

/* clip_norm: the factor for the gradients that the penalize ops have left. */
typedef struct {
    double limit;
} fr_clip_norm_op;

/* row_norm: the rows of a weight are scaled down to the limit. max_norm: the columns of a weight are scaled down to the limit, then all of it to `whole`; 0 for no limit. */
typedef struct {
    fr_param param;
    double limit, whole;
} fr_max_norm_op;

/* append: rows M .. 2 M - 1 of out become its rows 0 .. M - 1, moved by a step of epsilon by the sign of the gradient, then
 * cut to low .. high where `clipped`; mean and scale as in gather. */
typedef struct {
    fr_matrix out;
    fr_matrix gradient;    /* NULL: a plain copy */
    fr_matrix mean, scale; /* may be NULL */
    int64_t N;
    double epsilon, low, high;
    int32_t clipped;
} fr_append_op;

/* count: one more. At most 2^24, where a float32 stays. */
typedef struct {
    fr_matrix count;
} fr_count_op;

/* average: out += (1 - decay) / (1 - decay^count) * (param - out). */
typedef struct {
    fr_matrix out, param, count;
    int64_t rows, columns;
    double decay;
} fr_average_op;

/* perturb: out = weight + noise. */
typedef struct {
    fr_matrix out, weight;
    int64_t rows, columns;
    fr_noise noise;
} fr_perturb_op;

/* Rows of the table of a batch norm. The last two are of the columns, the others of the channels. So is the rest, but for
 * what is left of the means of the columns until the channels have theirs. */
enum {
    FR_TABLE_MEAN,
    FR_TABLE_RSTD,  /* 1 / sqrt(variance + eps) */
    FR_TABLE_REST,  /* xhat = (x - mean) * rstd + rest */
    FR_TABLE_SCALE, /* gamma * rstd */
    FR_TABLE_SHIFT, /* z = (x - mean) * scale + shift */
    FR_TABLE_K1,    /* the means of dz and of dz * xhat */
    FR_TABLE_K2,
    FR_TABLE_SUM, /* means of the columns; sums of dz */
    FR_TABLE_DOT, /* squares around them; sums of dz * xhat */
    FR_TABLE_ROWS
};

/* The ops of kernels/normalize.h, which has their formulas; each uses what it needs. N columns of x are pixels of so many
 * channels. In layer norms the table is (M, 3): mean, rstd and rest of every row. */
typedef struct {
    fr_param gamma, beta; /* gamma first: see FR_HAS_PARAM. Their values may be NULL */
    fr_matrix out, x, z, dz, table;
    fr_matrix mean, variance; /* the running moments */
    fr_matrix bias;           /* of the dense op that the scale is folded into; may be NULL */
    int64_t N, channels;
    int64_t period; /* columns of the table in which the channels are repeated */
    double eps, momentum;
    int32_t activation, add;
    int32_t running; /* by the running moments, which are constants */
    int32_t moves;   /* they follow those of the batch */
    int32_t folded;
    fr_mask mask;
    fr_through through;
} fr_norm_op;

/* Codes of categories: column j of x names row starts[j] + x_j of a table, one of counts[j]. Each row of the table has so
 * many columns as `width`. */
typedef struct {
    fr_matrix x;
    const int64_t *starts, *counts;
    int64_t columns, width;
} fr_codes;

/* embed: out = dropout(the named rows of the weight, side by side). */
typedef struct {
    fr_matrix out, weight;
    fr_codes codes;
    fr_mask mask;
} fr_embed_op;

/* embed_dw: the rows of the weight follow the sums of the parts of dz whose codes name them. */
typedef struct {
    fr_param weight; /* first: see FR_HAS_PARAM */
    fr_matrix dz;
    fr_codes codes;
    int32_t *heads; /* one for each row of the weight, -1 between two runs of the op: the first of its parts of dz */
    int32_t *next;  /* one for each part of dz: the next one of the same row, or -1 */
} fr_embed_dw_op;

/* round: out = x in bf16. */
typedef struct {
    fr_matrix out, x;
    int64_t N;
} fr_round_op;

/* Rows of the buffers: the batch's own, 0 .. M - 1; their perturbed copies, M .. 2 M - 1, which append has written; both. */
enum { FR_OWN, FR_COPIES, FR_BOTH };

/* One op. A call has nothing but what comes before the union. */
typedef struct {
    int32_t kind, flags; /* a row of the table of ops */
    int32_t wait;        /* all workers meet before this op */
    int32_t rowwise; /* dense, dense_dx: every worker does its share of the rows (fr_share), as other kinds always do */
    int32_t span;    /* its rows of the buffers: FR_OWN, ... */
    union {
        fr_gather_op gather;
        fr_dense_op dense;
        fr_loss_op loss;
        fr_totals_op totals;
        fr_dense_dx_op dense_dx;
        fr_dense_dw_op dense_dw;
        fr_update_op update;
        fr_elementwise_op elementwise;
        fr_emit_op emit;
        fr_penalize_op penalize;
        fr_clip_norm_op clip_norm;
        fr_max_norm_op max_norm;
        fr_append_op append;
        fr_count_op count;
        fr_average_op average;
        fr_perturb_op perturb;
        fr_bias_dw_op bias_dw;
        fr_couple_op couple;
        fr_norm_op norm;
        fr_conv_op conv;
        fr_flip_op flip;
        fr_conv_dx_op conv_dx;
        fr_conv_dw_op conv_dw;
        fr_pool_op pool;
        fr_pool_dx_op pool_dx;
        fr_embed_op embed;
        fr_embed_dw_op embed_dw;
        fr_round_op round;
        fr_param param; /* of ops with FR_HAS_PARAM */
    };
} fr_op;

/* A batch-sized program. */
typedef struct {
    int32_t real;
    int32_t n_ops;
    const fr_op *ops;
    int64_t max_rows;
    int64_t accumulate; /* batches in a step */
    double clean;       /* the share of the batch's own rows in the loss; their copies have the rest */
    double *clip;       /* two factors, whose product is that of the last CLIP_NORM; 1 and 1 before */
} fr_program;

/* Tiles of the passes over a parameter, for `squares`. */
int64_t fr_update_tiles(int64_t rows, int64_t columns);

/* Rows of a data set. A row starts at data + index * row_stride; its columns are contiguous where offsets is NULL,
 * else column j lies offsets[j] bytes further.
 *
 * Sparse rows, where starts is not NULL: the elements starts[index] .. starts[index + 1] - 1 of data lie in these places,
 * int32 or, where `wide`, int64, and all other columns are 0. `in_order`: the places of every row ascend. */
typedef struct {
    const char *data;
    int64_t row_stride;
    const int64_t *offsets;
    int64_t columns;
    int32_t dtype;
    int32_t wide, in_order;
    const int64_t *starts;
    const void *places;
} fr_source;

/* What a head of the network is trained on, and where its predictions go. */
typedef struct {
    const int64_t *labels;
    fr_source shares;    /* of the classes, where there are no labels */
    const void *weights; /* of the samples, in the working dtype; NULL: all are 1 */
    void *out;           /* working dtype, (rows, N) without padding */
} fr_head;

/* What an epoch reads; see class Feed in fastreg/engines/base.py. */
typedef struct {
    fr_source source[FR_MAX_SOURCES]; /* the first is asked for ahead */
    fr_head head[FR_MAX_HEADS];
    int32_t n_heads; /* at least 1: all rows count in a head without weights */
    const int64_t *order;
    int64_t rows, batch_size;
    uint64_t seed;
    uint32_t step, epoch;
    int32_t by_position; /* draws follow the row's position in the epoch, and all batches have this step */
    const double *rates;
    const double *decays; /* NULL: 0 */
} fr_feed;

/* What a run adds up; see class Tally there. power: the running numbers of the optimizer after `updates` steps. */
typedef struct {
    double loss, weight, hits;
} fr_total;

typedef struct {
    fr_total head[FR_MAX_HEADS];
    double penalty;
    int64_t batches, updates;
    double power[FR_POWERS];
    int64_t bad_row;
    int32_t code;
    double rows, row_loss, row_penalty;
} fr_tally;

/* How to run: threads, and for tests a seed that scrambles who does which tile (0: none). */
typedef struct {
    int32_t threads;
    int32_t first_op, stop_op;
    double seconds; /* stop after the batch in which this time is up; 0: never */
    uint64_t scramble;
    void *scratch; /* fr_scratch_bytes() of it, aligned to 64 */
    /* Runs a CALL, in a batch of `count` rows, on the caller's thread; not 0: it failed. With op -1, about every 50 ms of a
     * long batch: looks for an interruption; not 0: the run ends there, in the middle of the batch, and what it writes to is
     * left half done. */
    int (*call)(void *context, int32_t op, int64_t count);
    void *call_context;
} fr_options;

/* Runs batches first .. stop - 1 of the feed and returns the next one to run. */
int64_t fr_run(const fr_program *program, const fr_feed *feed, fr_tally *tally, int64_t first, int64_t stop,
               const fr_options *options);
size_t fr_scratch_bytes(const fr_program *program, int threads);

/* Takes the running numbers of an optimizer one step on. At the start all are 1. */
void fr_next_powers(double power[FR_POWERS], const fr_rule *rule);

/* cpu.c: instruction sets. */
int fr_simd_count(void);              /* targets in this binary */
const char *fr_simd_name(int target); /* its name; the best come first */
int fr_simd_available(int target);    /* CPU and operating system both offer it */
int fr_simd_current(void);
void fr_simd_use(int target); /* an available one */
int fr_cpu_count(void);       /* processors this process may run on */

/* tuning.c: what the processor is, and what helps there: the bits 1 << FR_PACK_DW and so on. A run keeps to those with
 * which it began. */
enum { FR_CACHES = 3 };

typedef struct {
    char vendor[16]; /* "" where it is not known */
    int32_t family, model;
    int32_t avx512, demotes;  /* has the instructions */
    int64_t cache[FR_CACHES]; /* bytes of the data caches of each level; 0 where that is not known */
} fr_processor;

fr_processor fr_find_processor(void);
uint32_t fr_tuning_for(const fr_processor *processor); /* by the table there */
uint32_t fr_tuning(void); /* the current one: that of this processor, until another is set */
void fr_use_tuning(uint32_t tuning);

/* The current target's loop of fused multiply-adds, on the calling thread: operations done and seconds taken. */
double fr_fma_loop(fr_real real, int64_t rounds, double *seconds);

/* hand_out.c: who gets which part of an op, for tests. In turn i, worker id[i] asks for its next part. */
typedef struct {
    int32_t workers, dynamic; /* dynamic: a long op */
    uint64_t scramble;
    int64_t count; /* of the turns */
    const int32_t *id;
} fr_turns;

/* A product's result: in tiles, a panel after the other, or a group of rows after the other, that also in blocks of panels;
 * or in shares of columns. */
typedef enum { FR_CUT_PANELS, FR_CUT_ROWS, FR_CUT_BLOCKS, FR_CUT_COLUMNS } fr_cut;

/* A tile a turn, or -1. */
void fr_hand_out_tiles(int64_t *got, const fr_turns *turns, int64_t panels, int64_t groups, int64_t weight,
                       int64_t last);
/* Four numbers a turn: the first column and the number of columns, the first group and that after the last; or zeros. */
void fr_hand_out_pieces(int64_t *got, const fr_turns *turns, int64_t columns, int64_t groups, fr_cut cut);

/* pool.c: tells how many workers are alive, for tests. */
int fr_pool_size(void);

/* The current target's normal draws: 64 columns of a row, in the dtype given. */
void fr_normals(fr_real real, void *out, uint64_t seed, uint32_t column, uint32_t row, uint32_t step, uint32_t stream);

/* random.c: draws outside the step, pure functions of (seed, stream, index). */
/* `first` is the index of out[0], a multiple of FR_AT_ONCE, so that a caller can take piece by piece. */
enum { FR_AT_ONCE = 1 << 16 };
void fr_fill_normal(double *out, int64_t n, uint64_t seed, uint32_t stream, int64_t first);
void fr_fill_uniform(double *out, int64_t n, uint64_t seed, uint32_t stream, int64_t first);
/* Shuffles 0 .. n - 1, which stand in order before the first piece: FR_AT_ONCE exchanges for each piece, n - 1 in all. */
void fr_shuffle(int64_t *order, int64_t n, uint64_t seed, uint32_t epoch, int64_t piece);
/* What a batch of `rows` rows is mixed by in a step. With shift 0 nothing is mixed. */
typedef struct {
    double share;
    int64_t shift;
} fr_mixture;

fr_mixture fr_draw_mixture(const fr_mix *mix, uint64_t seed, uint32_t step, int64_t rows);
void fr_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2], int rounds);

/* text.c: the numbers of a table in a text file. */
#define FR_SEEN_POINT 1 /* a number with a decimal mark or an exponent */
#define FR_SEEN_HOLE 2  /* a missing value */
#define FR_SEEN_TEXT 4  /* anything else */
#define FR_SEEN_LARGE 8 /* a number of at least 2^53, which may not be exact */

typedef struct {
    const char *text; /* lines, each ended by a newline */
    int64_t size;
    const char *missing;           /* the fields that stand for a missing value, each ended by a newline */
    int64_t missing_size, longest; /* bytes: of all, of the longest */
    int64_t width, rows;           /* fields of a row; rows that there is room for: all lines, or size / width + 1 */
    char delimiter, decimal;
    double *out;    /* (width, rows): the values; NaN where there is no number */
    int64_t *lines; /* (rows,): the line of a row, from 0; blank lines are no rows */
    uint8_t *seen;  /* (width,): what there is in a column, FR_SEEN_...; at first 0 */
    int64_t *hard;  /* (width * rows, 4): the numbers left to the caller: column, row, begin and end in text */
    int64_t hards, found;
} fr_fields;

/* Reads them. The number of rows; or -1 - the line of a row that has `found` fields. */
int64_t fr_read_fields(fr_fields *fields);

#endif
