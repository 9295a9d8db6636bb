#define FNN_TABLE(kind) fnn_avx512_##kind
#include "kernels/kernels.h"
