/* The walk over a network: what does not depend on the element type, then plan.inc for each of them. */

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fastnn.h"
#include "team.h"

enum {
    /* A kernel of at least this many elements is worth packing (packed.inc) for at least FNN_PACKED_ROWS rows; a smaller one
     * stays in the caches and is faster unpacked. */
    FNN_LARGE_SIZE = 1 << 19,
    FNN_PACKED_ROWS = 24,
    FNN_LARGE_INFER_ROWS = 512,  /* for them */
    FNN_INFER_ROWS = 48,         /* rows that one thread carries through the network at a time */
    FNN_ROUND_TILES = 64,        /* the most tiles between two sums of an evaluation */
    FNN_ROUND_NUMBERS = 1 << 20, /* and the most numbers that wait for one */
    FNN_WIDE_SIZE = 1 << 13,     /* elements from which a kernel is shared out among the threads */
    FNN_WIDE_BATCH = 256,        /* largest batch for which that pays: more rows are worth reading a whole kernel for */
    FNN_PART_DEPTH = 192,        /* about the inputs of a part: 192 x 128 bytes stay in the first-level cache */
    FNN_TILE_BYTES = 128,        /* a tile of columns is whole pairs of cache lines, which processors fetch together */
    FNN_STRIPE = 8192,           /* elements of a stripe: a few microseconds of work for a small batch */
    FNN_LARGE_STRIPE = 1 << 20,
    FNN_COLUMN_STRIPE = 512,     /* columns of a stripe of a normalization */
    FNN_REST_STEPS = 32,         /* that a row of a sparse kernel may miss and make up for later (rest.inc) */
    FNN_REST_WIDTH = 16,         /* elements of a row for which that is worth its bookkeeping */
    FNN_REST_BLOCK = 1024,       /* elements that make up for missed steps together: with two slots half a cache */
    FNN_SPARSE_STRIPES = 64,     /* at most, of a kernel for sparse rows: each looks into every row of the batch */
    FNN_CHUNK = 3072,            /* elements of a gradient chunk: stays in the first-level cache until it is used */
    FNN_CHUNK_ROWS = 12,         /* a multiple of every micro-kernel's rows */
    FNN_STACK_BYTES = 1 << 16,   /* of activations that a predictor keeps on the stack */
    FNN_SWEEP = 1 << 14,         /* elements of a tile of a search for what is not finite */
    FNN_CONSTRAINT_COLUMNS = 64, /* of a tile of a constraint by columns */
    FNN_ORTHOGONAL_ROWS = 48,    /* of a tile of Muon's products */
    FNN_UPDATE_PHASES = 72,      /* of an optimizer, at most: three for each of Muon's iterations */
    FNN_UPDATE_BLOCK = 4096,     /* elements of an update of more than one sweep: they stay in the first-level cache */
};

/* What the stripes sum up of a part of a parameter; see update.inc. */
enum { FNN_GRADIENT_SQUARES = 0, FNN_PARAMETER_SQUARES = 1, FNN_CHANGE_SQUARES = 2, FNN_PARTIALS = 3 };

/* Floating-point operations that are worth waking another thread for: about 20 microseconds of them. */
static const double work_per_thread = 1.5e6;

/* ---- sizes: SIZE_MAX stands for "too large" and stays so ---- */

static size_t fnn_multiply(size_t a, size_t b) {
    size_t product;
    return a == SIZE_MAX || b == SIZE_MAX || __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

static size_t fnn_add(size_t a, size_t b) {
    size_t sum;
    return a == SIZE_MAX || b == SIZE_MAX || __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

/* A bump allocator over memory the caller owns; with `at` NULL it only counts. */
typedef struct {
    char *at;
    size_t used;
} fnn_bump;

static void *fnn_take(fnn_bump *bump, size_t count, size_t size) {
    const size_t start = bump->used;
    const size_t bytes = fnn_add(fnn_multiply(count, size), FNN_ALIGNMENT - 1);
    bump->used = bytes == SIZE_MAX ? SIZE_MAX : fnn_add(start, bytes - bytes % FNN_ALIGNMENT);
    return bump->at ? bump->at + start : NULL;
}

/* Elements between two rows of a workspace matrix. A power of two of cache lines would map all rows to few cache sets. */
static size_t padded_stride(size_t columns, size_t element) {
    const size_t line = FNN_ALIGNMENT / element;
    const size_t lines = fnn_add(columns, line - 1) / line;
    return fnn_multiply(lines % 4 == 0 ? lines + 1 : lines, line);
}

static size_t widest_output(const fnn_model *model) {
    size_t widest = 0;
    for (size_t k = 0; k < model->op_count; k++) {
        widest = model->ops[k].outputs > widest ? model->ops[k].outputs : widest;
    }
    return widest;
}

/* ---- which path a shape takes ---- */

static int is_large(const fnn_op *op) {
    return op->code == FNN_OP_DENSE && !op->sparse && fnn_multiply(op->inputs, op->outputs) >= FNN_LARGE_SIZE;
}

static int has_large(const fnn_model *model) {
    for (size_t k = 0; k < model->op_count; k++) {
        if (is_large(&model->ops[k])) {
            return 1;
        }
    }
    return 0;
}

/* Noise does nothing outside training: inference leaves it out, unless its output is needed as such. */
static int is_skipped(const fnn_model *model, size_t k) {
    const fnn_op *op = &model->ops[k];
    return (op->code == FNN_OP_DROPOUT || op->code == FNN_OP_GAUSSIAN) && !op->shared && k + 1 < model->op_count &&
           op->join < 0 && op->first == 0;
}

/* A batch normalization that takes its statistics from the rows of the batch, all of them. */
static int uses_batch(const fnn_op *op, int passes) {
    return op->code == FNN_OP_BATCH_NORMALIZATION && passes & FNN_TRAINING && !op->frozen;
}

/* Activations that need a row as a whole. */
static int is_of_rows(int activation) {
    return activation == FNN_SOFTMAX || activation == FNN_LOG_SOFTMAX;
}

/* An op whose activation is what it does, not what is done to its result. */
static int is_activation(const fnn_op *op) {
    return op->code == FNN_OP_ACTIVATION || op->code == FNN_OP_GLU;
}

/* An activation's derivative that is computed from its argument: training keeps that beside the result. An op that is an
 * activation has it as its input. */
static int keeps_argument(const fnn_op *op) {
    return op->activation >= FNN_GELU && !is_activation(op);
}

/* Elements of what a normalization keeps from its forward pass. */
static size_t statistics_size(const fnn_op *op, size_t batch) {
    return op->code == FNN_OP_LAYER_NORMALIZATION   ? fnn_multiply(batch, 2)
           : op->code == FNN_OP_BATCH_NORMALIZATION ? fnn_multiply(op->outputs, 2)
                                                    : 0;
}

/* The input gradient of a small kernel is the forward product with its transpose, which each update keeps in step. */
static int has_transposed(const fnn_model *model, size_t k) {
    return model->ops[k].code == FNN_OP_DENSE && !model->ops[k].sparse && !is_large(&model->ops[k]);
}

static size_t at_least(size_t value, size_t least) {
    return value < least ? least : value;
}

static size_t at_most(size_t value, size_t most) {
    return value > most ? most : value;
}

/* Blocks of this size that cover `count`. */
static size_t blocks(size_t count, size_t size) {
    return (count + size - 1) / size;
}

/* A wide kernel belongs to the threads by rows, that is, by inputs of its op: the thread that multiplies with a row also
 * updates it, so the row and its slots stay in that thread's cache from step to step. (By columns it would not: cache lines
 * of two threads side by side are fetched by the prefetchers of both.) A small kernel is read whole by every thread. */
static int is_wide(const fnn_op *op) {
    return op->code == FNN_OP_DENSE && !op->sparse && fnn_multiply(op->inputs, op->outputs) >= FNN_WIDE_SIZE &&
           !is_large(op);
}

/* Each part of a wide product sums over its own inputs; their number depends on the shape alone, as their sum does. */
static size_t part_count(const fnn_op *op) {
    return at_least((op->inputs + FNN_PART_DEPTH / 2) / FNN_PART_DEPTH, 2);
}

static size_t part_start(const fnn_op *op, size_t part) {
    const size_t count = part_count(op);
    return op->inputs / count * part + at_most(part, op->inputs % count);
}

static size_t chunk_rows(const fnn_op *op) {
    const size_t rows = FNN_CHUNK / op->outputs;
    return at_least(rows - rows % FNN_CHUNK_ROWS, FNN_CHUNK_ROWS);
}

/* Stripes of one op are of even height, so that equal numbers of them are equal work. */
static size_t stripe_rows(const fnn_op *op) {
    const size_t size = is_large(op) ? at_most(FNN_LARGE_STRIPE, op->inputs * op->outputs / 4) : (size_t)FNN_STRIPE;
    const size_t rows = at_least(size / op->outputs, FNN_CHUNK_ROWS);
    return blocks(op->inputs,
                  blocks(op->inputs, op->sparse ? at_least(rows, blocks(op->inputs, FNN_SPARSE_STRIPES)) : rows));
}

/* Stripes of an op other than a dense one: rows of a table, or columns. */
static size_t other_length(const fnn_op *op) {
    const int trains =
        op->code == FNN_OP_LAYER_NORMALIZATION || op->code == FNN_OP_BATCH_NORMALIZATION || op->code == FNN_OP_PRELU;
    return op->code == FNN_OP_EMBEDDING ? (size_t)op->numbers[0] : trains ? op->outputs : 0;
}

static size_t other_rows(const fnn_op *op) {
    return op->code == FNN_OP_EMBEDDING ? at_least(FNN_STRIPE / (op->outputs / op->inputs), 1) : FNN_COLUMN_STRIPE;
}

static size_t largest_chunk(const fnn_model *model) {
    size_t largest = 0;
    for (size_t k = 0; k < model->op_count; k++) {
        const fnn_op *op = &model->ops[k];
        if (op->code == FNN_OP_DENSE) {
            const size_t rows = at_least(is_large(op) ? stripe_rows(op) : chunk_rows(op), 1);
            largest = at_least(largest, fnn_multiply(rows, op->outputs));
        } else if (other_length(op)) {
            const size_t width = op->code == FNN_OP_EMBEDDING ? op->outputs / op->inputs : 1;
            largest = at_least(largest, fnn_multiply(other_rows(op), width));
        }
    }
    return fnn_add(largest, FNN_PADDING);
}

static size_t op_stripes(const fnn_op *op) {
    return op->code == FNN_OP_DENSE ? blocks(op->inputs, stripe_rows(op)) : blocks(other_length(op), other_rows(op));
}

static fnn_stripe op_stripe(const fnn_model *model, size_t k, size_t index) {
    const fnn_op *op = &model->ops[k];
    const int dense = op->code == FNN_OP_DENSE;
    const size_t height = dense ? stripe_rows(op) : other_rows(op), first = index * height;
    return (fnn_stripe){
        .op = k, .first = first, .rows = at_most((dense ? op->inputs : other_length(op)) - first, height)};
}

/* Stripes of all ops are mixed evenly: the first half of the list holds the first half of each kernel's rows, and so on for any
 * number of threads. That is also how the threads share out the parts of a wide product. Stripe i of
 * the n of its op stands at (2 i + 1) / (2 n); its rank is the number of stripes of all ops before that. */
size_t fnn_stripes(const fnn_model *model, fnn_stripe *stripes) {
    size_t count = 0;
    for (size_t k = 0; k < model->op_count; k++) {
        const size_t of_op = op_stripes(&model->ops[k]);
        count += of_op;
        for (size_t i = 0; stripes && i < of_op; i++) {
            size_t rank = 0;
            for (size_t other = 0; other < model->op_count; other++) {
                const size_t scaled = (2 * i + 1) * op_stripes(&model->ops[other]);
                /* odd numbers q with q / n_other before, or for an earlier op at, (2 i + 1) / n */
                const size_t last = other < k ? scaled / of_op : scaled ? (scaled - 1) / of_op : 0;
                rank += scaled ? (last + 1) / 2 : 0;
            }
            stripes[rank] = op_stripe(model, k, i);
        }
    }
    return count;
}

/* A parameter as a matrix; a vector is one row. Empty where there is none, or where it is not trained.
 * place: 2 op + FNN_KERNEL or FNN_BIAS, as in fnn_model.rules. */
typedef struct {
    size_t rows, columns;
} fnn_shape;

static fnn_shape parameter_shape(const fnn_model *model, size_t place) {
    const fnn_op *op = &model->ops[place / 2];
    const int kernel = place % 2 == FNN_KERNEL;
    if (op->frozen || (kernel ? op->kernel : op->bias) < 0) {
        return (fnn_shape){0, 0};
    }
    if (kernel && op->code == FNN_OP_DENSE) {
        return (fnn_shape){op->inputs, op->outputs};
    }
    if (kernel && op->code == FNN_OP_EMBEDDING) {
        return (fnn_shape){other_length(op), op->outputs / op->inputs};
    }
    return (fnn_shape){1, op->code == FNN_OP_DENSE ? op->outputs : other_length(op)};
}

/* The part of a parameter that belongs to a stripe: whole rows of a matrix, or some columns of a vector. */
typedef struct {
    size_t place, offset, first, rows, columns;
} fnn_part;

static int stripe_parts(const fnn_model *model, const fnn_stripe *stripe, fnn_part parts[2]) {
    const fnn_op *op = &model->ops[stripe->op];
    const int dense = op->code == FNN_OP_DENSE;
    int count = 0;
    for (size_t which = 0; which < 2; which++) {
        const size_t place = 2 * stripe->op + which;
        const fnn_shape shape = parameter_shape(model, place);
        const size_t start = (size_t)(which == FNN_KERNEL ? op->kernel : op->bias);
        if (shape.rows * shape.columns == 0 || (dense && which == FNN_BIAS && stripe->first)) {
            continue;
        }
        if (which == FNN_KERNEL && (dense || op->code == FNN_OP_EMBEDDING)) {
            parts[count++] =
                (fnn_part){place, start + stripe->first * shape.columns, stripe->first, stripe->rows, shape.columns};
        } else if (dense) {
            parts[count++] = (fnn_part){place, start, 0, 1, shape.columns};
        } else {
            parts[count++] = (fnn_part){place, start + stripe->first, 0, 1, stripe->rows};
        }
    }
    return count;
}

static int is_matrix_rule(int optimizer) {
    return optimizer == FNN_ADAFACTOR || optimizer == FNN_MUON;
}

/* Whether a parameter has two axes. */
static int is_matrix(const fnn_model *model, size_t place) {
    const int code = model->ops[place / 2].code;
    return place % 2 == FNN_KERNEL && (code == FNN_OP_DENSE || code == FNN_OP_EMBEDDING);
}

/* Whether Muon's own rule is that of a parameter. */
static int is_orthogonalized(const fnn_model *model, size_t place) {
    return model->optimizer == FNN_MUON && is_matrix(model, place) && !model->rules[place].second &&
           parameter_shape(model, place).rows > 0;
}

static size_t orthogonal_tiles(const fnn_model *model, size_t place) {
    const fnn_shape shape = parameter_shape(model, place);
    return is_orthogonalized(model, place) ? blocks(at_most(shape.rows, shape.columns), FNN_ORTHOGONAL_ROWS) : 0;
}

static size_t all_orthogonal_tiles(const fnn_model *model) {
    size_t count = 0;
    for (size_t place = 0; place < 2 * model->op_count; place++) {
        count += orthogonal_tiles(model, place);
    }
    return count;
}

int fnn_stores_gradients(const fnn_hyperparameters *h) {
    return h->clipnorm != 0 || h->global_clipnorm != 0 || is_matrix_rule(h->code);
}

/* Whether some parameter has a constraint that needs whole rows or columns. */
static int has_norms(const fnn_model *model) {
    for (size_t place = 0; place < 2 * model->op_count; place++) {
        if (model->rules[place].constraint >= FNN_COLUMN_NORM) {
            return 1;
        }
    }
    return 0;
}

/* Rows of a tile of a training step: each thread may take its share, in even parts, as a row has the same bits in any tile. */
static size_t row_tile_height(size_t batch, int threads) {
    const size_t share = blocks(batch, (size_t)threads);
    return at_least(blocks(share, blocks(share, FNN_INFER_ROWS)), 4);
}

/* The most rows of a tile of inference. */
static size_t infer_tile_height(const fnn_model *model) {
    return has_large(model) ? FNN_LARGE_INFER_ROWS : FNN_INFER_ROWS;
}

/* Threads that `rows` rows are worth; a training pass does about three times the products of a forward one. */
static int useful_threads(const fnn_model *model, size_t rows, int threads, int products) {
    double work = 0;
    for (size_t k = 0; k < model->op_count; k++) {
        const fnn_op *op = &model->ops[k];
        if (op->sparse) {
            work += 4.0 * (double)model->row_entries * (double)op->outputs;
            work += products > 1 ? 2.0 * (double)op->inputs * (double)op->outputs / (double)at_least(rows, 1) : 0;
            continue;
        }
        work += op->code == FNN_OP_DENSE ? 2.0 * (double)op->inputs * (double)op->outputs : 20.0 * (double)op->outputs;
    }
    const double most = work * (double)rows * products / work_per_thread;
    return most < 2 ? 1 : most < threads ? (int)most : threads;
}

int fnn_fuses(const fnn_op *op, int loss) {
    if (op->code == FNN_OP_GLU) {
        return 0;
    }
    return (op->activation == FNN_SOFTMAX &&
            (loss == FNN_CATEGORICAL_CROSSENTROPY || loss == FNN_SPARSE_CATEGORICAL_CROSSENTROPY)) ||
           (op->activation == FNN_SIGMOID && loss == FNN_BINARY_CROSSENTROPY);
}

size_t fnn_state_size(const fnn_measure *measure) {
    const fnn_head *rule = &measure->rule;
    const size_t first = (size_t)rule->numbers[0], columns = rule->columns;
    switch (measure->metric) {
        case FNN_THRESHOLD_COUNTS: {
            const size_t width = fnn_add(1, first ? first : rule->vector_size);
            return fnn_add(fnn_multiply((int)rule->numbers[3] & 1 ? columns : 1, fnn_multiply(2, width)), 1);
        }
        case FNN_CLASS_COUNTS:
            return fnn_multiply(columns, 3);
        case FNN_SQUARES:
            return fnn_add(fnn_multiply(columns, 3), 2);
        case FNN_CLASS_MATRIX:
            return fnn_add(fnn_multiply(first, first), 1);
        default:
            return 2;
    }
}

/* Tiles between two sums of an evaluation: fewer where each has many numbers. */
static size_t round_tiles(const fnn_model *model) {
    return at_least(at_most(FNN_ROUND_NUMBERS / at_least(model->sum_size, 1), FNN_ROUND_TILES), 1);
}

size_t fnn_tile_sums(const fnn_model *model) {
    return fnn_multiply(round_tiles(model), model->sum_size);
}

/* Rows row ... row + rows - 1 by columns column ... column + columns - 1 of a matrix. */
typedef struct {
    size_t row, rows, column, columns;
} fnn_block;

/* What a phase of a training step does with the ops first ... end - 1; see train.inc. */
typedef enum {
    FNN_FORWARD_COLUMNS,
    FNN_FORWARD_PARTS,
    FNN_FORWARD_ROWS,
    FNN_TURN,
    FNN_GRADIENT_COLUMNS,
    FNN_BACKWARD_ROWS,
    FNN_STRIPES,
    FNN_PREPARE,
    FNN_MOMENTS,
    FNN_MOMENT_COLUMNS,
    FNN_CHANGES,
    FNN_MOMENTUM,
    FNN_GRAM,
    FNN_POLYNOMIAL,
    FNN_ITERATE,
    FNN_UPDATES,
    FNN_CONSTRAIN,
    FNN_TRANSPOSE,
} fnn_phase_kind;

typedef struct {
    fnn_phase_kind kind;
    size_t first, end;
    size_t left; /* the ops from `left` to `first` may have left their products in parts, which this phase sums up */
} fnn_phase;

/* Columns of a tile of a phase by columns: whole panels; two tiles a thread, but one of a kernel that is packed for it. */
static size_t tile_columns(const fnn_model *model, const fnn_op *op, size_t columns, int threads) {
    const size_t panel = FNN_TILE_BYTES / (model->is_double ? sizeof(double) : sizeof(float));
    const size_t panels = blocks(columns, panel), tiles = is_large(op) ? (size_t)threads : 2 * (size_t)threads;
    return panel * blocks(panels, at_most(panels, tiles));
}

/* Tiles of a matrix, all rows of one range of columns before the next range. */
static size_t tile_count(size_t rows, size_t columns, size_t height, size_t width) {
    return blocks(rows, height) * blocks(columns, width);
}

static fnn_block tile_block(size_t rows, size_t columns, size_t height, size_t width, size_t tile) {
    const size_t down = blocks(rows, height);
    fnn_block block = {.row = tile % down * height, .column = tile / down * width};
    block.rows = at_most(rows - block.row, height);
    block.columns = at_most(columns - block.column, width);
    return block;
}

/* ---- how many threads: measured, since only the machine's load says what they are worth ----
 *
 * Steps run in turns. Most keep the number of threads; now and then one tries half or double as many for a moment, and the
 * faster number stays. A trial that changes nothing doubles the time to the next one. */

typedef struct {
    int threads;
    double seconds; /* it may take */
} fnn_turn;

static const double trial_seconds = 0.01, first_patience = 0.05, most_patience = 0.5;
static const double trial_share = 0.02; /* of the time that trials may take */

static fnn_turn next_turn(fnn_run *run) {
    fnn_pace *pace = run->pace;
    if (!pace || run->threads == 1) {
        return (fnn_turn){run->threads, INFINITY};
    }
    if (pace->threads != run->threads || pace->batch != run->batch) {
        *pace = (fnn_pace){.batch = run->batch, .threads = run->threads, .direction = 1, .patience = trial_seconds};
    }
    if (!pace->warm) {
        return (fnn_turn){run->threads, 0}; /* one step, which meets memory for the first time and tells nothing */
    }
    const int level = pace->level + (pace->trial ? pace->direction : 0);
    return (fnn_turn){run->threads >> level, (pace->trial ? trial_seconds : pace->patience) - pace->spent};
}

static void end_turn(fnn_run *run, double steps, double seconds) {
    fnn_pace *pace = run->pace;
    if (!pace || run->threads == 1) {
        return;
    }
    if (!pace->warm) {
        pace->warm = 1;
        return;
    }
    pace->steps += steps;
    pace->spent += seconds;
    if (pace->steps < 1 || pace->spent < (pace->trial ? trial_seconds : pace->patience)) {
        return; /* it goes on in the next run */
    }
    const double step = pace->spent / pace->steps, spent = pace->spent;
    pace->steps = pace->spent = 0;
    if (!pace->trial) {
        pace->step = step;
        const int level = pace->level + pace->direction;
        if (level < 0 || run->threads >> level < 1) {
            pace->direction = -pace->direction;
        }
    } else if (step < 0.95 * pace->step) {
        pace->level += pace->direction;
        pace->step = step;
        pace->patience = fmax(first_patience, 2 * spent);
    } else {
        pace->direction = -pace->direction;
        pace->patience = fmax(fmin(2 * pace->patience, most_patience), spent / trial_share);
    }
    pace->trial = !pace->trial;
}

#define FNN_REAL_IS_DOUBLE 0
#define FN_TABLE f32
#include "real.h"
#include "plan.inc"
#include "chains.inc"
#include "ops.inc"
#include "update.inc"
#include "rest.inc"
#include "train.inc"
#include "infer.inc"
#include "predict.inc"
#undef FNN_REAL_IS_DOUBLE
#undef FN_TABLE

#define FNN_REAL_IS_DOUBLE 1
#define FN_TABLE f64
#include "real.h"
#include "plan.inc"
#include "chains.inc"
#include "ops.inc"
#include "update.inc"
#include "rest.inc"
#include "train.inc"
#include "infer.inc"
#include "predict.inc"
#undef FNN_REAL_IS_DOUBLE
#undef FN_TABLE

/* ---- the interface: one branch on the element type ---- */

size_t fnn_workspace_bytes(const fnn_model *model, size_t batch, int threads) {
    fnn_bump bump = {NULL, 0};
    fnn_workspace_f32 w32;
    fnn_workspace_f64 w64;
    const size_t bytes = model->is_double ? fnn_lay_out_f64(model, batch, threads, 1, bump, &w64)
                                          : fnn_lay_out_f32(model, batch, threads, 1, bump, &w32);
    return fnn_add(bytes, sizeof(size_t[8]));
}

/* Of what one thread needs to take `rows` rows through the network. */
static size_t inference_bytes(const fnn_model *model, size_t rows) {
    fnn_bump bump = {NULL, 0};
    fnn_workspace_f32 w32;
    fnn_workspace_f64 w64;
    return model->is_double ? fnn_lay_out_f64(model, rows, 1, 0, bump, &w64)
                            : fnn_lay_out_f32(model, rows, 1, 0, bump, &w32);
}

size_t fnn_scratch_bytes(const fnn_model *model, int threads) {
    return fnn_multiply(inference_bytes(model, infer_tile_height(model)), (size_t)threads);
}

size_t fnn_transposed_size(const fnn_model *model) {
    size_t size = FNN_PADDING;
    for (size_t k = 0; k < model->op_count; k++) {
        const fnn_op *op = &model->ops[k];
        if (has_transposed(model, k)) {
            const size_t stride = padded_stride(op->inputs, model->is_double ? sizeof(double) : sizeof(float));
            size = fnn_add(size, fnn_multiply(op->outputs, stride));
        }
    }
    return size;
}

static void clear_sums(const fnn_model *model, fnn_run *run) {
    if (run->passes & FNN_LOSS) {
        memset(run->sums, 0, model->sum_size * sizeof *run->sums);
    }
}

fnn_status fnn_train(const fnn_model *model, const fnn_data *data, fnn_run *run, void *workspace) {
    clear_sums(model, run);
    run->first_nonfinite = -1;
    run->threads = useful_threads(model, run->batch, run->threads, run->passes & FNN_BACKWARD ? 3 : 1);
    return model->is_double ? fnn_train_f64(model, data, run, workspace) : fnn_train_f32(model, data, run, workspace);
}

typedef struct {
    fnn_member *members;
    size_t count;
    const fnn_progress *progress;
    double next_poll;
    fnn_team team;
    atomic_int stop;
} many_job;

static void start_many(void *context) {
    many_job *job = context;
    fnn_team_set_tiles(&job->team, job->count);
}

/* Between steps of a member. Any thread learns here that the run is to stop; only the calling one may ask. */
typedef struct {
    many_job *job;
    int thread;
} many_watch;

static int watch_many(void *context, size_t steps_done, const double *sums) {
    const many_watch *watch = context;
    many_job *job = watch->job;
    if (watch->thread == 0 && job->progress && fnn_seconds() >= job->next_poll) {
        if (job->progress->function(job->progress->context, steps_done, sums)) {
            atomic_store_explicit(&job->stop, 1, memory_order_relaxed);
        }
        job->next_poll = fnn_seconds() + job->progress->interval;
    }
    return atomic_load_explicit(&job->stop, memory_order_relaxed);
}

static void many_worker(void *context, int thread) {
    many_job *job = context;
    many_watch watch = {job, thread};
    const fnn_progress progress = {watch_many, &watch, job->progress ? job->progress->interval : 0.02};
    size_t tile;
    while ((tile = fnn_team_claim(&job->team, thread)) != SIZE_MAX) {
        fnn_member *member = &job->members[tile];
        member->run.progress = &progress;
        member->status = FNN_STOPPED;
        if (!watch_many(&watch, 0, member->run.sums)) {
            member->status = fnn_train(member->model, &member->data, &member->run, member->workspace);
        }
    }
}

fnn_status fnn_train_many(fnn_member *members, size_t count, int threads, const fnn_progress *progress) {
    many_job job = {.members = members, .count = count, .progress = progress};
    job.next_poll = fnn_seconds() + (progress ? progress->interval : 0);
    fnn_team_run(&job.team, threads, start_many, many_worker, &job);
    return atomic_load(&job.stop) ? FNN_STOPPED : FNN_OK;
}

void fnn_apply_gradients(const fnn_model *model, fnn_run *run, void *workspace) {
    const double most =
        (double)model->parameter_size * 20.0 / work_per_thread; /* about 20 operations' time an element */
    run->threads = most < 2 ? 1 : most < run->threads ? (int)most : run->threads;
    run->passes = FNN_UPDATE;
    if (model->is_double) {
        fnn_train_f64(model, NULL, run, workspace);
    } else {
        fnn_train_f32(model, NULL, run, workspace);
    }
}

double fnn_penalty(const fnn_model *model) {
    return model->is_double ? fnn_penalty_f64(model) : fnn_penalty_f32(model);
}

fnn_status fnn_infer(const fnn_model *model, const fnn_data *data, fnn_run *run, void *scratch) {
    clear_sums(model, run);
    run->threads = useful_threads(model, data->rows, run->threads, 1);
    return model->is_double ? fnn_infer_f64(model, data, run, scratch) : fnn_infer_f32(model, data, run, scratch);
}

void fnn_link(fnn_op *ops, size_t count) {
    for (size_t k = 0; k < count; k++) {
        fnn_op *op = &ops[k];
        op->first_reader = (ptrdiff_t)k;
        if (op->code == FNN_OP_JOIN) {
            continue;
        }
        for (size_t before = k; before-- > 0;) {
            if (ops[before].code != FNN_OP_JOIN && ops[before].input == op->input && ops[before].first == op->first) {
                op->first_reader = (ptrdiff_t)before;
            }
        }
        ops[op->first_reader].gathers |= op->first_reader < (ptrdiff_t)k;
        const ptrdiff_t read[2] = {op->input, op->code == FNN_OP_ADD ? ops[op->source].input : -1};
        for (int i = 0; i < 2; i++) {
            if (read[i] >= 0) {
                ops[read[i]].shared |= read[i] + 1 < (ptrdiff_t)k;
            }
        }
        if (op->code == FNN_OP_ADD) {
            ops[op->source].gathers = 1;
        }
    }
}

/* Whether each op reads the output of the one before and nothing else: then two buffers in turn are enough. */
static int is_chain(const fnn_model *model) {
    for (size_t k = 0; k < model->op_count; k++) {
        const fnn_op *op = &model->ops[k];
        if (op->code == FNN_OP_ADD || op->code == FNN_OP_JOIN || op->input != (ptrdiff_t)k - 1 || op->first > 0) {
            return 0;
        }
    }
    return 1;
}

void fnn_freeze(const fnn_model *model, const int *threads, fnn_predictor *predictor) {
    const size_t element = model->is_double ? sizeof(double) : sizeof(float);
    const size_t stride = padded_stride(widest_output(model), element);
    const int chain = is_chain(model);
    size_t rows = chain ? FNN_STACK_BYTES / 2 / element / stride : (size_t)FNN_INFER_ROWS;
    while (!chain && rows && inference_bytes(model, rows) > FNN_STACK_BYTES) {
        rows /= 2;
    }
    *predictor = (fnn_predictor){.run = model->is_double ? fnn_predict_f64 : fnn_predict_f32,
                                 .inputs = model->inputs,
                                 .outputs = model->ops[model->op_count - 1].outputs,
                                 .is_double = model->is_double,
                                 .rows_per_tile = (int)at_most(rows, FNN_INFER_ROWS),
                                 .stride = chain ? stride : 0,
                                 .threads = threads,
                                 .model = model};
}

typedef struct {
    const fnn_kernels *kernels;
    int is_double;
    const char *x;
    ptrdiff_t stride;
    size_t rows, columns, tile_rows;
    fnn_team team;
    atomic_int bad;
} finite_job;

static void start_finite(void *context) {
    finite_job *job = context;
    fnn_team_set_tiles(&job->team, (job->rows + job->tile_rows - 1) / job->tile_rows);
}

static void finite_worker(void *context, int thread) {
    finite_job *job = context;
    size_t tile;
    while (!atomic_load_explicit(&job->bad, memory_order_relaxed) &&
           (tile = fnn_team_claim(&job->team, thread)) != SIZE_MAX) {
        const size_t end = (tile + 1) * job->tile_rows < job->rows ? (tile + 1) * job->tile_rows : job->rows;
        for (size_t i = tile * job->tile_rows; i < end; i++) {
            const char *row =
                job->x + (ptrdiff_t)i * job->stride * (ptrdiff_t)(job->is_double ? sizeof(double) : sizeof(float));
            const int finite = job->is_double ? job->kernels->f64->all_finite((const double *)row, job->columns)
                                              : job->kernels->f32->all_finite((const float *)row, job->columns);
            if (!finite) {
                atomic_store_explicit(&job->bad, 1, memory_order_relaxed);
                return;
            }
        }
    }
}

int fnn_all_finite(const fnn_kernels *kernels, int is_double, const void *x, ptrdiff_t stride, size_t rows,
                   size_t columns, int threads) {
    finite_job job = {
        .kernels = kernels, .is_double = is_double, .x = x, .stride = stride, .rows = rows, .columns = columns};
    job.tile_rows = at_least((size_t)FNN_SWEEP / at_least(columns, 1), 1);
    const size_t tiles = (rows + job.tile_rows - 1) / job.tile_rows;
    fnn_team_run(&job.team, tiles < 8 ? 1 : threads, start_finite, finite_worker, &job);
    return !atomic_load(&job.bad);
}
