#define FNN_TABLE(kind) fnn_avx512_vnni_##kind
#define FNN_INT8_ALONE
#include "kernels/kernels.h"
