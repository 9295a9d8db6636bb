/* Which kernels there are, and which of them this processor and its system can run (cpu.c). */
#ifndef FNN_CPU_H
#define FNN_CPU_H

#include "kernels/table.h"

/* Instruction sets in rising order; a name for each, NULL past the last one that was built. */
const char *fnn_isa_name(int isa);
int fnn_isa_available(int isa);              /* built, and this processor and its system have it */
const fnn_kernels *fnn_isa_kernels(int isa); /* its table; NULL where it was not built */
/* 1 if large products of training in this set are faster by a BLAS than by its own kernels, as far as was measured. */
int fnn_isa_prefers_blas(int isa, int is_double);
/* Asks the system for the matrix unit, before the first product in it, where the instruction set has one; 1 if products may
 * use it. A process that never needs the unit does not ask for it, and keeps its small signal frames. */
int fnn_isa_allows_unit(int isa);

const char *fnn_compiler(void); /* the compiler that built this, with its version */

#endif
