/* The body of kernels_<instruction set>.c: compiled once per instruction set, with that set's flags, for both element types.
 * Only static functions, so no code of a wide instruction set can be linked elsewhere.
 *
 * FNN_TABLE(kind) names the tables that the file exports: f32, f64, bf16, weights_bfloat16 and weights_int8. Where
 * FNN_BF16_ALONE or FNN_INT8_ALONE is defined, the file exports bf16 or weights_int8 alone: its other kernels would be those
 * of the instruction set before. */
#include <float.h>
#include <math.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels/table.h"
#include "kernels/base/simd.h"

#define FNN_REAL_IS_DOUBLE 0
#if defined(FNN_INT8_ALONE)
#pragma GCC diagnostic ignored "-Wunused-function"
#include "real.h"
#include "kernels/base/vector.inc"
#include "kernels/products/weights_int8.inc"
#elif defined(FNN_BF16_ALONE)
#pragma GCC diagnostic ignored "-Wunused-function" /* these files hold kernels of the other tables as well */
#include "real.h"
#include "kernels/base/vector.inc"
#include "kernels/products/bfloat16.inc"
#include "kernels/products/gemm.inc"
#include "kernels/products/transpose.inc"
#include "kernels/products/packed.inc"
#else
#define FN_TABLE FNN_TABLE(f32)
#include "kernels/kernels.inc"
#undef FN_TABLE
#undef FNN_REAL_IS_DOUBLE

#define FNN_REAL_IS_DOUBLE 1
#define FN_TABLE FNN_TABLE(f64)
#include "kernels/kernels.inc"
#undef FN_TABLE
#endif
#undef FNN_REAL_IS_DOUBLE
