# What Cython must know of csrc/fastreg.h. The meaning of each name is explained there.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "fastreg.h" nogil:
    enum: FR_LANES, FR_PANEL, FR_ROW_GROUP, FR_SUM_BLOCK, FR_SLOTS, FR_BF16_GROUP, FR_MAX_THREADS, FR_MAX_OPS, FR_MAX_TRANSFORMS
    enum: FR_MAX_SOURCES, FR_MAX_HEADS
    enum: FR_POWERS, FR_SHUFFLE_STREAM, FR_ONCE_A_STEP, FR_HAS_PARAM, FR_TABLE_ROWS
    enum: FR_F32, FR_F64
    enum: FR_PER_ONE, FR_PER_ROW, FR_PER_WEIGHT
    enum: FR_OK, FR_DIVERGED, FR_BAD_ROW, FR_CALL_FAILED, FR_FORKED
    enum: FR_AT_ONCE, FR_CACHES
    enum: FR_LINEAR, FR_RULE_SGD
    enum: FR_OWN, FR_COPIES, FR_BOTH
    const char *fr_op_name(int)
    const char *fr_activation_name(int)
    const char *fr_loss_name(int)
    const char *fr_rule_name(int)
    const char *fr_dtype_name(int)
    const char *fr_transform_name(int)
    int fr_op_flags(int)
    int fr_activation_needs_z(int)
    int fr_rule_slots(int)
    int fr_stores_gradient(int)

    ctypedef struct fr_matrix:
        void *data
        int64_t ld
    ctypedef struct fr_mask:
        uint32_t threshold, stream
        uint32_t group
        double scale, std
    ctypedef struct fr_noise:
        double std
        uint32_t stream
    ctypedef struct fr_mix:
        double alpha
        uint32_t stream
    ctypedef struct fr_mixture:
        double share
        int64_t shift
    ctypedef struct fr_transform:
        int32_t kind
        double low, high
    ctypedef struct fr_augment:
        fr_transform transform[FR_MAX_TRANSFORMS]
        int32_t count
        uint32_t stream
        int64_t planes, height, width, channels, radius
        const double *smooth
        double alpha
    ctypedef struct fr_through:
        fr_matrix y, z
        int32_t activation
        double activity_l1
        fr_mask mask
    ctypedef struct fr_penalty:
        double l1, l2
        int32_t l1_per, l2_per, proximal
    ctypedef struct fr_rule:
        int32_t kind, non_negative, scheduled
        fr_penalty penalty
        double momentum, beta1, beta2, eps, weight_decay, lr_scale, warm_up, clip_value
    ctypedef struct fr_param:
        fr_matrix value
        fr_matrix slot[FR_SLOTS]
        int64_t rows, columns
        fr_rule rule
        void *penalty
        void *norms
    ctypedef struct fr_gather_op:
        fr_matrix out, mean, scale
        int64_t columns
        int32_t source, holes
        fr_mask mask
        fr_noise noise
        const fr_augment *augment
        fr_mix mix
        fr_matrix rounded
        int32_t direct
    ctypedef struct fr_dense_op:
        fr_matrix out, x, weight, bias, z, scale, activity, rounded
        int64_t K, N
        int32_t activation, transposed, bf16, source
        fr_mask mask, x_mask
        fr_noise noise
        double activity_l1
    ctypedef struct fr_loss_op:
        void *row_loss
        void *row_hit
        fr_matrix dz, rounded, targets, weights, positive, units
        fr_through through
        int64_t N
        int32_t kind, head, by_row, holes
        double smoothing, shape, head_weight
        fr_mix mix
    ctypedef struct fr_totals_op:
        const void *row_loss
        const void *row_hit
        int32_t head, activity
    ctypedef struct fr_dense_dx_op:
        fr_matrix out, dz, weight, rounded
        int64_t K, N
        int32_t add, transposed, bf16
        fr_through through
        fr_mask dz_mask
    ctypedef struct fr_dense_dw_op:
        fr_param weight, bias
        fr_matrix x, dz
        int64_t K, N
        int32_t bf16, source
        int64_t most_rows
        fr_mask x_mask, dz_mask
    ctypedef struct fr_bias_dw_op:
        fr_param bias
        fr_matrix dz
        int64_t N
    ctypedef struct fr_couple_op:
        fr_param a
        fr_matrix b, gradient_a, gradient_b
    ctypedef struct fr_window:
        int64_t image_height, image_width, channels
        int64_t height, width, step_down, step_right, top, left, down, across
    ctypedef struct fr_conv_op:
        fr_dense_op dense
        fr_window window
    ctypedef struct fr_flip_op:
        fr_matrix out, weight
        int64_t N
        fr_window window
    ctypedef struct fr_conv_dx_op:
        fr_dense_dx_op dense
        fr_window window
    ctypedef struct fr_conv_dw_op:
        fr_dense_dw_op dense
        fr_window window
    ctypedef struct fr_pool_op:
        fr_matrix out, x
        fr_window window
        int32_t average
        fr_mask mask
    ctypedef struct fr_pool_dx_op:
        fr_matrix out, dz, x
        fr_window window
        int32_t average, add
        fr_through through
    ctypedef struct fr_update_op:
        fr_param param
        fr_matrix gradient
        int32_t scaled
    ctypedef struct fr_elementwise_op:
        fr_matrix out, x, plus, z
        int64_t N, x_column, out_column
        int32_t activation, add, within
        fr_mask mask
        fr_noise noise
        fr_through through
    ctypedef struct fr_emit_op:
        fr_matrix x
        int64_t N
        int32_t head, softmax, exponential, activation
    ctypedef struct fr_penalize_op:
        fr_param param
        double *squares
    ctypedef struct fr_clip_norm_op:
        double limit
    ctypedef struct fr_max_norm_op:
        fr_param param
        double limit, whole
    ctypedef struct fr_append_op:
        fr_matrix out, gradient, mean, scale
        int64_t N
        double epsilon, low, high
        int32_t clipped
    ctypedef struct fr_count_op:
        fr_matrix count
    ctypedef struct fr_average_op:
        fr_matrix out, param, count
        int64_t rows, columns
        double decay
    ctypedef struct fr_perturb_op:
        fr_matrix out, weight
        int64_t rows, columns
        fr_noise noise
    ctypedef struct fr_norm_op:
        fr_param gamma, beta
        fr_matrix out, x, z, dz, table, mean, variance, bias
        int64_t N, channels, period
        double eps, momentum
        int32_t activation, add, running, moves, folded
        fr_mask mask
        fr_through through
    ctypedef struct fr_codes:
        fr_matrix x
        const int64_t *starts
        const int64_t *counts
        int64_t columns, width
    ctypedef struct fr_embed_op:
        fr_matrix out, weight
        fr_codes codes
        fr_mask mask
    ctypedef struct fr_embed_dw_op:
        fr_param weight
        fr_matrix dz
        fr_codes codes
        int32_t *heads
        int32_t *next
    ctypedef struct fr_round_op:
        fr_matrix out, x
        int64_t N
    ctypedef struct fr_op:
        int32_t kind, flags, wait, rowwise, span
        fr_gather_op gather
        fr_dense_op dense
        fr_loss_op loss
        fr_totals_op totals
        fr_dense_dx_op dense_dx
        fr_dense_dw_op dense_dw
        fr_update_op update
        fr_elementwise_op elementwise
        fr_emit_op emit
        fr_penalize_op penalize
        fr_clip_norm_op clip_norm
        fr_max_norm_op max_norm
        fr_append_op append
        fr_count_op count
        fr_average_op average
        fr_perturb_op perturb
        fr_bias_dw_op bias_dw
        fr_couple_op couple
        fr_norm_op norm
        fr_conv_op conv
        fr_flip_op flip
        fr_conv_dx_op conv_dx
        fr_conv_dw_op conv_dw
        fr_pool_op pool
        fr_pool_dx_op pool_dx
        fr_embed_op embed
        fr_embed_dw_op embed_dw
        fr_round_op round
    ctypedef struct fr_program:
        int32_t real, n_ops
        const fr_op *ops
        int64_t max_rows, accumulate
        double clean
        double *clip
    ctypedef struct fr_source:
        const char *data
        int64_t row_stride
        const int64_t *offsets
        int64_t columns
        int32_t dtype, wide, in_order
        const int64_t *starts
        const void *places
    ctypedef struct fr_head:
        const int64_t *labels
        fr_source shares
        const void *weights
        void *out
    ctypedef struct fr_feed:
        fr_source source[FR_MAX_SOURCES]
        fr_head head[FR_MAX_HEADS]
        int32_t n_heads
        const int64_t *order
        int64_t rows, batch_size
        uint64_t seed
        uint32_t step, epoch
        int32_t by_position
        const double *rates
        const double *decays
    ctypedef struct fr_total:
        double loss, weight, hits
    ctypedef struct fr_tally:
        fr_total head[FR_MAX_HEADS]
        double penalty, rows, row_loss, row_penalty
        int64_t batches, updates
        double power[FR_POWERS]
        int64_t bad_row
        int32_t code
    ctypedef struct fr_options:
        int32_t threads, first_op, stop_op
        double seconds
        uint64_t scramble
        void *scratch
        int (*call)(void *, int32_t, int64_t) noexcept nogil
        void *call_context

    ctypedef struct fr_turns:
        int32_t workers, dynamic
        uint64_t scramble
        int64_t count
        const int32_t *id
    ctypedef enum fr_cut:
        FR_CUT_PANELS, FR_CUT_ROWS, FR_CUT_BLOCKS, FR_CUT_COLUMNS

    int64_t fr_run(const fr_program *, const fr_feed *, fr_tally *, int64_t, int64_t, const fr_options *)
    size_t fr_scratch_bytes(const fr_program *, int)
    void fr_next_powers(double *, const fr_rule *)
    int fr_simd_count()
    const char *fr_simd_name(int)
    int fr_simd_available(int)
    int fr_simd_current()
    void fr_simd_use(int)
    const char *fr_tuning_name(int)
    ctypedef struct fr_processor:
        char vendor[16]
        int32_t family, model, avx512, demotes
        int64_t cache[FR_CACHES]
    fr_processor fr_find_processor()
    uint32_t fr_tuning_for(const fr_processor *)
    uint32_t fr_tuning()
    void fr_use_tuning(uint32_t)
    int fr_cpu_count()
    double fr_fma_loop(int, int64_t, double *)
    int fr_pool_size()
    void fr_hand_out_tiles(int64_t *, const fr_turns *, int64_t, int64_t, int64_t, int64_t)
    void fr_hand_out_pieces(int64_t *, const fr_turns *, int64_t, int64_t, fr_cut)
    int64_t fr_update_tiles(int64_t, int64_t)
    void fr_normals(int, void *, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t)
    void fr_fill_normal(double *, int64_t, uint64_t, uint32_t, int64_t)
    void fr_fill_uniform(double *, int64_t, uint64_t, uint32_t, int64_t)
    fr_mixture fr_draw_mixture(const fr_mix *, uint64_t, uint32_t, int64_t)
    void fr_shuffle(int64_t *, int64_t, uint64_t, uint32_t, int64_t)
    void fr_philox(uint32_t *, const uint32_t *, const uint32_t *, int)

    enum: FR_SEEN_POINT, FR_SEEN_HOLE, FR_SEEN_TEXT, FR_SEEN_LARGE
    ctypedef struct fr_fields:
        const char *text
        int64_t size
        const char *missing
        int64_t missing_size, longest, width, rows
        char delimiter, decimal
        double *out
        int64_t *lines
        uint8_t *seen
        int64_t *hard
        int64_t hards, found
    int64_t fr_read_fields(fr_fields *)
