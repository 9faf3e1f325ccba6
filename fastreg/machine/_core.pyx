"""The only extension module: passes programs, feeds and arrays to C, and runs C without the GIL.

It checks only what would crash C: dtype, strides and shapes of buffers. Arguments of users are checked before.

C keeps the addresses of arrays that callbacks, layers and losses in Python can reach. NumPy may not move such an array:
it never resizes one that has a weak reference, so `_pinned` makes one for each.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastreg.machine._c cimport *

import weakref

import numpy as np

cdef extern from *:
    """
    #ifdef __clang__
    #define FR_COMPILER __VERSION__
    #else
    #define FR_COMPILER "GCC " __VERSION__
    #endif
    """
    const char *FR_COMPILER

cnp.import_array()

# The layout of memory and of work, as defined in C.
LANES, PANEL, ROW_GROUP, SUM_BLOCK = FR_LANES, FR_PANEL, FR_ROW_GROUP, FR_SUM_BLOCK
MAX_THREADS, MAX_OPS, MAX_TRANSFORMS, SLOTS = FR_MAX_THREADS, FR_MAX_OPS, FR_MAX_TRANSFORMS, FR_SLOTS
MAX_SOURCES, MAX_HEADS, BF16_GROUP = FR_MAX_SOURCES, FR_MAX_HEADS, FR_BF16_GROUP
AT_ONCE = FR_AT_ONCE
SHUFFLE_STREAM, ONCE_A_STEP, TABLE_ROWS = FR_SHUFFLE_STREAM, FR_ONCE_A_STEP, FR_TABLE_ROWS
STALE = "; if the sources have changed since this extension was built, build it again: pip install -e ."
NORMS = {"BatchNorm", "BatchNormDx", "Moments", "NormScale", "Affine", "NormSums", "ScaleDw", "AffineDx", "LayerNorm",
         "LayerNormDx", "LayerNormDw"}


cdef dict _numbered(const char *(*name_of)(int) noexcept nogil):
    """The names of a C table, with their numbers."""
    found = {}
    while name_of(<int>len(found)) != NULL:
        found[name_of(<int>len(found)).decode()] = len(found)
    return found


OP_KINDS = _numbered(fr_op_name)
SPANS = {"own": FR_OWN, "copies": FR_COPIES, "both": FR_BOTH}
ACTIVATIONS = _numbered(fr_activation_name)
LOSSES = _numbered(fr_loss_name)
RULES = _numbered(fr_rule_name)
TRANSFORMS = _numbered(fr_transform_name)
DTYPES = _numbered(fr_dtype_name)
DTYPES["b1"] = DTYPES["u1"]

OP_FLAGS = {name: fr_op_flags(kind) for name, kind in OP_KINDS.items()}
NEEDS_Z = {name for name, kind in ACTIVATIONS.items() if fr_activation_needs_z(kind)}
RULE_SLOTS = {name: fr_rule_slots(kind) for name, kind in RULES.items()}
STORES_GRADIENT = {name for name, kind in RULES.items() if fr_stores_gradient(kind)}


def _number(dict table, str what, name):
    """The number of a name in C."""
    if name not in table:
        raise ValueError(f"{what}: got {name!r}, expected one of {', '.join(table)}")
    return table[name]


def _pinned(*arrays):
    """Weak references to arrays and to what they are views of. While these live, NumPy resizes none of them in place."""
    pins = []
    for array in arrays:
        while isinstance(array, np.ndarray):
            pins.append(weakref.ref(array))
            array = array.base
    return pins


cdef int32_t _head(int64_t head) except -1:
    """The number of a head that a feed can have."""
    if not 0 <= head < FR_MAX_HEADS:
        raise ValueError(f"head: got {head}, expected 0 to {FR_MAX_HEADS - 1}")
    return <int32_t>head


cdef fr_noise _noise(noise) except *:
    cdef fr_noise n
    n.std, n.stream = (noise.std, noise.stream) if noise is not None else (0.0, 0)
    return n


cdef fr_window _window(window) except *:
    cdef fr_window w
    w.image_height, w.image_width, w.channels = window.image
    w.height, w.width = window.size
    w.step_down, w.step_right = window.strides
    w.top, w.left = window.before
    w.down, w.across = window.places
    return w


cdef fr_mix _mix(mix) except *:
    cdef fr_mix m
    m.alpha, m.stream = (mix.alpha, mix.stream) if mix is not None else (0.0, 0)
    return m


cdef class Program:
    """Ops on arrays, as C reads them. Keeps the arrays alive."""

    cdef fr_program program
    cdef fr_op *ops
    cdef list arrays
    cdef object dtype, pins
    cdef readonly cnp.ndarray clip  # two numbers, whose product is the factor of the last ClipNorm

    def __cinit__(self, dtype, int64_t max_rows, list ops, int64_t accumulate=1, double clean=1.0):
        cdef int i
        if len(ops) > FR_MAX_OPS:
            raise ValueError(f"a program may have {FR_MAX_OPS} ops, this one has {len(ops)}")
        self.dtype = np.dtype(dtype)
        self.arrays = []
        self.ops = <fr_op *>PyMem_Calloc(max(len(ops), 1), sizeof(fr_op))
        if self.ops == NULL:
            raise MemoryError
        self.program.real = FR_F32 if self.dtype == np.float32 else FR_F64
        self.program.n_ops = <int32_t>len(ops)
        self.program.ops = self.ops
        self.program.max_rows, self.program.accumulate, self.program.clean = max_rows, accumulate, clean
        self.clip = np.ones(2)
        self.program.clip = <double *>cnp.PyArray_DATA(self.clip)
        for i, fields in enumerate(ops):
            self._fill(&self.ops[i], fields)
        self.pins = _pinned(self.clip, *self.arrays)

    def __dealloc__(self):
        PyMem_Free(self.ops)

    cdef fr_matrix _matrix(self, array) except *:
        """Two dimensions with padded rows, or one dimension."""
        cdef fr_matrix m
        cdef cnp.ndarray a
        m.data, m.ld = NULL, 0
        if array is None:
            return m
        a = array
        if a.dtype != self.dtype:
            raise TypeError(f"a buffer of {self.dtype} was expected, got {a.dtype}")
        if a.ndim == 2:
            m.ld = a.strides[0] // a.itemsize
            if m.ld % FR_LANES or (a.shape[1] > 1 and a.strides[1] != a.itemsize) or m.ld < a.shape[1]:
                raise ValueError("a buffer of padded rows was expected (fastreg.engines.memory.padded)")
        elif a.ndim != 1 or (a.shape[0] > 1 and a.strides[0] != a.itemsize):
            raise ValueError("a buffer of one or two dimensions was expected")
        self.arrays.append(a)
        m.data = cnp.PyArray_DATA(a)
        return m

    cdef fr_matrix _rounded(self, array) except *:
        """A matrix of numbers in bf16, kept as float32."""
        if array is not None:
            self._bf16(True)
        return self._matrix(array)

    cdef int32_t _bf16(self, bint bf16) except -1:
        """Whether a product is in bf16, of which kernels are compiled in float32 alone."""
        if bf16 and self.program.real != FR_F32:
            raise TypeError(f"float32 was expected for bf16, got {self.dtype}")
        return bf16

    cdef fr_mask _mask(self, mask) except *:
        cdef fr_mask m
        m.threshold, m.stream, m.group, m.scale, m.std = 65536, 0, 0, 1.0, 0.0
        if mask is not None:
            m.threshold, m.stream, m.group = mask.threshold, mask.stream, mask.group
            m.scale, m.std = mask.scale, mask.std
        return m

    cdef fr_penalty _penalty(self, penalty) except *:
        cdef fr_penalty p
        p.l1, p.l2, p.l1_per, p.l2_per, p.proximal = 0.0, 0.0, 0, 0, 0
        if penalty is not None:
            p.l1, p.l2, p.proximal = penalty.l1, penalty.l2, penalty.proximal
            p.l1_per = FR_PER_WEIGHT if penalty.l1_per_weight else FR_PER_ROW if penalty.l1_per_row else FR_PER_ONE
            p.l2_per = FR_PER_WEIGHT if penalty.l2_per_weight else FR_PER_ROW if penalty.l2_per_row else FR_PER_ONE
        return p

    cdef fr_param _param(self, fields) except *:
        """fields: (value, slots, rule, penalty, norms) or None"""
        cdef fr_param p
        cdef int i
        p.value = self._matrix(None)
        p.rows, p.columns, p.penalty, p.norms = 0, 0, NULL, NULL
        p.rule.kind, p.rule.scheduled = FR_RULE_SGD, 0
        p.rule.penalty = self._penalty(None)
        p.rule.momentum = p.rule.beta1 = p.rule.beta2 = p.rule.eps = p.rule.warm_up = 0.0
        p.rule.weight_decay, p.rule.lr_scale, p.rule.clip_value, p.rule.non_negative = 0.0, 1.0, 0.0, 0
        for i in range(FR_SLOTS):
            p.slot[i] = self._matrix(None)
        if fields is None:
            return p
        value, slots, rule, penalty, norms = fields
        p.value = self._matrix(value)
        p.columns = value.shape[value.ndim - 1]
        p.rows = value.shape[0] if value.ndim == 2 else 1
        if len(slots) > FR_SLOTS:
            raise ValueError(f"{len(slots)} arrays of state for a parameter, which has at most {FR_SLOTS}")
        for i, slot in enumerate(slots):
            if slot.shape != value.shape:
                raise ValueError(f"state of shape {slot.shape} for a parameter of shape {value.shape}")
            p.slot[i] = self._matrix(slot)
        if penalty is not None:
            p.penalty = self._matrix(penalty).data
        if norms is not None:
            p.norms = self._matrix(norms).data
        if rule is not None:
            p.rule.kind = _number(RULES, "rule.kind", rule.kind)
            p.rule.penalty = self._penalty(rule.penalty)
            p.rule.momentum, p.rule.beta1, p.rule.beta2, p.rule.eps = rule.momentum, rule.beta1, rule.beta2, rule.eps
            p.rule.warm_up = rule.warm_up
            p.rule.weight_decay, p.rule.lr_scale, p.rule.scheduled = rule.weight_decay, rule.lr_scale, rule.scheduled
            p.rule.clip_value, p.rule.non_negative = rule.clip_value, rule.non_negative
        return p

    cdef const fr_augment *_augment(self, augment, int64_t columns) except *:
        cdef fr_augment *a
        cdef int i
        if augment is None:
            return NULL
        if len(augment.transforms) > FR_MAX_TRANSFORMS or np.prod(augment.layout) != columns:
            raise ValueError(f"{len(augment.transforms)} transforms of {augment.layout} for {columns} columns")
        memory = np.zeros(sizeof(fr_augment), np.uint8)
        self.arrays.append(memory)
        a = <fr_augment *>cnp.PyArray_DATA(<cnp.ndarray>memory)
        a.count, a.stream = <int32_t>len(augment.transforms), augment.stream
        for i, transform in enumerate(augment.transforms):
            a.transform[i].kind = _number(TRANSFORMS, "transform", transform.kind)
            a.transform[i].low, a.transform[i].high = transform.low, transform.high
        a.planes, a.height, a.width, a.channels = augment.layout
        if augment.elastic is not None:
            smooth = augment.elastic.weights
            self.arrays.append(smooth)
            a.smooth = <const double *>cnp.PyArray_DATA(<cnp.ndarray>smooth)
            a.radius, a.alpha = len(smooth) // 2, augment.elastic.alpha
        return a

    # From the fields of an op to its struct. Each op uses all fields that it is given, and accepts no others.

    cdef _fill(self, fr_op *op, dict fields):
        fields = dict(fields)
        name = fields.get("kind", "op")
        try:
            op.kind = _number(OP_KINDS, "kind", fields.pop("kind"))
            op.flags = fr_op_flags(op.kind)
            self._take(op, name, fields.pop)
        except KeyError as missing:
            raise TypeError(f"{name}: got no field {missing}{STALE}") from None
        if fields:
            raise TypeError(f"{name}: got the field {next(iter(fields))!r}, which it does not have{STALE}")

    cdef _take(self, fr_op *op, str name, take):
        op.wait, op.rowwise, op.span = take("wait"), take("rowwise"), _number(SPANS, "span", take("span"))
        if name == "Gather":
            self._gather(&op.gather, take)
        elif name == "Dense":
            self._dense(&op.dense, take)
        elif name == "Loss":
            self._loss(&op.loss, take)
        elif name == "DenseDx":
            self._dense_dx(&op.dense_dx, take)
        elif name == "DenseDw":
            self._dense_dw(&op.dense_dw, take)
        elif name == "Update":
            self._update(&op.update, take)
        elif name == "Elementwise":
            self._elementwise(&op.elementwise, take)
        elif name == "Emit":
            self._emit(&op.emit, take)
        elif name == "Penalize":
            self._penalize(&op.penalize, take)
        elif name == "ClipNorm":
            op.clip_norm.limit = take("limit")
        elif name == "MaxNorm":
            self._max_norm(&op.max_norm, take)
        elif name == "Append":
            self._append(&op.append, take)
        elif name == "Count":
            op.count.count = self._matrix(take("count"))
        elif name == "Average":
            self._average(&op.average, take)
        elif name == "Perturb":
            self._perturb(&op.perturb, take)
        elif name == "BiasDw":
            op.bias_dw.dz, op.bias_dw.N, op.bias_dw.bias = self._matrix(take("dz")), take("N"), self._param(take("bias"))
        elif name == "Couple":
            self._couple(&op.couple, take)
        elif name in NORMS:
            self._norm(&op.norm, take)
            if op.norm.gamma.value.data == NULL and op.norm.beta.value.data == NULL:
                op.flags &= ~FR_HAS_PARAM
        elif name == "Totals":
            self._totals(&op.totals, take)
        elif name == "Conv":
            self._dense(&op.conv.dense, take)
            op.conv.window = _window(take("window"))
        elif name == "Flip":
            op.flip.out, op.flip.weight, op.flip.N = self._matrix(take("out")), self._matrix(take("weight")), take("N")
            op.flip.window = _window(take("window"))
        elif name == "ConvDx":
            self._dense_dx(&op.conv_dx.dense, take)
            op.conv_dx.window = _window(take("window"))
        elif name == "ConvDw":
            self._dense_dw(&op.conv_dw.dense, take)
            op.conv_dw.window = _window(take("window"))
        elif name == "Pool":
            op.pool.out, op.pool.x, op.pool.mask = self._matrix(take("out")), self._matrix(take("x")), self._mask(take("mask"))
            op.pool.window, op.pool.average = _window(take("window")), take("average")
        elif name == "PoolDx":
            self._pool_dx(&op.pool_dx, take)
        elif name == "Embed":
            op.embed.out, op.embed.weight = self._matrix(take("out")), self._matrix(take("weight"))
            op.embed.codes, op.embed.mask = self._codes(take("codes")), self._mask(take("mask"))
        elif name == "EmbedDw":
            self._embed_dw(&op.embed_dw, take)
        elif name == "Round":
            op.round.out, op.round.x = self._rounded(take("out")), self._matrix(take("x"))
            op.round.N = take("N")
        elif name == "RowNorm":
            op.max_norm.param, op.max_norm.limit = self._param(take("param")), take("limit")
        elif name != "Call":
            raise TypeError(f"{name}: its fields are not known")

    cdef _gather(self, fr_gather_op *op, take):
        op.out, op.columns, op.source = self._matrix(take("out")), take("columns"), take("source")
        op.mean, op.scale = self._matrix(take("mean")), self._matrix(take("scale"))
        op.mask, op.noise, op.holes = self._mask(take("mask")), _noise(take("noise")), take("holes")
        op.augment, op.mix = self._augment(take("augment"), op.columns), _mix(take("mix"))
        op.rounded, op.direct = self._rounded(take("rounded")), take("direct")

    cdef _dense(self, fr_dense_op *op, take):
        op.out, op.x, op.z = self._matrix(take("out")), self._matrix(take("x")), self._matrix(take("z"))
        op.weight, op.bias = self._matrix(take("weight")), self._matrix(take("bias"))
        op.scale = self._matrix(take("scale"))
        op.K, op.N, op.transposed = take("K"), take("N"), take("transposed")
        op.activation = _number(ACTIVATIONS, "activation", take("activation"))
        op.mask, op.x_mask, op.noise = self._mask(take("mask")), self._mask(take("x_mask")), _noise(take("noise"))
        op.activity, op.activity_l1 = self._matrix(take("activity")), take("activity_l1")
        op.rounded, op.bf16 = self._rounded(take("rounded")), self._bf16(take("bf16"))
        op.source = take("source")

    cdef _loss(self, fr_loss_op *op, take):
        op.kind, op.smoothing = _number(LOSSES, "loss", take("loss")), take("smoothing")
        op.head, op.head_weight = _head(take("head")), take("head_weight")
        op.row_loss, op.row_hit = self._matrix(take("row_loss")).data, self._matrix(take("row_hit")).data
        op.dz, op.rounded, op.targets = self._matrix(take("dz")), self._rounded(take("rounded")), self._matrix(take("targets"))
        op.weights, op.positive = self._matrix(take("weights")), self._matrix(take("positive"))
        op.units, op.holes, op.shape = self._matrix(take("units")), take("holes"), take("shape")
        op.through, op.N, op.by_row = self._through(take("through")), take("N"), take("by_row")
        op.mix = _mix(take("mix"))

    cdef _totals(self, fr_totals_op *op, take):
        op.row_loss, op.row_hit = self._matrix(take("row_loss")).data, self._matrix(take("row_hit")).data
        op.head, op.activity = _head(take("head")), take("activity")

    cdef _dense_dx(self, fr_dense_dx_op *op, take):
        op.out, op.dz, op.weight = self._matrix(take("out")), self._matrix(take("dz")), self._matrix(take("weight"))
        op.K, op.N, op.through = take("K"), take("N"), self._through(take("through"))
        op.transposed, op.add, op.dz_mask = take("transposed"), take("add"), self._mask(take("dz_mask"))
        op.rounded, op.bf16 = self._rounded(take("rounded")), self._bf16(take("bf16"))

    cdef _dense_dw(self, fr_dense_dw_op *op, take):
        op.x, op.dz, op.K, op.N = self._matrix(take("x")), self._matrix(take("dz")), take("K"), take("N")
        op.weight, op.bias = self._param(take("weight")), self._param(take("bias"))
        op.x_mask, op.dz_mask = self._mask(take("x_mask")), self._mask(take("dz_mask"))
        op.bf16 = self._bf16(take("bf16"))
        op.source, op.most_rows = take("source"), self.program.max_rows

    cdef _update(self, fr_update_op *op, take):
        op.gradient, op.param = self._matrix(take("gradient")), self._param(take("param"))
        op.scaled = take("scaled")

    cdef _elementwise(self, fr_elementwise_op *op, take):
        op.out, op.x, op.N = self._matrix(take("out")), self._matrix(take("x")), take("N")
        op.plus, op.z, op.add = self._matrix(take("plus")), self._matrix(take("z")), take("add")
        op.x_column, op.out_column, op.within = take("x_column"), take("out_column"), take("within")
        op.activation = _number(ACTIVATIONS, "activation", take("activation"))
        op.mask, op.noise, op.through = self._mask(take("mask")), _noise(take("noise")), self._through(take("through"))

    cdef _couple(self, fr_couple_op *op, take):
        op.a, op.b = self._param(take("a")), self._matrix(take("b"))
        op.gradient_a, op.gradient_b = self._matrix(take("gradient_a")), self._matrix(take("gradient_b"))

    cdef _norm(self, fr_norm_op *op, take):
        op.gamma, op.beta = self._param(take("gamma")), self._param(take("beta"))
        if op.gamma.value.data == NULL:
            op.gamma.rule = op.beta.rule  # what walks the program looks at the first one
        op.out, op.x, op.z = self._matrix(take("out")), self._matrix(take("x")), self._matrix(take("z"))
        op.dz, op.table, op.bias = self._matrix(take("dz")), self._matrix(take("table")), self._matrix(take("bias"))
        op.mean, op.variance = self._matrix(take("mean")), self._matrix(take("variance"))
        op.N, op.channels, op.period = take("N"), take("channels"), take("period")
        op.eps, op.momentum = take("eps"), take("momentum")
        op.activation = _number(ACTIVATIONS, "activation", take("activation"))
        op.add, op.running, op.moves, op.folded = take("add"), take("running"), take("moves"), take("folded")
        op.mask, op.through = self._mask(take("mask")), self._through(take("through"))

    cdef _pool_dx(self, fr_pool_dx_op *op, take):
        op.out, op.dz, op.x = self._matrix(take("out")), self._matrix(take("dz")), self._matrix(take("x"))
        op.window, op.average = _window(take("window")), take("average")
        op.add, op.through = take("add"), self._through(take("through"))

    cdef _emit(self, fr_emit_op *op, take):
        op.x, op.N, op.head = self._matrix(take("x")), take("N"), _head(take("head"))
        transform = take("transform")
        op.softmax, op.exponential = transform == "softmax", transform == "exp"
        op.activation = FR_LINEAR if op.softmax or op.exponential else _number(ACTIVATIONS, "transform", transform)

    cdef _penalize(self, fr_penalize_op *op, take):
        op.param = self._param(take("param"))
        squares = np.zeros(fr_update_tiles(op.param.rows, op.param.columns))
        self.arrays.append(squares)
        op.squares = <double *>cnp.PyArray_DATA(<cnp.ndarray>squares)

    cdef _max_norm(self, fr_max_norm_op *op, take):
        op.param, op.limit, op.whole = self._param(take("param")), take("limit"), take("whole")

    cdef _append(self, fr_append_op *op, take):
        op.out, op.gradient, op.N = self._matrix(take("out")), self._matrix(take("gradient")), take("N")
        op.mean, op.scale = self._matrix(take("mean")), self._matrix(take("scale"))
        op.epsilon, op.low, op.high, op.clipped = 0.0, 0.0, 0.0, 0
        attack = take("attack")
        if attack is not None:
            op.epsilon, op.clipped = attack.epsilon, attack.clips
            if attack.clips:
                op.low, op.high = attack.low, attack.high

    cdef _average(self, fr_average_op *op, take):
        param = take("param")
        op.out, op.param, op.count = self._matrix(take("out")), self._matrix(param), self._matrix(take("count"))
        op.columns = param.shape[param.ndim - 1]
        op.rows, op.decay = param.shape[0] if param.ndim == 2 else 1, take("decay")

    cdef fr_codes _codes(self, codes) except *:
        """(x, starts, counts, width), with two arrays of int64: one number for each column of x."""
        cdef fr_codes c
        x, starts, counts, c.width = codes
        c.x, c.columns = self._matrix(x), x.shape[1]
        if any(a.dtype != np.int64 or a.shape != (x.shape[1],) or not a.flags.c_contiguous for a in (starts, counts)):
            raise ValueError("starts and counts of int64 were expected, one for each column")
        self.arrays += [starts, counts]
        c.starts = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>starts)
        c.counts = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>counts)
        return c

    cdef _embed_dw(self, fr_embed_dw_op *op, take):
        op.weight, op.dz, op.codes = self._param(take("weight")), self._matrix(take("dz")), self._codes(take("codes"))
        parts = self.program.max_rows * op.codes.columns
        if parts > 2**31 - 1:
            raise ValueError(f"a batch has {parts} codes, at most {2**31 - 1} were expected")
        heads, after = np.full(op.weight.rows, -1, np.int32), np.empty(parts, np.int32)
        self.arrays += [heads, after]
        op.heads = <int32_t *>cnp.PyArray_DATA(<cnp.ndarray>heads)
        op.next = <int32_t *>cnp.PyArray_DATA(<cnp.ndarray>after)

    cdef _perturb(self, fr_perturb_op *op, take):
        weight = take("weight")
        op.out, op.weight, op.noise = self._matrix(take("out")), self._matrix(weight), _noise(take("noise"))
        op.rows, op.columns = weight.shape

    cdef fr_through _through(self, through) except *:
        """(y, z, activation, activity_l1, mask), or None in a forward op."""
        cdef fr_through t
        t.y = t.z = self._matrix(None)
        t.activation, t.activity_l1, t.mask = FR_LINEAR, 0.0, self._mask(None)
        if through is not None:
            y, z, activation, t.activity_l1, mask = through
            t.y, t.z, t.mask = self._matrix(y), self._matrix(z), self._mask(mask)
            t.activation = _number(ACTIVATIONS, "activation", activation)
        return t

    def scratch_bytes(self, int threads):
        return fr_scratch_bytes(&self.program, threads)


cdef class Source:
    """The rows of an array, of any dtype in DTYPES and any strides. The elements of a row are in C order.

    With `starts`, `places` and `columns`, the array has the values of sparse rows (`fastreg.common.sparse`), whose places
    ascend where they are `in_order`. With
    `chosen` (int64), the columns of a row are these elements of it alone."""

    cdef fr_source source
    cdef object array, offsets, pins
    cdef readonly int64_t rows

    def __cinit__(self, cnp.ndarray array not None, cnp.ndarray starts=None, cnp.ndarray places=None,
                  int64_t columns=0, cnp.ndarray chosen=None, bint in_order=False):
        cdef int axis
        cdef int64_t expected = array.itemsize
        self.array = array
        if not array.dtype.isnative:
            raise TypeError("the byte order of the machine was expected")
        code = array.dtype.str[1:]
        if code not in DTYPES:
            raise TypeError(f"no kernel reads {array.dtype}")
        self.source.dtype = DTYPES[code]
        self.source.data = <const char *>cnp.PyArray_DATA(array)
        self.source.row_stride = array.strides[0]
        self.source.offsets = NULL
        self.source.starts, self.source.places = NULL, NULL
        self.source.wide, self.source.in_order = 0, in_order
        self.source.columns = 1
        self.pins = _pinned(array, starts, places)
        if starts is not None:
            self._sparse(starts, places, columns)
            self.rows = len(starts) - 1
            return
        self.rows = len(array)
        contiguous = True
        for axis in range(array.ndim - 1, 0, -1):
            contiguous = contiguous and (array.shape[axis] == 1 or array.strides[axis] == expected)
            expected *= array.shape[axis]
            self.source.columns *= array.shape[axis]
        if chosen is not None and (chosen.ndim != 1 or chosen.dtype != np.int64 or chosen.min(initial=0) < 0
                                   or chosen.max(initial=0) >= self.source.columns):
            raise ValueError(f"chosen columns from 0 to {self.source.columns - 1} were expected")
        if chosen is not None or not contiguous:
            steps = np.zeros((1,) * (array.ndim - 1), np.int64)
            for axis in range(1, array.ndim):
                shape = [1] * (array.ndim - 1)
                shape[axis - 1] = array.shape[axis]
                steps = steps + (np.arange(array.shape[axis], dtype=np.int64) * array.strides[axis]).reshape(shape)
            steps = steps.reshape(-1)
            if chosen is not None:
                steps = steps[chosen]
                self.source.columns = len(steps)
            self.offsets = np.ascontiguousarray(steps)
            self.source.offsets = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>self.offsets)

    cdef int _sparse(self, cnp.ndarray starts, cnp.ndarray places, int64_t columns) except -1:
        cdef cnp.ndarray values = self.array
        parts = values, starts, places
        if any(part.ndim != 1 or not part.flags.c_contiguous for part in parts) or starts.dtype != np.int64:
            raise ValueError("contiguous arrays (n,) were expected, and starts of int64")
        if places.dtype not in (np.int32, np.int64) or min(len(values), len(places)) < starts.max(initial=0):
            raise ValueError("a place of int32 or int64 and a value for each element were expected")
        self.offsets = starts, places
        self.source.columns = columns
        self.source.starts = <const int64_t *>cnp.PyArray_DATA(starts)
        self.source.places = cnp.PyArray_DATA(places)
        self.source.wide = places.dtype == np.int64
        return 0

    @property
    def columns(self):
        return self.source.columns


cdef class Feed:
    """What an epoch reads, as C reads it. Keeps the arrays alive."""

    cdef fr_feed feed
    cdef tuple arrays
    cdef object pins
    cdef list reals  # of the dtype of the program

    def __cinit__(self, int64_t rows, int64_t batch_size, uint64_t seed, uint32_t epoch, list sources, list heads,
                  cnp.ndarray order, cnp.ndarray rates, bint by_position=False, cnp.ndarray decays=None):
        """sources: in the numbering of the gathers. heads: (labels, shares, weights, out) of each, None where unused."""
        cdef int i
        cdef Source source
        cdef int64_t last = rows, batches
        if batch_size < 1 or rows < 0:
            raise ValueError(f"got {rows} rows in batches of {batch_size}, expected at least 0 and 1")
        if len(sources) > FR_MAX_SOURCES or not 1 <= len(heads) <= FR_MAX_HEADS:
            raise ValueError(f"got {len(sources)} sources and {len(heads)} heads, "
                             f"expected at most {FR_MAX_SOURCES} and 1 to {FR_MAX_HEADS}")
        self.arrays = sources, heads, order, rates, decays
        self.feed.rows, self.feed.batch_size, self.feed.seed, self.feed.step = rows, batch_size, seed, 0
        self.feed.epoch, self.feed.by_position = epoch, by_position
        batches = (rows - 1) // batch_size + 1 if rows else 0
        self.feed.order = <const int64_t *>self._data("order", order, rows, "int64")
        self.feed.rates = <const double *>self._data("rates", rates, batches, "float64")
        self.feed.decays = <const double *>self._data("decays", decays, batches, "float64")
        if order is not None:
            last = _end(self.feed.order, rows)
        for i, source in enumerate(sources):
            self.feed.source[i] = self._rows(source, last)
        self.feed.n_heads = <int32_t>len(heads)
        self.reals = []
        for i, (labels, shares, weights, out) in enumerate(heads):
            self.feed.head[i].labels = <const int64_t *>self._data("labels", labels, last, "int64")
            self.feed.head[i].weights = self._data("weights", weights, last, None)
            self.feed.head[i].out = self._data("out", out, rows, None)
            self.reals += [array for array in (weights, out) if array is not None]
            if shares is not None:
                self.feed.head[i].shares = self._rows(shares, last)
        self.pins = _pinned(order, rates, decays, *(array for head in heads for array in head))

    cdef void *_data(self, str name, cnp.ndarray array, int64_t rows, dtype) except *:
        if array is None:
            return NULL
        if not array.flags.c_contiguous or (dtype is not None and array.dtype != dtype):
            raise ValueError(f"{name}: a contiguous array{' of ' + dtype if dtype else ''} was expected")
        if array.ndim == 0 or array.shape[0] < rows:
            raise ValueError(f"{name}: got shape {np.shape(array)}, expected at least {rows} rows")
        return cnp.PyArray_DATA(array)

    cdef fr_source _rows(self, Source source, int64_t rows) except *:
        if source is None:
            raise TypeError("a source was expected, got None")
        if source.rows < rows:
            raise ValueError(f"a source: got {source.rows} rows, expected at least {rows}")
        return source.source


cdef int64_t _end(const int64_t *order, int64_t rows) except -1:
    """The number of rows of data that an order asks for."""
    cdef int64_t i, low = 0, high = -1
    with nogil:
        for i in range(rows):
            low = min(low, order[i])
            high = max(high, order[i])
    if low < 0 or high > 2**62:
        raise ValueError(f"order: got rows {low} to {high}, expected rows of the data")
    return high + 1


def _nothing():
    pass


cdef int _call(void *context, int32_t op, int64_t count) noexcept nogil:
    """Runs a Call, or checks for Ctrl-C. Keeps an exception for `run` to raise."""
    with gil:
        calls = <list>context
        try:
            if op >= 0:
                calls[0](op, count)
            else:
                PyErr_CheckSignals()
                calls[1]()
        except BaseException as error:  # also KeyboardInterrupt: it cannot pass through C
            calls.append(error)
            return 1
    return 0


def run(Program program not None, Feed feed not None, tally, int64_t first, int64_t stop, *, uint32_t step,
        double seconds, int threads, cnp.ndarray scratch not None, int first_op=0, int stop_op=-1,
        uint64_t scramble=0, list powers, call=None, look=_nothing):
    """Runs batches first to stop - 1, adds to the tally and returns the next batch. call(op, count) runs a Call in
    a batch of `count` rows.
    The totals of the tally are a list of loss, weight and hits of each of MAX_HEADS heads.
    look() is called now and then in a long batch. If it raises, the run ends with the batch half done."""
    cdef fr_tally t
    cdef fr_options options
    cdef int64_t reached
    cdef int i
    cdef list totals = tally.totals
    if program.program.n_ops == 0 or first >= stop or feed.feed.rows == 0:
        return first
    if feed.feed.batch_size > program.program.max_rows and feed.feed.rows > program.program.max_rows:
        raise ValueError("a batch is larger than the buffers of the program")
    if first < 0 or stop > (feed.feed.rows - 1) // feed.feed.batch_size + 1 or not 1 <= threads <= FR_MAX_THREADS:
        raise ValueError(f"got the batches {first} to {stop - 1} on {threads} threads, which there are not")
    if not 0 <= first_op <= (program.program.n_ops if stop_op < 0 else stop_op) <= program.program.n_ops:
        raise ValueError(f"got the ops {first_op} to {stop_op}, expected some of {program.program.n_ops}")
    for array in feed.reals:
        if array.dtype != program.dtype:
            raise TypeError(f"an array of {program.dtype} was expected, got {array.dtype}")
    if <size_t>scratch.nbytes < fr_scratch_bytes(&program.program, threads):
        raise ValueError("the scratch memory is too small")
    feed.feed.step = step
    for i in range(feed.feed.n_heads):
        t.head[i].loss, t.head[i].weight, t.head[i].hits = totals[i]
    t.penalty, t.rows, t.row_loss, t.row_penalty = tally.penalty, tally.rows, tally.row_loss, tally.row_penalty
    t.batches, t.updates, t.bad_row, t.code = tally.batches, tally.updates, -1, FR_OK
    for i in range(FR_POWERS):
        t.power[i] = powers[i]
    options.threads, options.seconds, options.scramble = threads, seconds, scramble
    options.first_op = first_op
    options.stop_op = program.program.n_ops if stop_op < 0 else stop_op
    options.scratch = cnp.PyArray_DATA(scratch)
    calls = [call, look]
    options.call, options.call_context = _call, <void *>calls
    with nogil:
        reached = fr_run(&program.program, &feed.feed, &t, first, stop, &options)
    for i in range(feed.feed.n_heads):
        totals[i] = t.head[i].loss, t.head[i].weight, t.head[i].hits
    tally.penalty, tally.rows, tally.row_loss, tally.row_penalty = t.penalty, t.rows, t.row_loss, t.row_penalty
    tally.batches, tally.updates = t.batches, t.updates
    powers[:] = [t.power[i] for i in range(FR_POWERS)]
    if t.code == FR_DIVERGED:
        tally.diverged = True
    elif t.code == FR_BAD_ROW:
        tally.bad_row = t.bad_row
    elif t.code == FR_CALL_FAILED:
        raise calls[2]
    elif t.code == FR_FORKED:
        raise calls[2] if len(calls) > 2 else RuntimeError(
            "a function in Python has forked this process in the middle of a batch: the child has none of the threads that "
            "were at work on it, and cannot go on; end it there with os._exit, fork between fits, or train with threads=1")
    return reached


def advanced(list powers, rule, int64_t times):
    """The running numbers of an optimizer after `times` more steps. Stops early when a step changes nothing."""
    cdef fr_rule r
    cdef double power[FR_POWERS]
    cdef double before[FR_POWERS]
    cdef int64_t step
    cdef int i, changed
    r.beta1, r.beta2, r.warm_up = rule.beta1, rule.beta2, rule.warm_up
    for i in range(FR_POWERS):
        power[i] = powers[i]
    with nogil:
        for step in range(times):
            for i in range(FR_POWERS):
                before[i] = power[i]
            fr_next_powers(power, &r)
            changed = 0
            for i in range(FR_POWERS):
                changed |= power[i] != before[i]
            if not changed:
                break
    return [power[i] for i in range(FR_POWERS)]


# Of very many numbers a caller asks for a piece at a time. `first` is the index of out[0], a multiple of AT_ONCE.

def fill_normal(double[::1] out, uint64_t seed, uint32_t stream, int64_t first=0):
    if out.shape[0]:
        with nogil:
            fr_fill_normal(&out[0], out.shape[0], seed, stream, first)


def fill_uniform(double[::1] out, uint64_t seed, uint32_t stream, int64_t first=0):
    if out.shape[0]:
        with nogil:
            fr_fill_uniform(&out[0], out.shape[0], seed, stream, first)


def draw_mixture(mix, uint64_t seed, uint32_t step, int64_t rows):
    """The share and the shift by which a `Mix` mixes a batch of that number of rows."""
    cdef fr_mix m = _mix(mix)
    cdef fr_mixture found
    with nogil:
        found = fr_draw_mixture(&m, seed, step, rows)
    return found.share, found.shift


def shuffle(int64_t[::1] order, uint64_t seed, uint32_t epoch, int64_t piece):
    """The exchanges of this piece. All pieces, of AT_ONCE elements each, shuffle what stood in order."""
    if order.shape[0]:
        with nogil:
            fr_shuffle(&order[0], order.shape[0], seed, epoch, piece)


def exchange(int64_t[::1] order, int64_t last, const int64_t[::1] partners):
    """Exchanges the elements from `last` on, downwards, each with the one at its partner's place, which is no later."""
    cdef int64_t k, i, j
    if not partners.shape[0] <= last + 1 <= order.shape[0]:
        raise ValueError(f"got {partners.shape[0]} partners from {last} on, of {order.shape[0]} elements")
    with nogil:
        for k in range(partners.shape[0]):
            i, j = last - k, partners[k]
            if not 0 <= j <= i:
                break
            order[i], order[j] = order[j], order[i]
        else:
            k = -1
    if k >= 0:
        raise ValueError(f"got partner {partners[k]} of {last - k}")


def fill_draws(out, uint64_t seed, uint32_t step, uint32_t stream, uint32_t first=0):
    """Fills an array (rows, columns), float32 or float64, with the normal draws of the kernels, from row `first` on."""
    cdef cnp.ndarray panel = np.empty(FR_PANEL, out.dtype)
    cdef int real = FR_F32 if out.dtype == np.float32 else FR_F64
    for row in range(out.shape[0]):
        for column in range(0, out.shape[1], FR_PANEL):
            fr_normals(real, cnp.PyArray_DATA(panel), seed, column, first + row, step, stream)
            width = min(FR_PANEL, out.shape[1] - column)
            out[row, column:column + width] = panel[:width]


# --- All or nothing ---------------------------------------------------------------------------------------------------

# Python runs the handlers of signals between two instructions of Python code, and the functions here have none. So what
# one of them does without calling Python code cannot be cut, neither by Ctrl-C nor by another signal.

def replace(list pairs not None, dict attributes=None, dict values=None, list wholes=[]):
    """Copies arrays into others, `pairs` of (into, from), and sets `attributes` to `values`: all of it, or nothing.
    Each pair of `wholes` is a dict, and one that it shall be equal to."""
    for own, new in pairs:
        if not (isinstance(own, np.ndarray) and isinstance(new, np.ndarray) and own.dtype == new.dtype
                and (own.shape == new.shape or new.ndim == 0)):
            raise ValueError(f"got {np.shape(new)} to copy into {np.shape(own)}, expected equal shapes and dtypes")
    for own, new in pairs:
        cnp.PyArray_CopyInto(own, new)
    if attributes is not None:
        attributes.update(values)
    for own, new in wholes:
        own.update(new)  # before anything goes: it may need memory
        for key in [key for key in own if key not in new]:
            del own[key]


def append(list pairs not None, dict attributes not None, dict values not None):
    """Appends to lists, `pairs` of (list, element), and sets `attributes` to `values`: all of it, or nothing."""
    cdef list lengths = [len(<list>own) for own, _ in pairs]
    try:
        for own, new in pairs:
            (<list>own).append(new)
        attributes.update(values)
    except MemoryError:
        for (own, _), length in zip(pairs, lengths):
            del (<list>own)[length:]
        raise


def all_or_nothing(act, list pairs not None, dict attributes=None, dict values=None, list wholes=[], kept=None,
                   bint appends=False):
    """act(), and what it returns goes to `append` if `appends`. If one of them raises, `replace` takes everything back,
    unless kept(error) says that it stays."""
    try:
        found = act()
        if appends:
            append(*found)
        return found
    except BaseException as error:
        try:
            stays = kept is not None and kept(error)
        except BaseException:
            replace(pairs, attributes, values, wholes)
            raise
        if not stays:
            replace(pairs, attributes, values, wholes)
        raise


def claimed(act, dict held not None, key, str refusal not None):
    """act(), while it alone holds the key. A RuntimeError says `refusal` if another holds it."""
    mine = object()
    if held.setdefault(key, mine) is not mine:
        raise RuntimeError(refusal)
    try:
        return act()
    finally:
        if held.get(key) is mine:
            del held[key]


cdef class Held:
    """A handler of Ctrl-C that notes only the first one: what its handler would have got, and when, by `clock`."""

    cdef readonly object arguments, at
    cdef object clock

    def __init__(self, clock):
        self.clock = clock

    def __call__(self, *arguments):
        if self.arguments is None:
            self.at, self.arguments = self.clock(), arguments

    def take(self):
        """What was noted, which counts as done from now on."""
        arguments, self.arguments = self.arguments, None
        return arguments


def held_back(act, Held held not None, signal, handler):
    """act(), while `held` takes the place of the handler of Ctrl-C, as `signal` sets it. Then that handler is back,
    however act ends, and gets what was noted."""
    signal(held)
    try:
        return act()
    finally:
        _set(signal, handler)
        if held.arguments is not None:
            handler(*held.take())


cdef _set(signal, handler):
    """signal(handler). It hears other signals before it does anything, and again if one of their handlers raises."""
    late = None
    while True:
        try:
            signal(handler)
            break
        except BaseException as error:
            late = error
    if late is not None:
        raise late


def philox(counter, key, int rounds=7):
    """Four words of Philox4x32, for tests against published answers."""
    cdef uint32_t out[4]
    cdef uint32_t[4] c = counter
    cdef uint32_t[2] k = key
    fr_philox(out, c, k, rounds)
    return tuple(out)


def simd_available():
    return [fr_simd_name(i).decode() for i in range(fr_simd_count()) if fr_simd_available(i)]


def simd_current():
    return fr_simd_name(fr_simd_current()).decode()


def simd_use(str name):
    for i in range(fr_simd_count()):
        if fr_simd_name(i).decode() == name and fr_simd_available(i):
            fr_simd_use(i)
            return
    raise ValueError(f"SIMD target: got {name!r}, this machine offers {', '.join(simd_available())}")


fr_simd_current()  # chosen at import, while no other thread is here to ask


TUNINGS = _numbered(fr_tuning_name)


def _tunings(uint32_t chosen):
    return [name for name, kind in TUNINGS.items() if chosen >> <int>kind & 1]


def processor():
    """What the processor says of itself: vendor, family, model, instructions, bytes of the caches of each level."""
    cdef fr_processor p = fr_find_processor()
    return {"vendor": p.vendor.decode(), "family": p.family, "model": p.model, "avx512": bool(p.avx512),
            "demotes": bool(p.demotes), "cache": tuple(p.cache)}


def tuning_for(dict processor):
    """What a processor gets by the table in csrc/tuning.c, by name."""
    cdef fr_processor p
    p.vendor = processor["vendor"].encode().ljust(sizeof(p.vendor), b"\0")
    p.family, p.model = processor["family"], processor["model"]
    p.avx512, p.demotes, p.cache = processor["avx512"], processor["demotes"], processor["cache"]
    return _tunings(fr_tuning_for(&p))


def tuning():
    """What kernels do for the caches of this processor, by name."""
    return _tunings(fr_tuning())


def use_tuning(names):
    cdef uint32_t chosen = 0
    for name in names:
        chosen |= 1u << <int>_number(TUNINGS, "tuning", name)
    fr_use_tuning(chosen)


def compiler():
    """The compiler that built this module."""
    return FR_COMPILER.decode()


def cpu_count():
    return fr_cpu_count()


def fma_loop(dtype, int64_t rounds):
    """Runs a loop of fused multiply-adds on the current target. Returns the floating-point operations and seconds."""
    cdef int real = FR_F32 if np.dtype(dtype) == np.float32 else FR_F64
    cdef double seconds, flops
    with nogil:
        flops = fr_fma_loop(real, rounds, &seconds)
    return flops, seconds


cdef fr_turns _turns(int workers, cnp.ndarray order, bint dynamic, uint64_t scramble) except *:
    """An order (int32) in which workers ask for work: one worker number per turn."""
    cdef fr_turns turns
    if not 1 <= workers <= FR_MAX_THREADS or order.min() < 0 or order.max() >= workers or order.dtype != np.int32:
        raise ValueError(f"turns of {workers} workers were expected, in int32")
    turns.workers, turns.dynamic, turns.scramble = workers, dynamic, scramble
    turns.count, turns.id = order.size, <const int32_t *>cnp.PyArray_DATA(order)
    return turns


def hand_out_tiles(int workers, order, bint dynamic, uint64_t scramble, int64_t panels, int64_t groups, int64_t weight,
                   int64_t last):
    """The tile that each turn hands out, or -1. For tests."""
    cdef fr_turns turns = _turns(workers, order, dynamic, scramble)
    cdef int64_t[::1] got = np.empty(turns.count, np.int64)
    fr_hand_out_tiles(&got[0], &turns, panels, groups, weight, last)
    return np.asarray(got)


def hand_out_pieces(int workers, order, bint dynamic, uint64_t scramble, int64_t columns, int64_t groups, str cut):
    """The piece that each turn hands out: column, columns, first group, the group after the last. For tests."""
    cdef fr_turns turns = _turns(workers, order, dynamic, scramble)
    cdef int64_t[:, ::1] got = np.empty((turns.count, 4), np.int64)
    kinds = {"panels": FR_CUT_PANELS, "rows": FR_CUT_ROWS, "blocks": FR_CUT_BLOCKS, "columns": FR_CUT_COLUMNS}
    fr_hand_out_pieces(&got[0, 0], &turns, columns, groups, kinds[cut])
    return np.asarray(got)


def pool_size():
    """The number of worker threads that exist."""
    return fr_pool_size()


SEEN_POINT, SEEN_HOLE, SEEN_TEXT, SEEN_LARGE = FR_SEEN_POINT, FR_SEEN_HOLE, FR_SEEN_TEXT, FR_SEEN_LARGE


def read_fields(bytes text not None, bytes missing not None, int64_t width, str delimiter not None,
                str decimal not None):
    """The numbers of a table in `text`, whose lines all end with a newline, as must the fields in `missing`.

    Values (width, rows), NaN where there is no number; the line of each row, from 0; what was seen in each column; and
    the numbers that are too long to be read here, as rows of an array: column, row, begin and end in the text. Or the
    line of a row that has another width, and its width.
    """
    cdef fr_fields f
    cdef int64_t rows
    if width < 1 or not (text or b"\n").endswith(b"\n") or not (missing or b"\n").endswith(b"\n"):
        raise ValueError("a width of at least 1 and whole lines were expected")
    f.text, f.size = <const char *>text, len(text)
    f.missing, f.missing_size = <const char *>missing, len(missing)
    f.longest = max(map(len, missing.split(b"\n")))
    f.width, f.rows = width, min(text.count(b"\n"), f.size // width + 1)
    f.delimiter, f.decimal = ord(delimiter), ord(decimal)
    cdef cnp.ndarray out = np.empty((width, f.rows))
    cdef cnp.ndarray lines = np.empty(f.rows, np.int64)
    cdef cnp.ndarray seen = np.zeros(width, np.uint8)
    cdef cnp.ndarray hard = np.empty((width * f.rows, 4), np.int64)
    f.out, f.lines = <double *>cnp.PyArray_DATA(out), <int64_t *>cnp.PyArray_DATA(lines)
    f.seen, f.hard = <uint8_t *>cnp.PyArray_DATA(seen), <int64_t *>cnp.PyArray_DATA(hard)
    with nogil:
        rows = fr_read_fields(&f)
    if rows < 0:
        return -1 - rows, f.found
    return out[:, :rows], lines[:rows], seen, hard[:f.hards]
