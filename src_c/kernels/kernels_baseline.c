#define FNN_TABLE(kind) fnn_baseline_##kind
#include "kernels/kernels.h"
