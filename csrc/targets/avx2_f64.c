#define REAL_BITS 64
#include "avx2.h"

#include "../kernels/table.h"
