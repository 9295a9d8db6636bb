/* What kernels know: the constants and small structs that they take, and the table of kernels that each instruction set
 * exports. Kernels know no op, no phase and no model: these are the engine's (fastnn.h), which calls kernels through this
 * table alone. */
#ifndef FASTNN_KERNELS_TABLE_H
#define FASTNN_KERNELS_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum { FNN_ALIGNMENT = 64, FNN_PADDING = 512, FNN_MAX_THREADS = 256, FNN_SLOTS = 3 };

/* A kernel of at least this many elements is worth packing (packed.inc) for batches of some size; a smaller one stays in the
 * caches and is faster unpacked. */
enum { FNN_LARGE_SIZE = 1 << 18 };

/* The factor of a column: `scale`; 1 / sqrt(variance + epsilon); 1 / d; or d, where d = max(sqrt(variance), epsilon), or
 * max(1, epsilon) if the variance is 0. */
typedef enum { FNN_SCALE, FNN_DIVIDE_BY_ROOT, FNN_DIVIDE, FNN_MULTIPLY } fnn_column_factor;

/* What an encoding makes of categories; see categories.inc. */
typedef enum { FNN_ONE_HOT, FNN_MULTI_HOT, FNN_COUNT } fnn_encoding;

/* Where random numbers come from: a key for the layer, and the optimizer's step. */
typedef struct {
    uint64_t key, step;
    double numbers[4];
} fnn_noise;

/* Formulas and constants: activation.inc. */
typedef enum {
    FNN_LINEAR,
    FNN_RELU,
    FNN_SIGMOID,
    FNN_TANH,
    FNN_SOFTMAX,
    FNN_LOG_SOFTMAX,
    FNN_LEAKY_RELU,
    FNN_CLIPPED_RELU,
    FNN_ELU,
    FNN_SOFTPLUS,
    FNN_HARD_SIGMOID,
    FNN_EXPONENTIAL,
    FNN_HARD_TANH,
    FNN_LOG_SIGMOID,
    FNN_GELU,
    FNN_GELU_TANH,
    FNN_SILU,
    FNN_MISH,
    FNN_HARD_SILU,
    FNN_SOFTSIGN,
    FNN_SQUAREPLUS,
    FNN_SMOOTH_CLIP,
    FNN_COS,
} fnn_activation;

typedef enum {
    FNN_MEAN_SQUARED_ERROR,
    FNN_HALF_MEAN_SQUARED_ERROR,
    FNN_BINARY_CROSSENTROPY,
    FNN_CATEGORICAL_CROSSENTROPY,
    FNN_SPARSE_CATEGORICAL_CROSSENTROPY,
    FNN_BINARY_CROSSENTROPY_LOGITS,
    FNN_CATEGORICAL_CROSSENTROPY_LOGITS,
    FNN_SPARSE_CATEGORICAL_CROSSENTROPY_LOGITS,
    FNN_MEAN_ABSOLUTE_ERROR,
    FNN_MEAN_ABSOLUTE_PERCENTAGE_ERROR,
    FNN_MEAN_SQUARED_LOGARITHMIC_ERROR,
    FNN_HUBER,
    FNN_LOG_COSH,
    FNN_POISSON,
    FNN_KL_DIVERGENCE,
    FNN_HINGE,
    FNN_SQUARED_HINGE,
    FNN_CATEGORICAL_HINGE,
    FNN_COSINE_SIMILARITY,
    FNN_BINARY_FOCAL_CROSSENTROPY,
    FNN_BINARY_FOCAL_CROSSENTROPY_LOGITS,
    FNN_CATEGORICAL_FOCAL_CROSSENTROPY,
    FNN_CATEGORICAL_FOCAL_CROSSENTROPY_LOGITS,
    FNN_QUANTILE,
    FNN_GAUSSIAN_LIKELIHOOD,
    FNN_TVERSKY,
    FNN_FUNCTION_LOSS, /* computed by the caller: fnn_functions */
} fnn_loss;

typedef enum {
    FNN_BINARY_ACCURACY,
    FNN_CATEGORICAL_ACCURACY, /* of labels or of one-hot targets */
    FNN_TOP_K_ACCURACY,       /* of labels or of one-hot targets */
    FNN_MEAN_LOSS,            /* the state of the metrics up to here is the mean of a value a row */
    FNN_THRESHOLD_COUNTS,
    FNN_CLASS_COUNTS,
    FNN_SQUARES,
    FNN_CLASS_MATRIX,
    FNN_TEMPERATURES,
    FNN_FUNCTION_METRIC, /* computed by the caller: fnn_functions; its state lies among the others */
} fnn_metric;

/* What the sum of the weighted losses of a batch's rows is divided by: the number of rows that are not ignored; 1; the sum of
 * the weights of these rows. */
typedef enum { FNN_SUM_OVER_BATCH_SIZE, FNN_SUM, FNN_MEAN_WITH_SAMPLE_WEIGHT } fnn_reduction;

/* A head: a loss over some columns of the last op's output. Each column belongs to one head. */
typedef struct {
    int loss, reduction;   /* fnn_loss, fnn_reduction */
    int fused;             /* the loss computes the activation too: y holds what the activation is given */
    size_t first, columns; /* the head's columns of the output */
    size_t target_first, target_columns; /* its columns of the targets; target_columns 0: it has a label instead */
    size_t label;                        /* its column of the labels */
    double weight;                       /* of this head's loss in the sum of the losses of all heads */
    double numbers[4];                   /* constants of the loss (loss.inc) */
    const double *vector;                /* vector_size more constants */
    size_t vector_size;
} fnn_head;

/* Whether rows with this label are ignored: a sparse cross-entropy may ignore one class. */
static inline int fnn_ignores(const fnn_head *head, int32_t label) {
    return !head->target_columns && head->numbers[0] != 0 && (double)label == head->numbers[1];
}

/* Whether a label is one of the head's classes. A label that is none ends the run, unless the loss ignores it; then no metric
 * counts its row either. */
static inline int fnn_is_class(const fnn_head *head, int32_t label) {
    return (size_t)(uint32_t)label < head->columns;
}

/* A measure: a metric of a head. Its state, numbers that grow row by row, lies in the sums of a run; the metric's value is
 * computed from it. */
typedef struct {
    int metric;   /* fnn_metric */
    int weighted; /* rows count with their weights */
    size_t head_index;
    fnn_head head; /* the head's columns and targets; the metric's numbers and vector; of a mean loss, the loss */
    size_t state, state_size; /* where its numbers lie in the sums of a run */
} fnn_measure;

/* The rules by which optimizers change parameters: optimizer.inc has their formulas. */
typedef enum {
    FNN_SGD,
    FNN_SGD_MOMENTUM,
    FNN_SGD_NESTEROV,
    FNN_ADAM,
    FNN_ADAM_AMSGRAD,
    FNN_NADAM,
    FNN_ADAMAX,
    FNN_RMSPROP,
    FNN_RMSPROP_MOMENTUM,
    FNN_RMSPROP_CENTERED,
    FNN_RMSPROP_CENTERED_MOMENTUM,
    FNN_ADAGRAD,
    FNN_ADADELTA,
    FNN_LION,
    FNN_ADAFACTOR, /* its rule is in engine/update/adafactor.inc */
    FNN_MUON,      /* its rule is in engine/update/muon.inc */
} fnn_optimizer;

enum { FNN_NUMBERS = 12, FNN_RATE = FNN_NUMBERS /* the rate stands behind the numbers */ };

/* What one step of the optimizer needs, computed once a step by fnn_begin_step. */
typedef struct {
    int rule;                    /* fnn_optimizer */
    double rate;                 /* the learning rate, after bias correction */
    double numbers[FNN_NUMBERS]; /* the constants of the rule, as optimizer.inc calls them */
    double decay;                /* the share of a parameter that weight decay takes */
    double clipvalue;
    double
        gradient_scale; /* the factor of accumulated gradients, at the step that applies them; 0: this step only adds */
    double ema_momentum;
    int overwrites;          /* at the end of the step the parameters become their average */
    double momentum_product; /* Nadam's u_1 ... u_t, after this step */
    int plain;               /* the rule is all there is to do, but for what fnn_parameter_settings ask */
} fnn_step;

/* What is done to a parameter after each step: max(p, 0), or a norm is drawn to [low, high] as update.inc says. */
typedef enum {
    FNN_UNCONSTRAINED,
    FNN_NON_NEGATIVE,
    FNN_COLUMN_NORM,
    FNN_ROW_NORM,
    FNN_WHOLE_NORM,
} fnn_constraint;

/* ---- kernels of frozen networks whose weights are rounded once ---- */

typedef enum { FNN_WEIGHTS_BFLOAT16, FNN_WEIGHTS_INT8 } fnn_weights;

/* A kernel of (inputs, outputs) elements in one of these forms, in the order in which its product uses it. The columns are cut
 * into groups of up to FNN_GROUP_VECTORS vectors of `lanes` columns each (fnn_small_kernels; the last vector is filled up with
 * zeros); of a group there are
 *     numbers[step][column][k]   input (step `inputs` + k) of that column of the group, zero past the last input
 * and then the next group. */
typedef struct {
    const void *numbers; /* uint16_t, the upper halves of float32; or int8_t */
    const float *scales; /* int8: weight = scale * number, a scale a column */
    const double *sums;  /* int8: the sum of the numbers of each column */
    int32_t kind;        /* fnn_weights */
} fnn_small_weights;

/* A group of columns: its first column, and how many vectors wide it is. */
typedef struct {
    size_t first;
    int vectors;
} fnn_group;

enum { FNN_GROUP_VECTORS = 8 };

static inline size_t fnn_group_count(size_t columns, size_t lanes) {
    return ((columns + lanes - 1) / lanes + FNN_GROUP_VECTORS - 1) / FNN_GROUP_VECTORS;
}

/* Group `index`: groups are of nearly equal width. */
static inline fnn_group fnn_group_of(size_t columns, size_t lanes, size_t index) {
    const size_t vectors = (columns + lanes - 1) / lanes, groups = fnn_group_count(columns, lanes);
    const size_t first = vectors * index / groups;
    return (fnn_group){first * lanes, (int)(vectors * (index + 1) / groups - first)};
}

/* ---- one table per element type and instruction set ---- */

#define FNN_REAL_IS_DOUBLE 0
#include "real.h"
#include "kernels/kernel_table.inc"
#undef FNN_REAL_IS_DOUBLE
#define FNN_REAL_IS_DOUBLE 1
#include "real.h"
#include "kernels/kernel_table.inc"
#undef FNN_REAL_IS_DOUBLE

/* Products of float32 by way of bfloat16, which have bits of their own: all in which the last instruction sets differ. */
typedef struct {
    /* multiply_packed with every element of A and B rounded to bfloat16 (to nearest, ties to even; a NaN stays one);
     * products, sums, bias and c are float32. An element does not depend on how the product was split. Instruction sets
     * differ in the order of the sum alone: avx512_bf16 adds two products at a time, amx_bf16 thirty-two, and both take
     * denormals as zero; elsewhere the chain is that of multiply_packed on the rounded operands. */
    void (*multiply_rounded)(const fnn_product_f32 *product, float *scratch);

    /* The product of multiply_packed in the processor's matrix unit (matrix_unit.inc), which sums in an order of its own: an
     * element does not depend on how the product was split, and is off by at most (6 ceil(depth / 32) + 6) 2^-23 sum_d
     * |A[i][d] B[d][j]|. Numbers below the least normal one are zero; a product with an infinity is not a number.
     * multiply_unit, enter_unit and leave_unit are NULL where there is no such unit. A thread multiplies between enter_unit
     * and leave_unit and calls nothing else in between that may use the unit. multiply_rounded uses the unit as well. */
    void (*multiply_unit)(const fnn_product_f32 *product, float *scratch);
    void (*enter_unit)(void);
    void (*leave_unit)(void);

    int rounding_pays;     /* whether multiply_rounded is faster than multiply_packed */
    size_t packed_scratch; /* elements of the scratch of these products, at least as many as multiply_packed needs */
} fnn_bf16_kernels;

/* Products with kernels of one fnn_weights, of float32. */
typedef struct {
    /* The product of `multiply` by rows, with product->small in the place of b, for all columns of it. An element does not
     * depend on how rows were shared out. weights_bfloat16.inc and weights_int8.inc have the formulas. */
    void (*multiply)(const fnn_product_f32 *product);
    size_t inputs, lanes; /* of the order in fnn_small_weights */
} fnn_small_kernels;

typedef struct {
    const fnn_kernels_f32 *f32;
    const fnn_kernels_f64 *f64;
    const fnn_bf16_kernels *bf16;
    const fnn_small_kernels *small[2]; /* of each fnn_weights */
} fnn_kernels;

#endif
