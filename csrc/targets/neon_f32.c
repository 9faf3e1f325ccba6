#define REAL_BITS 32
#include "neon.h"

#include "../kernels/table.h"
