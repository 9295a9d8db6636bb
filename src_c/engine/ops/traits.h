/* What the engine asks about an op, whatever the element type: the first half of the op's row in the table of ops
 * (table.inc).
 *
 * Nobody but the files of ops/ names an op code. Sizes, checks, the walk over a network, stripes and inference ask the row. */

#ifndef FASTNN_TRAITS_H
#define FASTNN_TRAITS_H

#include "fastnn.h"

/* The axes of an op's kernel. Its bias is a vector of as many numbers as there are outputs, unless the form says otherwise. */
typedef enum {
    FNN_NO_KERNEL,
    FNN_VECTOR, /* (outputs): one number for each column of the result */
    FNN_MATRIX, /* (inputs, outputs): the op is a product, x W, which has many ways to be computed */
    FNN_SHAPED, /* (vector[0], vector[1]), beside a bias of vector[2] numbers, each of which serves outputs / vector[2] columns */
    FNN_TABLE, /* (entries, outputs / inputs): numbers[0] rows, which the inputs number */
} fnn_kernel_form;

/* Where the activation stands in the formula of an op. */
typedef enum {
    FNN_OF_RESULT, /* y = f(z), z what the op makes of x: the backward walk takes the gradient from y to z first */
    FNN_OF_INPUT,  /* y = f(x) is all that the op does: its input_gradient has the derivative */
    FNN_WITHIN, /* f is inside the formula, as in a f(b): its input_gradient has the derivative, and no loss computes f */
} fnn_activation_place;

/* The statistics that training keeps of the forward pass for the backward pass. */
typedef enum {
    FNN_NO_STATISTICS,
    FNN_OF_ROWS,    /* two numbers for every row of the batch */
    FNN_OF_COLUMNS, /* two numbers for every output */
} fnn_statistics;

typedef struct {
    fnn_kernel_form kernel;
    fnn_activation_place activation;
    fnn_statistics statistics;
    int is_noise;   /* outside training the result is the input, and inference leaves the op out */
    int keeps_mask; /* the backward pass needs to know which elements the forward pass has kept */
    int uses_batch; /* unless the op is frozen, training normalizes by statistics of all rows, and keeps averages of them */
    int is_mean; /* the mean of members, at the end or before an FNN_OP_UNSCALE: a loss is the mean of those of members */
    int shares; /* groups of the inputs are multiplied with one kernel, where that has fewer rows than there are inputs */
    int is_join;     /* the op reads nothing and computes nothing: the ops that it joins write its rows */
    int adds_source; /* the op adds what `source` reads to its own input: the gradient by its result is that by both */
} fnn_traits;

const fnn_traits *fnn_traits_of(const fnn_op *op);

#endif
