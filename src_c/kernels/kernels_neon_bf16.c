#define FNN_TABLE(kind) fnn_neon_bf16_##kind
#define FNN_BF16_ALONE
#include "kernels/kernels.h"
