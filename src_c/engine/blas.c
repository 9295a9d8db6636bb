/* Products by a BLAS. */

#include <string.h>

#include "engine/sizes.h"
#include "fastnn.h"

#define FNN_REAL_IS_DOUBLE 0
#include "real.h"
#include "engine/blas.inc"
#undef FNN_REAL_IS_DOUBLE
#define FNN_REAL_IS_DOUBLE 1
#include "real.h"
#include "engine/blas.inc"
#undef FNN_REAL_IS_DOUBLE
