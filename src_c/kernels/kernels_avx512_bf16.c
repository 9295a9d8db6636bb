#define FNN_TABLE(kind) fnn_avx512_bf16_##kind
#define FNN_BF16_ALONE
#include "kernels/kernels.h"
