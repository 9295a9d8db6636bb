/* The tuned constants of the engine and of the host: what each is, its unit, and how it was found.
 *
 * "Measured" names the network (inputs-units-...-outputs) whose steps or calls were timed with this value and with the value
 * before, two builds alternating on one machine; a number is the time with this value over the time before. The processor is
 * named where the record names it. "Reasoned" says why the constant has its value, "no record" that nobody wrote it down; in
 * both cases the constant alone was not measured. Kernels have another such constant, FNN_LARGE_SIZE (kernels/table.h), and
 * the heights of their tiles (kernels/base/simd.h). */
#ifndef FNN_TUNING_H
#define FNN_TUNING_H

/* ---- which products are packed, and which go to the matrix unit ---- */

enum {
    /* Rows of a batch from which a large kernel is packed: the product with fewer does not pay for it. Measured:
     * 512-512-10 with 32 rows 0.77, with 8 rows 1.25. */
    FNN_PACKED_ROWS = 24,

    /* Elements of a kernel from which calls of FNN_MANY_ROWS rows go to the matrix unit. Measured: since kernels of
     * 2^12 elements and calls of 100 rows stay out of it, 32-64-64-1 with 1,000 rows takes 0.89 and 64-64-64-8 with
     * 100 rows 1.05. */
    FNN_UNIT_SIZE = 1 << 13,

    /* Inputs, and outputs, at least, of a kernel that goes to the matrix unit. Reasoned: a tile of the unit's product is 32
     * by 32. */
    FNN_UNIT_SIDE = 32,

    /* Rows of a batch, or of a call, from which smaller kernels than large ones are worth packing. Measured with
     * FNN_UNIT_SIZE and, in training, with FNN_UNIT_TRAINS. */
    FNN_MANY_ROWS = 128,

    /* Inputs, and outputs, from which training with FNN_MANY_ROWS rows takes a kernel as a large one, where there is a
     * matrix unit. Measured with AMX, two threads: 784-128-128-10 with 256 rows 0.88, with 1,024 0.75; layers of 256
     * with 256 rows 0.73. */
    FNN_UNIT_TRAINS = 64,

    /* FNN_UNIT_TRAINS for batches of half FNN_MANY_ROWS rows. Measured with AMX, two threads: layers of 256 with 64 rows
     * 0.89. */
    FNN_UNIT_TRAINS_FEW = 192,

    /* FNN_UNIT_TRAINS for models that round to bfloat16, where the processor multiplies that faster. Measured with
     * AVX512-BF16: 48-256-256-256-1 with 256 rows 0.71. */
    FNN_ROUNDED_TRAINS = 32,

    /* FNN_UNIT_TRAINS for processors without a matrix unit. Measured with AVX-512: layers of 384 with 128 rows 0.73, with
     * 1,024 0.56. */
    FNN_PACKED_TRAINS = 256,

    /* Rows and columns of a tile of a product by BLAS. Measured with OpenBLAS on one thread, 512 rows by 2048 x 2048:
     * smaller tiles multiply slower (baseline with AVX, float32: 256 x 256 1.21, 128 x 512 1.49 of the time), larger ones
     * leave fewer threads with one. */
    FNN_BLAS_ROWS = 256,
    FNN_BLAS_COLUMNS = 512,

    /* Rows, columns and depth of one call of BLAS, at most. Reasoned: its integers have 32 bits. */
    FNN_BLAS_SIZE = 1 << 30,

    /* Threads of a run with such products, at most. Reasoned: OpenBLAS has memory for twice as many callers at a time. */
    FNN_BLAS_THREADS = 64,
};

/* ---- rows that a thread takes through the network at a time ---- */

enum {
    /* Rows of a tile, at most, where kernels are not packed. Reasoned: a multiple of what every micro-kernel
     * multiplies at once, and few enough for the activations of usual layers to stay in the second-level cache. */
    FNN_INFER_ROWS = 48,

    /* Rows of a tile, at most, of gradients of parameters along directions. Reasoned: each tile adds its gradients to those
     * of the others, a sweep over all parameters, which is little beside the products of so many rows. */
    FNN_ALONG_ROWS = 192,

    /* Elements of the widest rows of a tile of training where members share a kernel, about: their columns lie side by side,
     * and all members' activations of 48 rows would not stay in the second-level cache. Measured: 32 members of
     * 20-128-128-1, 256 rows, one thread, a step of 12.7 ms with 48 rows a tile and of 11.5 with 12. The height is a
     * multiple of what every micro-kernel multiplies at once. */
    FNN_MEMBERS_TILE = 3 << 14,
    FNN_MEMBERS_ROWS = 12,

    /* Rows of a tile of inference, at most, with large kernels, each of which is packed once a tile. Reasoned: the more rows
     * share a packed kernel the better, as long as all threads have some. */
    FNN_LARGE_INFER_ROWS = 512,

    /* Rows of a tile of inference, at most, with smaller kernels that go to the matrix unit. Reasoned, as for large kernels. */
    FNN_UNIT_ROWS = 256,

    /* Rows of a tile of an evaluation, whose losses are summed by tile; the last bits of the sum depend on it. No record. */
    FNN_EVALUATED_ROWS = 128,

    /* Rows of a tile of inference or of a part, at least, and of one of training. No record. */
    FNN_LEAST_ROWS = 8,
    FNN_LEAST_TRAINED_ROWS = 4,

    /* Bytes of x that a tile of predictions fetches for the next one, about. Measured: 784-128-128-10 on one thread,
     * 1,024 rows 0.77, 32 rows 0.86: only the first tile waits for memory, and the fetched rows stay in the
     * first-level cache. */
    FNN_STREAM_BYTES = 1 << 15,

    /* Bytes of parameters, or of a batch of x, that count as near: tiles of predictions are low, and short rows of the
     * next batch are fetched, only below. Reasoned: they stay in a second-level cache. */
    FNN_NEAR_BYTES = 1 << 19,

    /* Bytes of a row of x, at most, that training fetches for the next batch in shuffled order; of longer rows the
     * processor fetches most itself after the first lines. Measured: rows of 30 and 128 inputs 0.90 to 0.94, of 256
     * 1.05, of 784 1.00 to 1.03. */
    FNN_SHORT_ROW = 512,

    /* Tiles of an evaluation that wait to be summed up, at most, and their numbers, at most. Reasoned: so many numbers are
     * 8 MB. */
    FNN_ROUND_TILES = 64,
    FNN_ROUND_NUMBERS = 1 << 20,
};

/* ---- kernels that the threads share out by their inputs (is_wide) ---- */

enum {
    /* Elements of a kernel from which it is shared out. Measured with FNN_STRIPE: 784-128-128-10 with 32 rows, two
     * threads, 0.975. */
    FNN_WIDE_SIZE = 1 << 15,

    /* Rows of a batch, at most, for which that pays: for more it is worth reading a whole kernel. Measured with
     * FNN_WIDE_SIZE and other changes: 784-128-128-10 with 256 rows 0.88, on one thread and on two. */
    FNN_WIDE_BATCH = 96,

    /* Bytes of a batch of x, at most, for which a packed kernel that reads it is shared out: then each thread reads
     * its columns of x a second time from its own cache. Measured, two threads: 784-128-128-10 with 128 and 256 rows
     * 0.90, with 512 0.97. */
    FNN_WIDE_BYTES = 1 << 20,

    /* Inputs of a part, about. Reasoned: 192 x 128 bytes of the kernel stay in the first-level cache. */
    FNN_PART_DEPTH = 192,

    /* Parts of a packed product. Measured with FNN_WIDE_BYTES, on two threads; more parts are more to sum up. */
    FNN_PACKED_PARTS = 2,

    /* Bytes by which the columns of a tile of a split op are rounded up. Reasoned: processors fetch pairs of cache
     * lines together. */
    FNN_TILE_BYTES = 128,
};

/* ---- stripes: the weight gradient and the update of some rows of a kernel ---- */

enum {
    /* Elements of a stripe of a small kernel: a few microseconds of work for a small batch. Measured with
     * FNN_WIDE_SIZE: smaller ones let the threads end more evenly. */
    FNN_STRIPE = 4096,

    /* Elements of a stripe of a large kernel, at most. Measured: the two benchmarks of large networks, T5 0.95 to 0.97 and T4
     * 0.99 to 1.00, as the update finds the gradient in the second-level cache. */
    FNN_LARGE_STRIPE = 1 << 19,

    /* Elements of several stripes whose gradients are one product. Measured with FNN_UNIT_TRAINS: dz is packed once a
     * product, and the gradients stay in the second-level cache. */
    FNN_PACKED_STRIPES = 1 << 17,

    /* Elements of a packed kernel from which on a stripe is a fourth of it, but at most FNN_LARGE_STRIPE; and the most
     * stripes of a smaller packed kernel. Reasoned: several stripes share a product there. */
    FNN_FEW_STRIPES = 1 << 20,
    FNN_MOST_STRIPES = 64,

    /* The height of a stripe of a smaller packed kernel is a multiple of so many rows. Measured together with FNN_WIDE_BYTES:
     * no tile of the matrix unit is half empty. */
    FNN_STRIPE_TILE = 16,

    /* Rows of a stripe of a kernel of FNN_SHAPED, at least: each stripe reads the gradients of all groups anew. Measured: 32
     * members of 512-512-512, 256 rows, one thread, took 626 ms a step with stripes of 8 rows. */
    FNN_SHAPED_ROWS = 128,

    /* Columns of a stripe of a vector, such as the factors of a normalization. No record. */
    FNN_COLUMN_STRIPE = 512,

    /* Stripes of a kernel for sparse rows, at most. Reasoned: each looks into every row of the batch. */
    FNN_SPARSE_STRIPES = 64,

    /* Elements of a chunk, the piece of a stripe whose gradient is used at once. Measured: as high as a stripe, where
     * chunks of 24 rows left 8 over, alone 0.98 for 784-128-128-10 with 256 rows. It stays in the first-level cache. */
    FNN_CHUNK = 4096,

    /* Rows of a chunk at least. Not tuned: a multiple of the rows of every micro-kernel. */
    FNN_CHUNK_ROWS = 12,
};

/* ---- updates ---- */

enum {
    /* Elements of a block of an update that sweeps over memory more than once. Reasoned: they stay in the first-level
     * cache. */
    FNN_UPDATE_BLOCK = 4096,

    /* Steps that a row of a sparse kernel may miss and make up for later (rest.inc). Measured: 100,000 columns by 64
     * with Adam, 32 rows of about 100 entries, 3.2 ms a step without rest and 1.5 with it. */
    FNN_REST_STEPS = 32,

    /* Elements of a row from which rest is worth its bookkeeping, and elements that make up for missed steps together.
     * Reasoned: FNN_REST_BLOCK elements with two slots are half of a first-level cache. */
    FNN_REST_WIDTH = 16,
    FNN_REST_BLOCK = 1024,

    /* Rows or columns of a matrix that a tile of Muon takes through an iteration. Reasoned: whole tiles of the
     * micro-kernels, and enough of them for all threads. */
    FNN_ORTHOGONAL_LINES = 96,

    /* Columns of a tile of Muon's square products, of matrices whose shorter side is less than FNN_ORTHOGONAL_SIDE and
     * of others. Reasoned: so few that there are tiles for all threads. */
    FNN_ORTHOGONAL_SIDE = 512,
    FNN_NARROW_SQUARE = 32,
    FNN_WIDE_SQUARE = 64,

    /* Vectors of a tile of a penalty of cosines. Reasoned: each tile computes all norms anew, a 48th of its work. */
    FNN_COSINE_ROWS = 48,
};

/* ---- other work, and what it may take ---- */

enum {
    /* Bytes of activations that a predictor keeps on the stack. Reasoned: little beside the stacks that threads have. */
    FNN_STACK_BYTES = 1 << 16,

    /* The most Dense ops that derivatives of a few rows go through on a way of their own. Reasoned: it saves about 30 ns an op,
     * which is little beside the products of so many ops, and each takes half a kilobyte in a frozen model. */
    FNN_STRAIGHT_OPS = 8,

    /* Elements of a tile of a search for what is not finite, and the tiles from which it has several threads. No
     * record. */
    FNN_SWEEP = 1 << 14,
    FNN_SWEEP_TILES = 8,

    /* Bytes of gradients, at most, that a long step (long_work) keeps so that it can be stopped before a weight changes. A
     * larger network ends the step under way once its first gradient is there. Reasoned: a third of what such a network has
     * in memory with Adam is much to pay for a stop that comes a part of a step earlier. */
    FNN_KEPT_GRADIENTS = 1 << 30,

    /* Multiply-adds of a step from which it asks whether to go on after each tile. Reasoned: well over the price of
     * its phases. */
    FNN_POLLED_WORK = 1 << 22,

    /* Columns of a tile of the moments that shards of a batch have. Not tuned: eight cache lines of doubles. */
    FNN_MOMENT_COLUMNS = 64,

    /* Elements of a tile of a sum of whole gradients. Not tuned: three rows of them fit in a second-level cache. */
    FNN_ADDED = 1 << 15,

    /* Phases of an optimizer, at most. Not tuned: three for each of Muon's iterations, of which Python allows 20, and
     * the others. */
    FNN_UPDATE_PHASES = 72,
};

/* Multiply-adds from which a step is a long wait for a caller who has asked to stop: its gradients are kept until the last
 * one is computed (FNN_KEPT_GRADIENTS), so that the step can end before a weight has changed. Reasoned: a tenth of a second of two slow cores. */
static const double long_work = 4294967296.0;

/* Floating-point operations for which it is worth waking another thread. Reasoned: they take about 20 microseconds. */
static const double work_per_thread = 1.5e6;

/* What an element costs that is not computed by a product, but by an activation or an update: the time of so many
 * floating-point operations of a product. No record. */
static const double element_work = 20;

/* ---- the host's threads (team.c) ---- */

enum {
    /* Pauses for which a thread spins at a wait before it sleeps: about 30 microseconds. Reasoned: a thread that was
     * taken off its core then costs the others their sleep, not their core. */
    FNN_SPINS = 2000,

    /* Pauses for which a thread without tiles waits before it takes over one that another thread has not begun.
     * Measured: 784-128-128-10 with 32 rows, two threads: taking over early cost more in cache lines than it won. */
    FNN_PATIENCE = 1000,

    /* Kinds of calls (a model, its passes, about so many rows) whose pace a thread remembers. No record. */
    FNN_PACED_CALLS = 16,
};

/* ---- the host's trials with fewer threads or more (pace.c) ----
 *
 * Measured beside one busy process a core: 784-128-128-10 with 40,000 rows, two threads over one thread, took 1.09 to
 * 1.43 of the time where a trial of 10 ms was believed, 0.92 to 1.06 since it has to last 60 ms. Alone nothing
 * changes. */

static const double trial_seconds = 0.01; /* a trial lasts so long, */
static const double sure_seconds = 0.06;  /* and a trial that looks better goes on for so long */

/* Seconds between two trials: at first, and at most. Measured beside a BLAS whose threads go on spinning for 26 ms:
 * with an earlier first trial one run in three went on with one thread. */
static const double first_patience = 0.1, most_patience = 0.5;

/* Seconds of a stretch of the first look; of the time of a step: what half of the threads must stay below in it; and seconds
 * from there to a trial with more threads again. Measured beside two busy processes a core, two threads: 20 epochs of a new
 * 64-100-10 in float64, batch 200, 0.58. Reasoned: a moment that decides wrongly costs little until the trial. */
static const double glance_seconds = 0.002, glance_gain = 0.7, glance_patience = 0.025;

/* Seconds from one look at the time of a step to the next. Measured: beside a spinning neighbour, longer ones kept a
 * small network on one thread for 3 s in one run of three. */
static const double look_seconds = 0.05;

static const double lost_share = 0.02;   /* of the time: what trials may lose. Reasoned. */
static const double gain = 0.95;         /* of the time of a step: what a trial must stay below. Reasoned. */
static const double change_ratio = 1.25; /* of two looks: more is a change of the load. Reasoned. */

#endif
