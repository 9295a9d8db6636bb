/* The whole C interface of fastnn on one page.
 *
 * The engine (fastnn/_engine.pyx) owns the buffers and fills the structs below; the functions run on them. Nothing here prints
 * or knows Python, and only a predictor allocates (see fastnn_predictor.h). The functions trust the structs: whoever fills
 * them has checked that widths are at least 1 and that what lies in a buffer fits it. Sizes are size_t in elements unless a
 * name says bytes; a size to allocate whose products overflow is SIZE_MAX, which no allocation grants. Runs that may be asked
 * to stop return an fnn_status.
 *
 * Bits: for one instruction set, results depend on the data, the shapes and the order of rows, never on the number of
 * threads. Denormal numbers count as zero inside these functions; the caller's floating-point mode is restored. */
#ifndef FASTNN_H
#define FASTNN_H

#include <stddef.h>
#include <stdint.h>

#include "fastnn_predictor.h"

enum { FNN_ALIGNMENT = 64, FNN_PADDING = 512, FNN_MAX_THREADS = 256, FNN_SLOTS = 3 };

/* A kernel of at least this many elements is worth packing (packed.inc) for batches of some size; a smaller one stays in the
 * caches and is faster unpacked. */
enum { FNN_LARGE_SIZE = 1 << 18 };

typedef enum {
    FNN_OK = 0,
    FNN_STOPPED = 1,    /* the progress function asked to stop; the last finished step stands */
    FNN_NOT_FINITE = 2, /* FNN_CHECK has found something in x */
    FNN_OUTSIDE = 3, /* an index among the data lies outside its bounds (fnn_outside); the last finished step stands */
} fnn_status;

/* The index that ended a run with FNN_OUTSIDE. What a caller checked before may have been changed since, by another thread or by
 * its own progress function: so each index is compared with its bound where it is read. */
typedef struct {
    enum { FNN_LABEL = 0, FNN_ROW = 1, FNN_COLUMN = 2 } what; /* a label, of `order`, a column of a sparse x */
    int64_t value;
    size_t bound; /* it should lie between 0 and this, exclusive */
} fnn_outside;

typedef enum {
    FNN_OP_DENSE = 0,
    FNN_OP_ACTIVATION = 1,
    FNN_OP_DROPOUT = 2,             /* numbers: see dropout.inc; the input itself outside training */
    FNN_OP_GAUSSIAN = 3,            /* the same */
    FNN_OP_LAYER_NORMALIZATION = 4, /* numbers: epsilon, centered; kernel is gamma, bias is beta, or -1 */
    FNN_OP_BATCH_NORMALIZATION = 5, /* numbers: epsilon, momentum; the same, and mean and variance */
    FNN_OP_ADD = 6,                 /* adds what the op `source`, the first of a block, reads */
    FNN_OP_COLUMNS = 7,             /* numbers: rule, epsilon, scale, offset; mean and variance */
    FNN_OP_PRELU = 8,               /* kernel is alpha */
    FNN_OP_EMBEDDING = 9,           /* numbers: entries; kernel is (entries, outputs / inputs) */
    FNN_OP_JOIN = 10,               /* the outputs of the ops whose `join` it is, side by side; reads nothing itself */
    FNN_OP_DISCRETIZE = 12,         /* vector: the boundaries of bins, which rise */
    FNN_OP_ENCODE = 13, /* numbers: fnn_encoding, tokens, skips -1; inputs * tokens outputs if one-hot, else tokens */
    FNN_OP_GLU = 14,    /* y = a f(b), x = (a, b); f is the activation, which is not applied to y */
    FNN_OP_IMPUTE = 15, /* vector: what NaN becomes, by column; of 2 * inputs outputs the others say where it was */
} fnn_op_code;

/* The factor of a column: `scale`; 1 / sqrt(variance + epsilon); 1 / d or d, d = max(sqrt(variance), epsilon), or 1
 * where the variance is 0. */
typedef enum { FNN_SCALE = 0, FNN_DIVIDE_BY_ROOT = 1, FNN_DIVIDE = 2, FNN_MULTIPLY = 3 } fnn_column_rule;

/* What FNN_OP_ENCODE makes of categories; see categories.inc. */
typedef enum { FNN_ONE_HOT = 0, FNN_MULTI_HOT = 1, FNN_COUNT = 2 } fnn_encoding;

/* Where random numbers come from: a key for the layer, and the optimizer's step. */
typedef struct {
    uint64_t key, step;
    double numbers[4];
} fnn_noise;

/* Formulas and constants: activation.inc. */
typedef enum {
    FNN_LINEAR = 0,
    FNN_RELU = 1,
    FNN_SIGMOID = 2,
    FNN_TANH = 3,
    FNN_SOFTMAX = 4,
    FNN_LOG_SOFTMAX = 5,
    FNN_LEAKY_RELU = 6,
    FNN_CLIPPED_RELU = 7,
    FNN_ELU = 8,
    FNN_SOFTPLUS = 9,
    FNN_HARD_SIGMOID = 10,
    FNN_EXPONENTIAL = 11,
    FNN_HARD_TANH = 12,
    FNN_LOG_SIGMOID = 13,
    FNN_GELU = 14, /* from here on the derivative is computed from the argument, before here from the result */
    FNN_GELU_TANH = 15,
    FNN_SILU = 16,
    FNN_MISH = 17,
    FNN_HARD_SILU = 18,
    FNN_SOFTSIGN = 19,
} fnn_activation;

typedef enum {
    FNN_MEAN_SQUARED_ERROR = 0,
    FNN_HALF_MEAN_SQUARED_ERROR = 1,
    FNN_BINARY_CROSSENTROPY = 2,
    FNN_CATEGORICAL_CROSSENTROPY = 3,
    FNN_SPARSE_CATEGORICAL_CROSSENTROPY = 4,
    FNN_BINARY_CROSSENTROPY_LOGITS = 5,
    FNN_CATEGORICAL_CROSSENTROPY_LOGITS = 6,
    FNN_SPARSE_CATEGORICAL_CROSSENTROPY_LOGITS = 7,
    FNN_MEAN_ABSOLUTE_ERROR = 8,
    FNN_MEAN_ABSOLUTE_PERCENTAGE_ERROR = 9,
    FNN_MEAN_SQUARED_LOGARITHMIC_ERROR = 10,
    FNN_HUBER = 11,
    FNN_LOG_COSH = 12,
    FNN_POISSON = 13,
    FNN_KL_DIVERGENCE = 14,
    FNN_HINGE = 15,
    FNN_SQUARED_HINGE = 16,
    FNN_CATEGORICAL_HINGE = 17,
    FNN_COSINE_SIMILARITY = 18,
    FNN_BINARY_FOCAL_CROSSENTROPY = 19,
    FNN_BINARY_FOCAL_CROSSENTROPY_LOGITS = 20,
    FNN_CATEGORICAL_FOCAL_CROSSENTROPY = 21,
    FNN_CATEGORICAL_FOCAL_CROSSENTROPY_LOGITS = 22,
    FNN_QUANTILE = 23,
    FNN_GAUSSIAN_LIKELIHOOD = 24,
    FNN_FUNCTION_LOSS = 25, /* computed by the caller: fnn_functions */
} fnn_loss;

typedef enum {
    FNN_BINARY_ACCURACY = 0,
    FNN_CATEGORICAL_ACCURACY = 1, /* of labels or of one-hot targets */
    FNN_TOP_K_ACCURACY = 2,       /* the same */
    FNN_MEAN_LOSS = 3,            /* the last one whose state is the mean of a value a row */
    FNN_THRESHOLD_COUNTS = 4,
    FNN_CLASS_COUNTS = 5,
    FNN_SQUARES = 6,
    FNN_CLASS_MATRIX = 7,
    FNN_FUNCTION_METRIC = 8, /* the same; its state is kept for it */
} fnn_metric;

/* What the weighted losses of a batch's rows, in sum, are divided by: the number of rows that are not ignored; 1; the sum of
 * their weights. */
typedef enum { FNN_SUM_OVER_BATCH_SIZE = 0, FNN_SUM = 1, FNN_MEAN_WITH_SAMPLE_WEIGHT = 2 } fnn_reduction;

/* A head: what is minimised over some columns of the last op's output. Heads share out all of these columns. */
typedef struct {
    int loss, reduction;                 /* fnn_loss, fnn_reduction */
    int fused;                           /* the loss computes the activation too: y holds the values before it */
    size_t first, columns;               /* of the output */
    size_t target_first, target_columns; /* of a row of targets; target_columns 0: the head has a label instead */
    size_t label;                        /* column of a row of labels */
    double weight;                       /* of this head's loss in the sum of all heads' */
    double numbers[4];                   /* constants of the loss (loss.inc) */
    const double *vector;                /* more of them */
    size_t vector_size;
} fnn_head;

/* Whether rows with this label count for nothing: a sparse cross-entropy may ignore one class. */
static inline int fnn_ignores(const fnn_head *head, int32_t label) {
    return !head->target_columns && head->numbers[0] != 0 && (double)label == head->numbers[1];
}

/* Whether a label is one of the head's classes. A run ends at one that is not, unless the loss ignores it: then no metric
 * counts its row either. */
static inline int fnn_is_class(const fnn_head *head, int32_t label) {
    return (size_t)(uint32_t)label < head->columns;
}

/* A metric of a head: numbers that grow row by row, from which its value is computed. */
typedef struct {
    int metric;   /* fnn_metric */
    int weighted; /* rows count with their weights */
    size_t head;
    fnn_head rule; /* the head's columns and targets; the metric's numbers and vector; of a mean loss, the loss */
    size_t state, state_size; /* where its numbers lie in the sums of a run */
} fnn_measure;

/* The rules by which optimizers change parameters: optimizer.inc has their formulas. */
typedef enum {
    FNN_SGD = 0,
    FNN_SGD_MOMENTUM = 1,
    FNN_SGD_NESTEROV = 2,
    FNN_ADAM = 3,
    FNN_ADAM_AMSGRAD = 4,
    FNN_NADAM = 5,
    FNN_ADAMAX = 6,
    FNN_RMSPROP = 7,
    FNN_RMSPROP_MOMENTUM = 8,
    FNN_RMSPROP_CENTERED = 9,
    FNN_RMSPROP_CENTERED_MOMENTUM = 10,
    FNN_ADAGRAD = 11,
    FNN_ADADELTA = 12,
    FNN_LION = 13,
    FNN_ADAFACTOR = 14, /* this and the next: matrix_rules.inc */
    FNN_MUON = 15,
} fnn_optimizer;

enum { FNN_RULES = FNN_LION + 1, FNN_NUMBERS = 12, FNN_RATE = FNN_NUMBERS /* the rate stands behind the numbers */ };

/* How the learning rate depends on the step; step.c has the formulas. */
typedef enum {
    FNN_CONSTANT = 0,
    FNN_EXPONENTIAL_DECAY = 1,
    FNN_INVERSE_TIME_DECAY = 2,
    FNN_PIECEWISE_CONSTANT_DECAY = 3,
    FNN_POLYNOMIAL_DECAY = 4,
    FNN_COSINE_DECAY = 5,
    FNN_COSINE_DECAY_RESTARTS = 6,
    FNN_ONE_CYCLE = 7,
} fnn_schedule_code;

typedef struct {
    int code; /* fnn_schedule_code */
    double numbers[6];
    const double *boundaries, *values; /* of the piecewise constant one: `pieces` and one more */
    size_t pieces;
} fnn_schedule;

/* An optimizer with its numbers. Zero where there is none of a thing. */
typedef struct {
    int code;                    /* fnn_optimizer */
    double numbers[FNN_NUMBERS]; /* those of the Python class, in the order that step.c reads */
    fnn_schedule schedule;
    double weight_decay;                         /* p -= p weight_decay rate, before the rule */
    double clipnorm, global_clipnorm, clipvalue; /* at most one of them: see update.inc */
    int64_t accumulation_steps;                  /* the mean gradient of so many steps is applied at the last one */
    double ema_momentum;                         /* of fnn_model.average */
    int64_t ema_overwrite_frequency;             /* after so many steps the parameters become their average */
} fnn_hyperparameters;

/* What one step of the optimizer needs, computed once a step by fnn_begin_step. */
typedef struct {
    int rule;                    /* fnn_optimizer */
    double rate;                 /* the learning rate, after bias correction */
    double numbers[FNN_NUMBERS]; /* the constants of the rule, as optimizer.inc calls them */
    double decay;                /* the share of a parameter that weight decay takes */
    double clipvalue;
    double gradient_scale; /* of accumulated gradients, at the step that applies them; 0: this step only adds */
    double ema_momentum;
    int overwrites;          /* with the average, at its end */
    double momentum_product; /* of the run, after this step */
    int plain;               /* the rule is all there is to do, but for what an fnn_rule asks */
} fnn_step;

/* What is done to a parameter after each step: max(p, 0), or a norm is drawn to [low, high] as update.inc says. */
typedef enum {
    FNN_UNCONSTRAINED = 0,
    FNN_NON_NEGATIVE = 1,
    FNN_COLUMN_NORM = 2,
    FNN_ROW_NORM = 3,
    FNN_WHOLE_NORM = 4,
} fnn_constraint;

/* How one parameter of an op is trained. */
typedef struct {
    double multiplier;      /* of the learning rate */
    double l1, l2;          /* the penalty l1 sum |p| + l2 sum p^2 is part of the loss */
    double cosines;         /* and so is this times the sum of |cos(u, v)| over all rows u, v of a matrix, u != v */
    int32_t by_columns;     /* these are columns, not rows */
    int32_t decays;         /* the optimizer's weight decay counts for it */
    int32_t second;         /* the optimizer's other rule is that of the parameter: Adam's, beside Muon */
    int32_t constraint;     /* fnn_constraint */
    double low, high, rate; /* of a norm */
} fnn_rule;

enum { FNN_KERNEL = 0, FNN_BIAS = 1 }; /* fnn_model.rules holds one of each for every op */

/* ---- kernels: one table per element type and instruction set (kernel_table.inc) ---- */

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
    /* multiply_packed with every element of A and B rounded to bfloat16 (to nearest, ties to even; a NaN stays one); products,
     * sums, bias and c are float32. An element does not depend on how the product was split. Instruction sets differ in the
     * order of the sum alone: avx512_bf16 adds two products at a time, amx_bf16 thirty-two, and both take denormals as
     * zero; elsewhere the chain is that of multiply_packed on the rounded operands. */
    void (*multiply_rounded)(const fnn_product_f32 *product, float *scratch);

    /* The product of multiply_packed in the processor's matrix unit (matrix_unit.inc), which sums in an order of its own: an
     * element does not depend on how the product was split, and is off by at most (6 ceil(depth / 32) + 6) 2^-23
     * sum_d |A[i][d] B[d][j]|. Numbers below the least normal one are zero; a product with an infinity is not a number.
     * NULL, as the next two, where there is no such unit. A thread multiplies between enter_unit and leave_unit and calls
     * nothing else in between that may use the unit. multiply_rounded goes there as well. */
    void (*multiply_unit)(const fnn_product_f32 *product, float *scratch);
    void (*enter_unit)(void);
    void (*leave_unit)(void);

    size_t packed_scratch; /* of these products; not less than that of multiply_packed */
} fnn_bf16_kernels;

typedef struct {
    const fnn_kernels_f32 *f32;
    const fnn_kernels_f64 *f64;
    const fnn_bf16_kernels *bf16;
} fnn_kernels;

/* Instruction sets in rising order; a name for each, NULL past the last one that was built. */
const char *fnn_isa_name(int isa);
int fnn_isa_available(int isa);              /* built, and this processor and its system have it */
const fnn_kernels *fnn_isa_kernels(int isa); /* its table; NULL where it was not built */
/* Before the first product in it: asks the system for the matrix unit where the set has one. 1 if it may be used. A process
 * that never needs it does not ask, and keeps the small signal frames it had. */
int fnn_isa_allows_unit(int isa);

const char *fnn_compiler(void); /* the compiler that built this, with its version */
int fnn_openmp(void);           /* 1 if built with OpenMP */

/* Once, at import: notes how many threads OpenMP would use, and sees to it that a forked child can use them, in whatever way
 * it was forked: *threads, the number that the process has chosen, is 1 in a child. Returns the processors that OpenMP found,
 * before it bound any thread. */
int fnn_prepare_threads(int *threads);

/* How many forks lie between the process that loaded this and the calling one: another number says that the threads that were
 * there, and so the owners of locks, are gone. */
unsigned fnn_forks(void);

/* The thread that made the last of these forks, and that alone lived on in this process, as Python numbers threads; 0 before. */
unsigned long fnn_forking_thread(void);

/* So many threads, or fewer if OpenMP's limit has been lowered since, as threadpoolctl does. */
int fnn_allowed_threads(int threads);

/* ---- a network and its memory ---- */

/* One step of the network. Offsets count elements in the parameter buffer; -1 where the op has no such parameter.
 *
 * Ops are a graph in an order in which each comes after those it reads. Most read the output of the op before. Several ops
 * may read the same columns (heads on a trunk, a block and the addition at its end): their gradients are summed in a fixed
 * order. Or they read different columns, which then cover the whole row (branches). A join costs nothing: the ops that it
 * joins write straight into its rows, and take their gradients from there. */
typedef struct {
    int32_t code, activation; /* fnn_op_code; fnn_activation, applied to the op's result */
    size_t inputs, outputs;
    ptrdiff_t kernel;         /* (inputs, outputs), row-major */
    ptrdiff_t bias;           /* (outputs) */
    double numbers[4];        /* constants of the activation, or of another rule that the code stands for */
    ptrdiff_t mean, variance; /* (outputs): of a batch normalization (moving) and of FNN_OP_COLUMNS */
    ptrdiff_t input;          /* the op whose output it reads, -1: x */
    size_t first;             /* the first column that it reads */
    ptrdiff_t source;         /* of FNN_OP_ADD: the op whose input is added: the first of a block, or itself */
    ptrdiff_t join;           /* the FNN_OP_JOIN in whose rows its output lies, -1: none */
    size_t column;            /* from this column on */
    int64_t seed;             /* of noise; -1: one made from the run's */
    int32_t frozen;           /* not trained; a batch normalization then uses its moving statistics */
    int32_t fused;            /* a head's loss computes the activation: runs with FNN_LOSS leave it out */
    const double *vector;     /* vector_size constants, where four are not enough; or NULL */
    size_t vector_size;
    int32_t sparse; /* a dense op, the only one that reads x, and x is sparse */
    double l1, l2;  /* the penalty (l1 sum |y| + l2 sum y^2) / rows of its output is part of a batch's loss */
    /* Set by fnn_link: */
    int32_t shared;         /* another op than the next reads the output */
    int32_t gathers;        /* it is the first of several readers of its input: their gradients are added to its own */
    ptrdiff_t first_reader; /* the first op that reads the same columns of the same output: often itself */
} fnn_op;

/* A stripe of a kernel's rows, the unit of work of the weight gradient and the update. */
typedef struct {
    size_t op, first, rows;
} fnn_stripe;

/* A model. Buffers are of the element type, FNN_ALIGNMENT-aligned, FNN_PADDING elements longer than `parameter_size`. */
typedef struct {
    int is_double, bfloat16; /* bfloat16: large products round their operands to it */
    int matrix_unit;         /* the kernels have such a unit and the system allows its use: other products go there */
    const fnn_kernels *kernels;
    size_t inputs; /* columns of x */
    size_t op_count;
    const fnn_op *ops;
    size_t parameter_size;
    void *parameters;
    void *gradients; /* NULL: each stripe's gradient is used at once and never stored */
    void *slots[FNN_SLOTS];
    void *average;         /* moving average of the parameters, or NULL */
    void *accumulated;     /* the sum of gradients of the steps since the last update, or NULL */
    int optimizer;         /* fnn_optimizer: a workspace has room for what it needs */
    const fnn_rule *rules; /* 2 of each op: of its kernel, of its bias */
    size_t large_side;     /* inputs and outputs from which training takes a kernel as large: fnn_large_side */
    size_t stripe_count;
    const fnn_stripe *stripes; /* for this large_side */
    size_t head_count, measure_count;
    const fnn_head *heads;
    const fnn_measure *measures;
    size_t label_columns;
    size_t sum_size; /* of the sums of a run: the loss, where there are several heads the loss of each, the measures */
    size_t batch_entries, row_entries; /* of a sparse x: the most of a batch, and about those of a row */
} fnn_model;

/* Rows of data. Strides count elements. `order`: `rows` row numbers below `available`, or NULL for 0, 1, 2 ... Targets, labels
 * and weights as the heads need them; weights: one of a row for all heads (weight_columns 1), or one for each; NULL: 1.
 * A sparse x (x is NULL): row i has values[starts[i]] ... values[starts[i + 1] - 1] at the columns beside them, which rise
 * and lie within the inputs of the first op: fnn_check_sparse. `starts` must not change during a run; `order`, labels and
 * columns should not. */
typedef struct {
    const void *x;
    ptrdiff_t x_stride;
    const void *targets;
    ptrdiff_t target_stride;
    const int32_t *labels;
    ptrdiff_t label_stride;
    const void *weights;
    ptrdiff_t weight_stride;
    size_t weight_columns;
    const int64_t *order;
    size_t rows, available;
    const int64_t *starts;
    const int32_t *columns;
    const void *values;
} fnn_data;

/* Called by the calling thread between steps, and between tiles where these are long, at most every `interval` seconds; a
 * non-zero answer stops the run.
 * sums: those of the run so far. */
typedef struct {
    int (*function)(void *context, size_t steps_done, const double *sums);
    void *context;
    double interval;
} fnn_progress;

/* What the caller's own losses and metrics see of a batch, and where they put what they make of it. */
typedef struct {
    size_t start, rows; /* of the data, in its order */
    const void *output; /* (rows, outputs), `stride` elements a row */
    void *gradient;     /* the same: of the loss by the output; their columns are still to be set. NULL: not wanted */
    size_t stride;
    double *row_losses; /* (heads, row_stride): with the rows' weights; 0 where they are still to be set */
    size_t row_stride;
    const double *divisors; /* of each head: of the sum of its row losses; the gradient is that of the quotient */
    double *sums;           /* of the run; the states of their measures are still to grow */
} fnn_batch;

/* Called by the calling thread once a batch of a run with FNN_LOSS, when the engine's own losses are computed and before the
 * backward pass; no worker runs meanwhile. After a non-zero answer the run stops, and the last finished step stands. */
typedef struct {
    int (*function)(void *context, const fnn_batch *batch);
    void *context;
} fnn_functions;

/* How fast steps were with this many threads and with fewer: what fnn_train learns of the machine's load, and goes on from
 * in the next run. All zero at first. */
typedef struct {
    size_t batch; /* what the figures belong to: another batch or number of threads starts anew */
    int threads;
    int level;       /* in use: threads >> level */
    int direction;   /* of the next trial: 1 fewer threads, -1 more */
    int warm;        /* the first step is over */
    int trial;       /* 1: under way; 2: it looks better and goes on */
    double step;     /* seconds of a step at this level */
    double patience; /* seconds between two trials */
    double spent;    /* seconds and steps of the turn under way */
    double steps;
    int changes; /* looks in a row at which steps took another time than before */
} fnn_pace;

/* What a pass over the data does to each batch. FNN_CHECK: where a NaN or an infinity is among dense x, the run ends soon after
 * that batch; nothing of its steps is undone. */
enum { FNN_LOSS = 1, FNN_BACKWARD = 2, FNN_UPDATE = 4, FNN_INPUT_GRADIENT = 8, FNN_TRAINING = 16, FNN_CHECK = 32 };

typedef struct {
    int passes;   /* FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_INPUT_GRADIENT | FNN_TRAINING: with noise, and with the
                      statistics of the batch */
    int threads;  /* at most; the bits do not depend on it */
    size_t batch; /* rows of a step; the last one may have fewer */
    fnn_hyperparameters optimizer;
    int64_t iterations;             /* in and out: optimizer steps done */
    double momentum_product;        /* in and out: of Nadam, u_1 ... u_t; 1 at first */
    uint64_t seed;                  /* of the noise of ops without one of their own */
    const fnn_progress *progress;   /* may be NULL */
    const fnn_functions *functions; /* may be NULL; fnn_train alone knows them */
    fnn_pace *pace;                 /* NULL: always as many threads as the work is worth */
    double *sums;                /* (model->sum_size), out with FNN_LOSS: losses are sums over batches of rows x loss */
    double *tile_sums;           /* fnn_tile_sums(model): room for fnn_infer with FNN_LOSS */
    int64_t first_nonfinite;     /* out: the first step with a loss that is not finite, or -1 */
    fnn_outside outside;         /* out with FNN_OUTSIDE */
    const void *output_gradient; /* (rows, outputs), contiguous: starts FNN_BACKWARD where FNN_LOSS is absent */
    void *output;         /* (rows, outputs), contiguous: where a run without FNN_LOSS puts its result, or NULL */
    void *input_gradient; /* (rows, inputs), contiguous: for FNN_INPUT_GRADIENT */
} fnn_run;

/* Some steps of fnn_train with one number of threads. */
typedef struct {
    int threads;
    double seconds; /* it may take; at least one step is done */
} fnn_turn;

/* The next turn, and what became of it: they change run->pace alone. */
fnn_turn fnn_next_turn(fnn_run *run);
void fnn_end_turn(fnn_run *run, double steps, double seconds);

/* Completes ops whose `input`, `source` and `join` are set. */
void fnn_link(fnn_op *ops, size_t count);

/* Whether some products of the model would go to the matrix unit, if the kernels have one: for model->matrix_unit. */
int fnn_wants_unit(const fnn_model *model);

/* Sizes in bytes or elements that the caller allocates; SIZE_MAX where a product overflows. */
size_t fnn_workspace_bytes(const fnn_model *model, size_t batch, int threads); /* for fnn_train; 64-byte aligned */
size_t fnn_scratch_bytes(const fnn_model *model, size_t rows, int threads);    /* for fnn_infer of up to so many rows */
size_t fnn_tile_sums(const fnn_model *model);                                  /* doubles of run->tile_sums */
void fnn_add_sums(const fnn_model *model, double *sums, const double *more); /* those of more rows to those of a run */
/* Inputs and outputs from which, with batches of so many rows, training takes a kernel of fewer than FNN_LARGE_SIZE
 * elements as a large one; SIZE_MAX where there are none. The bits of a step depend on it: it knows no threads. */
size_t fnn_large_side(const fnn_model *model, size_t batch);
size_t fnn_stripes(const fnn_model *model, fnn_stripe *stripes); /* writes them unless NULL; their number */
int fnn_fuses(const fnn_op *op, int loss); /* the op's activation and the loss are computed as one */

/* Numbers of the state of a measure; SIZE_MAX where they are too many. */
size_t fnn_state_size(const fnn_measure *measure);

/* Trains (or differentiates) over the data, batch by batch: forward, loss, backward, update as `passes` says.
 * With FNN_BACKWARD and no FNN_UPDATE the gradients of the last batch stay in model->gradients.
 * workspace: fnn_workspace_bytes for this batch and number of threads; it holds the last batch's activations, from which a
 * later call without data (data == NULL) goes on to FNN_BACKWARD. */
fnn_status fnn_train(const fnn_model *model, const fnn_data *data, fnn_run *run, void *workspace);

/* order[0 ... rows - 1]: a permutation of 0 ... rows - 1, a function of seed and epoch. */
void fnn_epoch_order(uint64_t seed, uint64_t epoch, size_t rows, int64_t *order);

/* One member of many that are trained at once: what fnn_train is given, with run.threads = 1, and what it returned. */
typedef struct {
    const fnn_model *model;
    fnn_data data;
    int shuffles; /* the order of the rows is fnn_epoch_order's, not that of `data` */
    uint64_t seed, epoch;
    fnn_run run;
    void *workspace;
    fnn_status status;
} fnn_member;

/* Trains every member, each on one thread. `progress` (not those of the runs) is asked by the calling thread; when it asks to
 * stop, every member ends with its last finished step. orders: room for the rows of a member that shuffles, for each
 * thread. */
fnn_status fnn_train_many(fnn_member *members, size_t count, int threads, int64_t *orders, size_t most_rows,
                          const fnn_progress *progress);

/* One optimizer step from model->gradients. workspace: as for fnn_train with this run->batch, whose activations stay. */
void fnn_apply_gradients(const fnn_model *model, fnn_run *run, void *workspace);

/* The learning rate at this step, counted from 0. */
double fnn_learning_rate(const fnn_schedule *schedule, int64_t step);

/* What step run->iterations needs. */
fnn_step fnn_begin_step(const fnn_run *run);

/* The same for those parameters of Muon that Adam trains. */
fnn_step fnn_begin_second_step(const fnn_run *run);

/* Whether the optimizer needs all gradients before it can begin: then a run with FNN_UPDATE needs model->gradients. */
int fnn_stores_gradients(const fnn_hyperparameters *optimizer);

/* Whether steps of so many rows take so long that a run asked to stop must not wait for the end of one: a run with FNN_UPDATE
 * needs model->gradients then as well, as no weight changes before the last gradient is there. The bits do not depend on it. */
int fnn_takes_long(const fnn_model *model, size_t batch);

/* The penalties of all parameters together, to *penalty. scratch: fnn_penalty_bytes, 64-byte aligned; often none. progress: may
 * be NULL. */
size_t fnn_penalty_bytes(const fnn_model *model);
fnn_status fnn_penalty(const fnn_model *model, void *scratch, const fnn_progress *progress, double *penalty);

/* Forward over all rows, as one batch: writes run->output, or with FNN_LOSS the sums. Knows FNN_CHECK too. */
fnn_status fnn_infer(const fnn_model *model, const fnn_data *data, fnn_run *run, void *scratch);

/* Fills a predictor that runs `model` as it is from now on, for whoever holds it: the model and its parameters must neither
 * change nor go away. `threads`: the most it may use at a call, read anew at each. */
void fnn_freeze(const fnn_model *model, const int *threads, fnn_predictor *predictor);

typedef enum {
    FNN_SPARSE_FIT = 0,
    FNN_SPARSE_UNSORTED = 1,
    FNN_SPARSE_STARTS = 2,
    FNN_SPARSE_COLUMN = 3
} fnn_sparse_form;

/* What the arrays of a sparse matrix are: fit for fnn_data; with columns of a row that do not rise; with starts that fall
 * or lie outside the entries; or with a column that is none of the features. starts: rows + 1, columns: entries. */
fnn_sparse_form fnn_check_sparse(const int64_t *starts, const int32_t *columns, size_t rows, size_t entries,
                                 size_t features);

/* FNN_OK if rows x columns elements (row stride in elements) are all finite, else FNN_NOT_FINITE. progress: may be NULL. */
fnn_status fnn_all_finite(const fnn_kernels *kernels, int is_double, const void *x, ptrdiff_t stride, size_t rows,
                          size_t columns, int threads, const fnn_progress *progress);

#endif
