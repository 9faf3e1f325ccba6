/* Operations of kernels/vec.h and functions of kernels/vmath.h on arrays, for driver.c. Compiled once for every target
 * and dtype, with the target's header in front (-include csrc/targets/NAME.h) and -DREAL_BITS=32 or 64.
 */
#include "../../csrc/kernels/vmath.h"

#define FOR_EACH_FUNCTION(CASE)                                                                                        \
    CASE(vmax, vmax(a, b))                                                                                             \
    CASE(vmin, vmin(a, b))                                                                                             \
    CASE(vselect, vselect(vabs(a) < b, b, a))                                                                          \
    CASE(vkeep, vkeep(a == b, a))                                                                                      \
    CASE(vcopysign, vcopysign(a, b))                                                                                   \
    CASE(vfma, vfma(a, b, a - b))                                                                                      \
    CASE(divide, a / b)                                                                                                \
    CASE(vsqrt, vsqrt(a))                                                                                              \
    CASE(vexp, vexp(a))                                                                                                \
    CASE(vlog, vlog(a))                                                                                                \
    CASE(vlog1p, vlog1p(a))                                                                                            \
    CASE(vsigmoid, vsigmoid(a))                                                                                        \
    CASE(vtanh, vtanh(a))                                                                                              \
    CASE(verf, verf(a))                                                                                                \
    CASE(vgelu, vgelu(a))                                                                                              \
    CASE(vgelu_grad, vgelu_grad(a))                                                                                    \
    CASE(vgelu_tanh, vgelu_tanh(a))                                                                                    \
    CASE(vgelu_tanh_grad, vgelu_tanh_grad(a))                                                                          \
    CASE(vsilu, vsilu(a))                                                                                              \
    CASE(vsilu_grad, vsilu_grad(a))                                                                                    \
    CASE(velu, velu(a))                                                                                                \
    CASE(vselu, vselu(a))                                                                                              \
    CASE(vsoftplus, vsoftplus(a))                                                                                      \
    CASE(vsoftplus_grad, vsoftplus_grad(a))                                                                            \
    CASE(vmish, vmish(a))                                                                                              \
    CASE(vmish_grad, vmish_grad(a))                                                                                    \
    CASE(vhard_swish, vhard_swish(a))                                                                                  \
    CASE(vhard_swish_grad, vhard_swish_grad(a))

#define JOIN_(target, bits) vmath_##target##_f##bits
#define JOIN(target, bits) JOIN_(target, bits)

const char *JOIN(TARGET, REAL_BITS)(int function, const void *x, const void *y, void *out, int64_t n);

/* out[i] = function(x[i], y[i]), n a multiple of 16. Returns the function's name, or NULL behind the last one. */
const char *JOIN(TARGET, REAL_BITS)(int function, const void *x, const void *y, void *out, int64_t n) {
#define NUMBER(NAME, RESULT) NUMBER_##NAME,
    enum { FOR_EACH_FUNCTION(NUMBER) };
    switch (function) {
#define CASE(NAME, RESULT)                                                                                             \
    case NUMBER_##NAME:                                                                                                \
        for (int64_t i = 0; i < n; i += VL) {                                                                          \
            const vec a = vload((const real *)x + i), b = vload((const real *)y + i);                                  \
            (void)b;                                                                                                   \
            vstore((real *)out + i, RESULT);                                                                           \
        }                                                                                                              \
        return #NAME;
        FOR_EACH_FUNCTION(CASE)
    default: return NULL;
    }
}
