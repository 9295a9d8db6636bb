#define FNN_TABLE(kind) fnn_neon_dotprod_##kind
#define FNN_INT8_ALONE
#include "kernels/kernels.h"
