#define FNN_TABLE(kind) fnn_avx2_##kind
#include "kernels/kernels.h"
