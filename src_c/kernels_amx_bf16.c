#include "kernels.h"

const fnn_kernels fnn_kernels_amx_bf16 = {&fnn_table_f32, &fnn_table_f64};
