/* The body of kernels_<instruction set>.c: compiled once per instruction set, with that set's
 * flags, for both element types. Only static functions, so no code of a wide instruction set can be linked elsewhere. */
#include <float.h>
#include <math.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "fastnn.h"
#include "simd.h"

#define FNN_REAL_IS_DOUBLE 0
#include "kernels.inc"
#undef FNN_REAL_IS_DOUBLE

#define FNN_REAL_IS_DOUBLE 1
#include "kernels.inc"
#undef FNN_REAL_IS_DOUBLE
