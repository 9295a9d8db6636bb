/* The engine's interface: all that fastnn/_engine.pyx calls. The constants and structs that kernels take too are in
 * kernels/table.h.
 *
 * The engine (fastnn/_engine.pyx) owns the buffers and fills the structs below; the functions run on them. Nothing here
 * prints or knows Python, and only a predictor allocates (see fastnn_predictor.h). The functions trust the structs: whoever
 * fills them has checked that widths are at least 1 and that what lies in a buffer fits it. Sizes are size_t in elements
 * unless a name says bytes; a size to allocate whose products overflow is SIZE_MAX, which no allocation grants. Runs that may
 * be asked to stop return an fnn_status.
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

/* The index that ended a run with FNN_OUTSIDE. The arrays that a caller has checked may be changed during the run, by another
 * thread or by the caller's progress function; so each index is compared with its bound where it is read. */
typedef struct {
    enum { FNN_LABEL = 0, FNN_ROW = 1, FNN_COLUMN = 2 } what; /* a label, a number in `order`, a column of a sparse x */
    int64_t value;
    size_t bound; /* a good value is one of 0 ... bound - 1 */
} fnn_outside;

typedef enum {
    FNN_OP_DENSE,
    FNN_OP_ACTIVATION,
    FNN_OP_DROPOUT,             /* mode, numbers or schedule: see fnn_noise_kind; the input itself outside training */
    FNN_OP_GAUSSIAN,            /* the same */
    FNN_OP_LAYER_NORMALIZATION, /* numbers: epsilon, centered; kernel is gamma, bias is beta, or -1 */
    FNN_OP_UNIT_NORMALIZATION,  /* rows divided by their length, the root of the sum of their squares */
    FNN_OP_BATCH_NORMALIZATION, /* numbers: epsilon, momentum; kernel is gamma, bias is beta, or -1; mean, variance */
    FNN_OP_ADD,                 /* its input, and what the op `source`, the first of a block, reads */
    FNN_OP_COLUMNS,             /* mode, numbers: epsilon, scale, offset; mean and variance */
    FNN_OP_PRELU,               /* kernel is alpha */
    FNN_OP_EMBEDDING,           /* numbers: entries; kernel is (entries, outputs / inputs) */
    FNN_OP_JOIN,                /* the outputs of the ops whose `join` it is, side by side; reads nothing itself */
    FNN_OP_DISCRETIZE,          /* vector: the boundaries of bins, which rise */
    FNN_OP_ENCODE,              /* mode, numbers: tokens, skips -1; inputs * tokens outputs if one-hot, else tokens */
    FNN_OP_GLU,                 /* y = a f(b), x = (a, b); f is the activation, which is not applied to y */
    FNN_OP_BLEND,  /* (1 - alpha) x + alpha f(x); kernel is alpha; f is the activation, which is not applied to y */
    FNN_OP_EXPAND, /* factor x w + b, several numbers of each column; vector: see FNN_SHAPED, then factor, each */
    FNN_OP_WAVES,  /* cos and sin of each numbers[0] columns */
    FNN_OP_GROUPS, /* a product for each group of columns; vector: see FNN_SHAPED, then groups */
    FNN_OP_MEAN,   /* the mean of members, which are so many times the outputs; see fnn_traits.is_mean */
    FNN_OP_IMPUTE, /* vector: what NaN becomes, by column; with 2 * inputs outputs, the second half says where NaN was */
    FNN_OP_TAKE,   /* vector: runs of columns of the input, side by side: the first column and the number of each run */
    FNN_OP_CENTER,    /* vector: what is subtracted from each column, then what each is multiplied with */
    FNN_OP_QUANTILES, /* numbers: knots of a column; vector: the knots of each column, which rise */
    FNN_OP_PIECEWISE, /* numbers: columns of a column, or 0, and whether x is one more; vector: of each column the number
                       * of edges, and the edges */
    FNN_OP_UNSCALE,   /* vector: mean, scale, low, high of each output; see run/targets.inc */
} fnn_op_code;

/* What an op of noise does. numbers: its rate (of Gaussian noise the standard deviation), and of alpha dropout the value at
 * which selu saturates. */
typedef enum { FNN_DROPOUT, FNN_ALPHA_DROPOUT, FNN_GAUSSIAN_DROPOUT, FNN_GAUSSIAN_NOISE } fnn_noise_kind;

/* How a number depends on the step: a learning rate, a weight decay, a rate of noise, a label smoothing. step.c has the
 * formulas. */
typedef enum {
    FNN_CONSTANT,
    FNN_EXPONENTIAL_DECAY,
    FNN_INVERSE_TIME_DECAY,
    FNN_PIECEWISE_CONSTANT_DECAY,
    FNN_POLYNOMIAL_DECAY,
    FNN_COSINE_DECAY,
    FNN_COSINE_DECAY_RESTARTS,
    FNN_ONE_CYCLE,
    FNN_FLAT_COSINE,
    FNN_COSINE_LOG,
} fnn_schedule_code;

typedef struct {
    int code; /* fnn_schedule_code */
    unsigned
        shares; /* bit k: number k is a share of the course's steps. With any bit boundaries are shares too, and steps
                      * count from the first of the course on. */
    double numbers[6];
    const double *boundaries, *values; /* of the piecewise constant one: `pieces` and one more */
    size_t pieces;
} fnn_schedule;

/* The training that shares are of: the number of its first step, and how many steps it has; 0: none has begun. */
typedef struct {
    int64_t first, steps;
} fnn_course;

/* An optimizer with its numbers; a number is 0 where the optimizer does without what it stands for. */
typedef struct {
    int code;                    /* fnn_optimizer */
    double numbers[FNN_NUMBERS]; /* the constants of the Python class, in the order in which step.c reads them */
    fnn_schedule schedule;
    fnn_schedule weight_decay;                   /* p -= p weight_decay rate, before the rule */
    double clipnorm, global_clipnorm, clipvalue; /* at most one of them: see update.inc */
    int64_t accumulation_steps;                  /* the mean gradient of so many steps is applied at the last one */
    double ema_momentum;                         /* of fnn_model.average */
    int64_t ema_overwrite_frequency;             /* after so many steps the parameters become their average */
} fnn_hyperparameters;

/* How one parameter of an op is trained. */
typedef struct {
    double multiplier;      /* of the learning rate */
    double decay;           /* of the optimizer's weight decay; 0: it does not shrink the parameter */
    double l1, l2;          /* the penalty l1 sum |p| + l2 sum p^2 counts in the loss */
    double cosines;         /* so does the penalty cosines sum |cos(u, v)| over all rows u, v of a matrix, u != v */
    int32_t by_columns;     /* u and v are columns of the matrix, not rows */
    int32_t second;         /* the parameter has the optimizer's second rule: Adam, where the optimizer is Muon */
    int32_t constraint;     /* fnn_constraint */
    double low, high, rate; /* of the constraint of a norm: see constraints.inc */
} fnn_parameter_settings;

enum { FNN_KERNEL = 0, FNN_BIAS = 1 }; /* fnn_model.settings holds one of each for every op */

/* ---- a network and its memory ---- */

/* One step of the network. Offsets count elements in the parameter buffer; -1 where the op has no such parameter.
 *
 * Ops are a graph, in an order in which each op comes after the ops whose outputs it reads. Most ops read the output of the
 * op before. Several ops may read the same columns (heads on a trunk, a block and the addition at its end); their gradients
 * by these columns are summed in a fixed order. Or several ops read different columns, which together are the whole row
 * (branches). A join costs nothing: the ops that it joins write straight into its rows, and read their gradients there. */
typedef struct {
    int32_t code, activation; /* fnn_op_code; fnn_activation, applied to the op's result */
    int32_t mode; /* fnn_column_factor of FNN_OP_COLUMNS, fnn_encoding of FNN_OP_ENCODE, fnn_noise_kind; else 0 */
    size_t inputs, outputs;
    ptrdiff_t kernel;             /* (inputs, outputs), row-major */
    ptrdiff_t bias;               /* (outputs) */
    double numbers[4];            /* constants of the activation, or of what else the op does */
    ptrdiff_t mean, variance;     /* (outputs): of a batch normalization (moving) and of FNN_OP_COLUMNS */
    ptrdiff_t input;              /* the op whose output it reads, -1: x */
    size_t first;                 /* the first column that it reads */
    ptrdiff_t source;             /* of FNN_OP_ADD: the op whose input is added: the first of a block, or itself */
    ptrdiff_t join;               /* the FNN_OP_JOIN in whose rows its output lies, -1: none */
    size_t column;                /* its output lies there from this column on */
    int64_t seed;                 /* of noise; -1: it has one that is made from run->seed */
    const fnn_schedule *schedule; /* of the rate of noise; NULL: the rate is numbers[0] */
    int32_t frozen;               /* it is not trained; a batch normalization then uses its moving statistics */
    int32_t fused; /* a head's loss computes the activation, or is that of the input: runs with FNN_LOSS leave it out */
    const double *vector; /* vector_size constants, where four are not enough; or NULL */
    size_t vector_size;
    const fnn_small_weights
        *small;     /* of a frozen network: the kernel, rounded, which then is not among the parameters */
    int32_t sparse; /* x is sparse, and this is a dense op, the only op that reads x */
    double l1, l2;  /* the penalty (l1 sum |y| + l2 sum y^2) / rows of its output y counts in a batch's loss */
    /* Set by fnn_link: */
    int32_t shared;         /* an op other than the next one reads the output */
    int32_t gathers;        /* it is the first of several readers of its input, and adds their gradients to its own */
    ptrdiff_t first_reader; /* the first op that reads the same columns of the same output: often itself */
} fnn_op;

/* A stripe: the rows first ... first + rows - 1 of the kernel of an op, the unit of work of the weight gradient and the
 * update. */
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

/* What the engine does about a head beside its loss, which kernels do not know. */
typedef struct {
    fnn_schedule smoothing; /* of its label smoothing; FNN_CONSTANT: the head's own number stays */
    ptrdiff_t scaling;      /* the FNN_OP_UNSCALE that is left out of runs with FNN_LOSS; -1: none */
} fnn_head_terms;

/* Some of the shards of a batch: first ... end - 1. */
typedef struct {
    size_t first, end;
} fnn_node;

/* What the processes that train one model bring together in a step. */
typedef enum {
    FNN_COUNTS,     /* of each head, what its losses are divided by: doubles, a row for each node */
    FNN_MOMENTS,    /* sums over the columns of a batch normalization: doubles, a row for each node */
    FNN_GRADIENTS,  /* model->gradients: a row for each node */
    FNN_PARAMETERS, /* model->parameters, of which each process has changed its own share */
} fnn_exchanged;

/* The part of one process in a training that several share: each has some of the rows of every batch.
 *
 * A batch of n rows of all processes is cut into `shards`: shard s begins at row floor(s n / shards). Sums over the batch are
 * those of the shards, added up in one tree, whoever holds them: node [a, b) = node [a, m) + node [m, b), m = (a + b) / 2. A
 * process adds up the largest nodes that lie within its shards, and `function` makes of the rows of all processes' nodes the
 * sum over the batch, which is then the first row. So the bits depend on the number of shards, not on that of processes. */
typedef struct {
    size_t shards, first, count; /* this process has the shards first ... first + count - 1 */
    size_t batch;                /* rows of a batch of all processes; the last one may have fewer */
    int sharded;                 /* fnn_data has the rows of these shards alone, not those of all processes */
    int whole_moments; /* a batch normalization uses the moments of the whole batch, not those of each shard */
    int shares;        /* each process updates its own share of the parameters: elements low ... high - 1 */
    size_t low, high;  /* without shares: all of them */
    size_t part_size;  /* elements from one node's gradients to those of the next in model->gradients */
    size_t node_count;
    const fnn_node *nodes;
    /* Called by the calling thread while no other works. what: fnn_exchanged; values: rows of `size` numbers. A result other than 0 stops the
     * run. */
    int (*function)(void *context, int what, void *values, size_t size);
    void *context;
} fnn_exchange;

/* The nodes that a process holds whose shards these are, in order; returns their number. nodes: room for FNN_NODES. */
enum { FNN_NODES = 64, FNN_MOST_SHARDS = 1 << 16 };
size_t fnn_list_nodes(size_t shards, size_t first, size_t count, fnn_node *nodes);

/* to = a + b for n elements, on several threads; `to` may be one of them. Denormal numbers count as zero, as in all sums. */
void fnn_add_arrays(const fnn_kernels *kernels, int is_double, const void *a, const void *b, void *to, size_t n,
                    int threads);

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
    const fnn_head_terms *terms; /* of each head */
    const fnn_measure *measures;
    int mixes;                    /* a workspace has room for mixtures of rows: else run->mixup is 0 */
    const fnn_exchange *exchange; /* the run under way is one of several processes; NULL: it is alone */
    size_t label_columns;
    size_t sum_size; /* numbers of a run's sums: the loss, the loss of each of several heads, the states of measures */
    size_t batch_entries, row_entries; /* of a sparse x: entries of a batch at most, and of a row about */
} fnn_model;

/* Rows of data. Strides count elements. `order`: `rows` row numbers below `available`, or NULL for 0, 1, 2 ... Targets,
 * labels and weights as the heads need them; weights: one of a row for all heads (weight_columns 1), or one for each; NULL:
 * 1. A sparse x (x is NULL): row i has values[starts[i]] ... values[starts[i + 1] - 1] at the columns beside them, which rise
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

/* What losses and metrics of the caller get of a batch, and where they put their results. */
typedef struct {
    size_t start, rows; /* the batch is these rows of the data, in its order */
    const void *output; /* (rows, outputs), `stride` elements a row */
    void *gradient;     /* (rows, outputs), `stride` elements a row, of the loss by the output: the caller's losses set
                         * the columns of their heads. NULL: no gradient is wanted */
    size_t stride;
    double
        *row_losses; /* (heads, row_stride), times the weights of rows: the caller's losses set those of their heads */
    size_t row_stride;
    const double
        *divisors; /* (heads): a head's loss is the sum of its row losses divided by this; so is its gradient */
    double *sums;  /* of the run: the caller's metrics add to the states of their measures */
} fnn_batch;

/* The function is called by the calling thread once for each batch of a run with FNN_LOSS, after the engine's own losses and
 * before the backward pass; no other thread works meanwhile. A non-zero result stops the run, and the last finished step
 * stands. */
typedef struct {
    int (*function)(void *context, const fnn_batch *batch);
    void *context;
} fnn_functions;

/* What a run does with each batch. FNN_CHECK: if a dense x has a NaN or an infinity, the run ends soon after the batch that
 * has it, and the steps up to there stand. FNN_NO_GRADIENTS: the backward pass leaves the gradients of the parameters as they
 * are. */
enum {
    FNN_LOSS = 1,
    FNN_BACKWARD = 2,
    FNN_UPDATE = 4,
    FNN_INPUT_GRADIENT = 8,
    FNN_TRAINING = 16,
    FNN_CHECK = 32,
    FNN_NO_GRADIENTS = 64
};

typedef struct {
    int passes;   /* FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_INPUT_GRADIENT | FNN_TRAINING: with noise, and with the
                      statistics of the batch */
    int threads;  /* how many the run may have; the bits do not depend on it */
    size_t batch; /* rows of a step; the last one may have fewer */
    fnn_hyperparameters optimizer;
    int64_t iterations;             /* in and out: optimizer steps done */
    fnn_course course;              /* the training that the run is a part of */
    double momentum_product;        /* in and out: of Nadam, u_1 ... u_t; 1 at first */
    uint64_t seed;                  /* of the noise of ops without a seed of their own, and of mixtures of rows */
    double mixup;                   /* alpha of the mixtures of rows that training sees (mix.inc), or 0 */
    const fnn_progress *progress;   /* may be NULL */
    const fnn_functions *functions; /* may be NULL; fnn_train alone calls them */
    fnn_pace *pace;                 /* NULL: the run always has as many threads as its work is worth */
    double *sums;            /* (model->sum_size), out with FNN_LOSS: losses are sums over batches of rows x loss. With
                                  * an exchange (count, model->sum_size): of each of the shards that the process has */
    double *tile_sums;       /* fnn_tile_sums(model): room for fnn_infer with FNN_LOSS */
    int64_t first_nonfinite; /* out: the first step with a loss that is not finite, or -1 */
    fnn_outside outside;     /* out with FNN_OUTSIDE */
    const void *output_gradient; /* (rows, outputs), contiguous: starts FNN_BACKWARD where FNN_LOSS is absent */
    void *output;         /* (rows, outputs), contiguous: where a run without FNN_LOSS puts its result, or NULL */
    void *input_gradient; /* (rows, inputs), contiguous: for FNN_INPUT_GRADIENT */
} fnn_run;

/* Completes ops whose `input`, `source` and `join` are set. */
void fnn_link(fnn_op *ops, size_t count);

/* Some columns of a row: those that an op reads of the output of op `owner`, or of x, which is -1; or those in which its output
 * lies in a join. */
typedef struct {
    ptrdiff_t owner;
    size_t first, count;
} fnn_piece;

/* What is wrong with the ops of a model that comes from a stranger, as the end of a sentence, and which op has it; NULL: nothing
 * is, and they may be linked and run. Codes, activations and modes are those of enums, inputs and op_count at least 1, and each
 * vector is there; model->kernels may be those of any instruction set. pieces: room for op_count. */
const char *fnn_misfit_of(const fnn_model *model, fnn_piece *pieces, size_t *op);

/* The enum that has the modes of an op with this code, as fnn_names.h calls it; NULL where the op has none. */
const char *fnn_modes_of(int code);

/* Whether the kernels have a matrix unit and some products of the model would go there: then the caller sets
 * model->matrix_unit, if the system allows the unit. */
int fnn_wants_unit(const fnn_model *model);

/* Whether products of the model have no other way there than the matrix unit: those of large kernels, rounded. */
int fnn_needs_unit(const fnn_model *model);

/* Sizes in bytes or elements that the caller allocates; SIZE_MAX where a product overflows. */
size_t fnn_workspace_bytes(const fnn_model *model, size_t batch, int threads); /* for fnn_train; 64-byte aligned */
size_t fnn_scratch_bytes(const fnn_model *model, size_t rows, int threads);    /* for fnn_infer of up to so many rows */
size_t fnn_tile_sums(const fnn_model *model);                                  /* doubles of run->tile_sums */
void fnn_add_sums(const fnn_model *model, double *sums, const double *more);   /* adds the sums of more rows to sums */
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
size_t fnn_stripes(const fnn_model *model, fnn_stripe *stripes); /* writes them unless NULL; returns their number */
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

/* One of many models that run at once: what fnn_train, or with `infers` fnn_infer, is given, and what it returned. */
typedef struct {
    const fnn_model *model;
    fnn_data data; /* data.order: the rows that the member has, or NULL for all */
    fnn_run run;
    void *workspace; /* with `infers`: the scratch memory */
    int infers;
    /* Training goes over the data `epochs` times. run.sums: (epochs, sum_size) */
    size_t epochs;
    size_t most; /* rows of an epoch: the last ones of the order may be left out */
    int shuffles; /* epoch e takes the member's rows in the order fnn_epoch_order(seed, first_epoch + e), not as they lie */
    uint64_t seed, first_epoch;
    int64_t *first_nonfinite; /* (epochs), out: run.first_nonfinite of each */
    size_t epochs_done;       /* out: how many have come to their end */
    fnn_status status;
} fnn_member;

/* Runs every member on one thread, side by side; a few that all infer, one after the other on run.threads threads. The bits
 * do not depend on it. The calling thread asks `progress`, not that of a member's run, whether to go on; when it says stop,
 * every member ends with its last finished step. Where a member fails, the others end with the epoch that they are in.
 * orders: (threads, most_rows), room for the order of a member that shuffles. */
fnn_status fnn_run_many(fnn_member *members, size_t count, int threads, int64_t *orders, size_t most_rows,
                        const fnn_progress *progress);

/* One optimizer step from model->gradients. workspace: as for fnn_train with this run->batch, whose activations stay. */
void fnn_apply_gradients(const fnn_model *model, fnn_run *run, void *workspace);

/* y = network(x) as in inference, product = d/dx (u^T dy/dx v), and model->gradients += the gradients of the sum over rows of
 * u^T dy/dx v by the parameters; without `adds`, these alone. Products that are trained must be the only ops with parameters
 * that are. x: rows x_stride elements apart; v, product: rows x inputs, u, y: rows x outputs, contiguous. Returns 0, or 1 where
 * memory was refused, and nothing has changed then. */
int fnn_gradients_along(const fnn_model *model, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                        const void *u, void *y, void *product, int adds);

/* parameters = (1 - tau) parameters + tau other, for the whole buffer. other: parameters of the same layout, elsewhere. */
void fnn_blend(const fnn_model *model, const void *other, double tau);

/* A schedule's number at this step, counted from 0. */
double fnn_scheduled(const fnn_schedule *schedule, fnn_course course, int64_t step);

/* Writes the constants of the noise of an op at the run's step, as noise.inc calls them. */
void fnn_noise_numbers(const fnn_op *op, const fnn_run *run, double numbers[4]);

/* The numbers of the optimizer's step run->iterations. */
fnn_step fnn_begin_step(const fnn_run *run);

/* The numbers of that step for the parameters with the optimizer's second rule: those of Muon that Adam trains. */
fnn_step fnn_begin_second_step(const fnn_run *run);

/* Whether the optimizer needs all gradients before its update can begin: then a run with FNN_UPDATE needs model->gradients. */
int fnn_stores_gradients(const fnn_hyperparameters *optimizer);

/* Whether some parameter has a constraint of a norm, which needs whole rows or columns. */
int fnn_has_norms(const fnn_model *model);

/* Whether steps of so many rows take so long that a run which is asked to stop must not wait for the end of a step, and the
 * gradients take few enough bytes to be kept. Then a run with FNN_UPDATE needs model->gradients as well: no weight changes
 * before the last gradient is there. The bits do not depend on it. */
int fnn_takes_long(const fnn_model *model, size_t batch);

/* *penalty = the sum of the penalties of all parameters. scratch: fnn_penalty_bytes, 64-byte aligned; often 0 bytes.
 * progress: may be NULL. */
size_t fnn_penalty_bytes(const fnn_model *model);
fnn_status fnn_penalty(const fnn_model *model, void *scratch, const fnn_progress *progress, double *penalty);

/* Goes forward over all rows, as one batch, and writes run->output, or with FNN_LOSS the sums. Checks x with FNN_CHECK. */
fnn_status fnn_infer(const fnn_model *model, const fnn_data *data, fnn_run *run, void *scratch);

enum { FNN_PREDICTOR_VERSION = 2 }; /* of the struct in fastnn_predictor.h */

/* A frozen model: what its callers see of it, and what the engine needs to run it. */
typedef struct fnn_frozen fnn_frozen;
struct fnn_frozen {
    fnn_predictor predictor; /* its `own` points back at this struct */
    /* The functions of the predictor, for callers who may stop the call: progress may be NULL; 2 where it asked to stop. vjp:
     * where u is NULL, it is 1 for the output `output` and 0 for the others. */
    int (*run_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                       const fnn_progress *progress);
    int (*vjp_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, const void *u,
                       size_t output, void *y, void *gradient, const fnn_progress *progress);
    int (*jacobian_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                            void *jacobian, const fnn_progress *progress);
    int (*jvp_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, const void *v, void *y,
                       void *tangent, const fnn_progress *progress);
    /* Where v is NULL, it is each unit vector in turn, and product has the Hessians, (rows, inputs, inputs); u as for vjp. */
    int (*hvp_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                       const void *u, size_t output, void *y, void *product, const fnn_progress *progress);
    int rows_per_tile; /* of a prediction on the stack */
    size_t stride;     /* of its outputs; 0 where the ops are no chain */
    size_t few_rows;   /* the most that are one tile of the calling thread, whatever the number of threads */
    /* The most rows whose derivatives are computed on the stack: in reverse, along directions. */
    size_t derivative_rows[2];
    const void *derivative_layout;
    size_t straight_rows; /* the most rows that go through `straight`, with their gradients: straight.inc */
    const void *straight;
    const void *const *transposed; /* of each op: its kernel transposed, for products with one row; or NULL */
    const int *threads;
    const fnn_model *model;
};

/* Bytes that a frozen model takes beside the model; SIZE_MAX where they are too many. */
size_t fnn_frozen_bytes(const fnn_model *model);

/* Makes a frozen model in `memory`, which has fnn_frozen_bytes and is 64-byte aligned. As long as anybody holds it, it must
 * stay where it is, and the model and its parameters must neither change nor go away. threads: how many threads a call may
 * use; each call reads it anew. */
fnn_frozen *fnn_freeze(const fnn_model *model, const int *threads, void *memory);

typedef enum {
    FNN_SPARSE_FIT = 0,
    FNN_SPARSE_UNSORTED = 1,
    FNN_SPARSE_STARTS = 2,
    FNN_SPARSE_COLUMN = 3
} fnn_sparse_form;

/* Checks the arrays of a sparse matrix. FNN_SPARSE_FIT: they are fit for fnn_data; FNN_SPARSE_UNSORTED: the columns of a row
 * do not rise; FNN_SPARSE_STARTS: starts fall, or lie outside the entries; FNN_SPARSE_COLUMN: a column is none of the
 * features. starts: (rows + 1), columns: (entries). */
fnn_sparse_form fnn_check_sparse(const int64_t *starts, const int32_t *columns, size_t rows, size_t entries,
                                 size_t features);

/* FNN_OK if rows x columns elements (row stride in elements) are all finite, else FNN_NOT_FINITE. progress: may be NULL. */
fnn_status fnn_all_finite(const fnn_kernels *kernels, int is_double, const void *x, ptrdiff_t stride, size_t rows,
                          size_t columns, int threads, const fnn_progress *progress);

#endif
