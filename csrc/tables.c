/* The tables of fastreg.h, by number: names and the other columns. */
#include "fastreg.h"

#define NAME(KIND, NAME, ...) #NAME,
#define DEFINE_NAMES(FUNCTION, FOR_EACH)                                                                               \
    const char *FUNCTION(int kind) {                                                                                   \
        static const char *const names[] = {FOR_EACH(NAME) NULL};                                                      \
        return names[kind];                                                                                            \
    }

DEFINE_NAMES(fr_op_name, FR_FOR_EACH_OP)
DEFINE_NAMES(fr_activation_name, FR_FOR_EACH_ACTIVATION)
DEFINE_NAMES(fr_loss_name, FR_FOR_EACH_LOSS)
DEFINE_NAMES(fr_rule_name, FR_FOR_EACH_RULE)
DEFINE_NAMES(fr_dtype_name, FR_FOR_EACH_DTYPE)
DEFINE_NAMES(fr_transform_name, FR_FOR_EACH_TRANSFORM)
DEFINE_NAMES(fr_tuning_name, FR_FOR_EACH_TUNING)

int fr_op_flags(int kind) {
#define FLAGS(KIND, NAME, KERNEL, FLAGS) FLAGS,
    static const int flags[] = {FR_FOR_EACH_OP(FLAGS)};
    return flags[kind];
}

int fr_activation_needs_z(int kind) {
#define NEEDS_Z(KIND, NAME, NEEDS_Z, SHOWS_MASK) NEEDS_Z,
    static const int needs_z[] = {FR_FOR_EACH_ACTIVATION(NEEDS_Z)};
    return needs_z[kind];
}

int fr_rule_slots(int kind) {
#define SLOTS(KIND, NAME, SLOTS) SLOTS,
    static const int slots[] = {FR_FOR_EACH_RULE(SLOTS)};
    return slots[kind];
}
