/* A frozen network for callers in C: `address` of a fastnn.Predictor points at one of these. */
#ifndef FASTNN_PREDICTOR_H
#define FASTNN_PREDICTOR_H

#include <stddef.h>

typedef struct fnn_predictor fnn_predictor;

struct fnn_predictor {
    /* y = network(x) for `rows` rows of `inputs` elements, `x_stride` elements apart; y: rows x outputs, contiguous; float,
     * or double where is_double. x and y may be aligned to the element only and must not overlap. Any number of threads may
     * call it at once; it takes no lock. Needs neither Python nor its lock, but the Predictor must be alive. Returns 0, or 1
     * where memory for the work was refused (y is undefined then).
     *
     * However many rows there are, their work is done on the stack: a calling thread needs 128 KiB of it, and more if signals
     * are handled there. Some networks do not fit: those of a layer with a kernel of at least 2^19 elements or an output of more
     * than about 32,000 bytes a row, or, with branches, heads or residual blocks, of outputs of more than about 64,000 bytes
     * over all layers. For them each call allocates memory, even for one row. */
    int (*run)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y);
    size_t inputs, outputs;
    int is_double;
    /* fastnn's own */
    int (*run_watched)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                       const void *progress);
    int rows_per_tile;
    size_t stride;
    const int *threads;
    const void *model;
};

#endif
