/* The engine's interface: all that fastnn/_engine.pyx calls; what kernels take besides is in kernels/table.h.
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
#include "host/cpu.h"
#include "host/host.h"
#include "kernels/table.h"

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
    FNN_OP_DENSE,
    FNN_OP_ACTIVATION,
    FNN_OP_DROPOUT,             /* numbers: see noise.inc; the input itself outside training */
    FNN_OP_GAUSSIAN,            /* the same */
    FNN_OP_LAYER_NORMALIZATION, /* numbers: epsilon, centered; kernel is gamma, bias is beta, or -1 */
    FNN_OP_UNIT_NORMALIZATION,  /* rows divided by their length, the root of the sum of their squares */
    FNN_OP_BATCH_NORMALIZATION, /* numbers: epsilon, momentum; the same, and mean and variance */
    FNN_OP_ADD,                 /* adds what the op `source`, the first of a block, reads */
    FNN_OP_COLUMNS,             /* mode, numbers: epsilon, scale, offset; mean and variance */
    FNN_OP_PRELU,               /* kernel is alpha */
    FNN_OP_EMBEDDING,           /* numbers: entries; kernel is (entries, outputs / inputs) */
    FNN_OP_JOIN,                /* the outputs of the ops whose `join` it is, side by side; reads nothing itself */
    FNN_OP_DISCRETIZE,          /* vector: the boundaries of bins, which rise */
    FNN_OP_ENCODE,              /* mode, numbers: tokens, skips -1; inputs * tokens outputs if one-hot, else tokens */
    FNN_OP_GLU,                 /* y = a f(b), x = (a, b); f is the activation, which is not applied to y */
    FNN_OP_IMPUTE, /* vector: what NaN becomes, by column; of 2 * inputs outputs the others say where it was */
} fnn_op_code;

/* How the learning rate depends on the step; step.c has the formulas. */
typedef enum {
    FNN_CONSTANT,
    FNN_EXPONENTIAL_DECAY,
    FNN_INVERSE_TIME_DECAY,
    FNN_PIECEWISE_CONSTANT_DECAY,
    FNN_POLYNOMIAL_DECAY,
    FNN_COSINE_DECAY,
    FNN_COSINE_DECAY_RESTARTS,
    FNN_ONE_CYCLE,
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
} fnn_parameter_settings;

enum { FNN_KERNEL = 0, FNN_BIAS = 1 }; /* fnn_model.settings holds one of each for every op */

/* ---- a network and its memory ---- */

/* One step of the network. Offsets count elements in the parameter buffer; -1 where the op has no such parameter.
 *
 * Ops are a graph in an order in which each comes after those it reads. Most read the output of the op before. Several ops
 * may read the same columns (heads on a trunk, a block and the addition at its end): their gradients are summed in a fixed
 * order. Or they read different columns, which then cover the whole row (branches). A join costs nothing: the ops that it
 * joins write straight into its rows, and take their gradients from there. */
typedef struct {
    int32_t code, activation; /* fnn_op_code; fnn_activation, applied to the op's result */
    int32_t mode;             /* fnn_column_factor of FNN_OP_COLUMNS, fnn_encoding of FNN_OP_ENCODE; else 0 */
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

/* Fortran's SGEMM and DGEMM of a BLAS that has been told to use one thread: c = alpha op(a) op(b) + beta c, column by column. */
typedef struct {
    void (*fnn_gemm_f32)(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *, float *, float *,
                         int *);
    void (*fnn_gemm_f64)(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *, double *,
                         double *, int *);
} fnn_blas;

/* A model. Buffers are of the element type, FNN_ALIGNMENT-aligned, FNN_PADDING elements longer than `parameter_size`. */
typedef struct {
    int is_double, bfloat16; /* bfloat16: large products round their operands to it */
    const fnn_blas *blas;    /* large products of training go there; or NULL */
    int matrix_unit;         /* the kernels have such a unit and the system allows its use: other products go there */
    const fnn_kernels *kernels;
    size_t inputs; /* columns of x */
    size_t op_count;
    const fnn_op *ops;
    size_t parameter_size;
    void *parameters;
    void *gradients; /* NULL: each stripe's gradient is used at once and never stored */
    void *slots[FNN_SLOTS];
    void *average;                          /* moving average of the parameters, or NULL */
    void *accumulated;                      /* the sum of gradients of the steps since the last update, or NULL */
    int optimizer;                          /* fnn_optimizer: a workspace has room for what it needs */
    const fnn_parameter_settings *settings; /* 2 of each op: of its kernel, of its bias */
    size_t large_side; /* inputs and outputs from which training takes a kernel as large: fnn_large_side */
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

/* Whether training could take some product of the model to a BLAS, if it had one. */
int fnn_wants_blas(const fnn_model *model);

/* A dense product by gemm. room: for `size` elements, to gather rows of a in; rows, columns and depths of more than `most`, and
 * what does not fit the room, are split. */
void fnn_multiply_blas_f32(const fnn_blas *blas, const fnn_product_f32 *product, float *room, size_t size, size_t most);
void fnn_multiply_blas_f64(const fnn_blas *blas, const fnn_product_f64 *product, double *room, size_t size,
                           size_t most);
size_t fnn_stripes(const fnn_model *model, fnn_stripe *stripes); /* writes them unless NULL; their number */
/* Whether the op's activation and the loss are computed as one. */
int fnn_fuses(const fnn_model *model, const fnn_op *op, int loss);

/* Numbers of the state of a measure; SIZE_MAX where they are too many. */
size_t fnn_state_size(const fnn_measure *measure);

/* Trains (or differentiates) over the data, batch by batch: forward, loss, backward, update as `passes` says.
 * With FNN_BACKWARD and no FNN_UPDATE the gradients of the last batch stay in model->gradients.
 * workspace: fnn_workspace_bytes for this batch and number of threads; it holds the last batch's activations, from which a
 * later call without data (data == NULL) goes on to FNN_BACKWARD. */
fnn_status fnn_train(const fnn_model *model, const fnn_data *data, fnn_run *run, void *workspace);

/* The name of a phase of each step of the last fnn_train with this workspace; NULL past the last phase. For tests. */
const char *fnn_phase_name(const fnn_model *model, const void *workspace, size_t index);

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
