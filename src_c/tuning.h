/* The tuned constants of the engine and of the host. */
#ifndef FNN_TUNING_H
#define FNN_TUNING_H

enum {
    FNN_PACKED_ROWS = 24,        /* for so many rows at least a large kernel is worth packing */
    FNN_UNIT_SIZE = 1 << 13,     /* elements of a kernel, */
    FNN_UNIT_SIDE = 32,          /* its inputs and its outputs, */
    FNN_MANY_ROWS = 128,         /* and rows of a call, from which inference is worth it for the matrix unit; */
    FNN_UNIT_ROWS = 256,         /* of a tile there */
    FNN_UNIT_TRAINS = 64,        /* inputs and outputs from which training with as many rows takes a kernel as large, */
    FNN_UNIT_TRAINS_FEW = 192,   /* with half of them, */
    FNN_PACKED_TRAINS = 256,     /* and where there is no such unit */
    FNN_LARGE_INFER_ROWS = 512,  /* of a tile of inference through one */
    FNN_INFER_ROWS = 48,         /* rows that one thread carries through the network at a time */
    FNN_STREAM_BYTES = 1 << 15,  /* of x that are fetched at a time */
    FNN_NEAR_BYTES = 1 << 19,    /* of parameters, or of a batch of x, that stay in a second-level cache */
    FNN_ROUND_TILES = 64,        /* the most tiles between two sums of an evaluation */
    FNN_ROUND_NUMBERS = 1 << 20, /* and the most numbers that wait for one */
    FNN_WIDE_SIZE = 1 << 15,     /* elements from which a kernel is shared out among the threads */
    FNN_WIDE_BATCH = 96,        /* largest batch for which that pays: more rows are worth reading a whole kernel for, */
    FNN_WIDE_BYTES = 1 << 20,   /* and of a packed one that reads x the largest x */
    FNN_SHORT_ROW = 512,        /* bytes of a row of x that no processor foresees: of longer ones it does the most */
    FNN_PART_DEPTH = 192,       /* about the inputs of a part: 192 x 128 bytes stay in the first-level cache */
    FNN_PACKED_PARTS = 2,       /* of a packed product: fewer parts are less to sum up */
    FNN_TILE_BYTES = 128,       /* a tile of columns is whole pairs of cache lines, which processors fetch together */
    FNN_STRIPE = 4096,          /* elements of a stripe: a few microseconds of work for a small batch */
    FNN_LARGE_STRIPE = 1 << 19, /* of a large kernel, at most: an update finds its gradient in a second-level cache; */
    FNN_PACKED_STRIPES = 1 << 17, /* of several stripes whose gradients are one product; */
    FNN_FEW_STRIPES = 1 << 20,    /* of a kernel from which on four stripes are enough of them; */
    FNN_MOST_STRIPES = 64,        /* of a smaller one, whose rows */
    FNN_STRIPE_TILE = 16,         /* are a multiple of this, so that tiles of the matrix unit are whole */
    FNN_COLUMN_STRIPE = 512,      /* columns of a stripe of a normalization */
    FNN_REST_STEPS = 32,          /* that a row of a sparse kernel may miss and make up for later (rest.inc) */
    FNN_REST_WIDTH = 16,          /* elements of a row for which that is worth its bookkeeping */
    FNN_REST_BLOCK = 1024,        /* elements that make up for missed steps together: with two slots half a cache */
    FNN_SPARSE_STRIPES = 64,      /* at most, of a kernel for sparse rows: each looks into every row of the batch */
    FNN_CHUNK = 4096,             /* elements of a gradient chunk: stays in the first-level cache until it is used */
    FNN_CHUNK_ROWS = 12,          /* at least, of a chunk: a multiple of every micro-kernel's */
    FNN_STACK_BYTES = 1 << 16,    /* of activations that a predictor keeps on the stack */
    FNN_SWEEP = 1 << 14,          /* elements of a tile of a search for what is not finite */
    FNN_ORTHOGONAL_LINES = 96,    /* of a matrix that a tile of Muon's takes through an iteration */
    FNN_COSINE_ROWS = 48,         /* vectors of a tile of a penalty of cosines */
    FNN_UPDATE_PHASES = 72,       /* of an optimizer, at most: three for each of Muon's iterations */
    FNN_UPDATE_BLOCK = 4096,      /* elements of an update of more than one sweep: they stay in the first-level cache */
    FNN_POLLED_WORK = 1
        << 22, /* multiply-adds of a step from which each tile may be its last: well over its phases' price */
};

/* Multiply-adds of a product that are a long wait for whoever has asked to stop: a tenth of a second of two slow cores. */
static const double long_work = 4294967296.0;

/* Floating-point operations that are worth waking another thread for: about 20 microseconds of them. */
static const double work_per_thread = 1.5e6;

/* ---- the host's threads (team.c) ---- */

enum {
    FNN_SPINS = 2000,     /* about 30 microseconds of pauses */
    FNN_PATIENCE = 1000,  /* pauses before a thread takes over what another one has not begun */
    FNN_PACED_CALLS = 16, /* kinds of calls whose pace a thread remembers (pace.c) */
};

/* ---- the host's trials with fewer threads or more (pace.c) ---- */

static const double trial_seconds = 0.01, sure_seconds = 0.06, first_patience = 0.1, most_patience = 0.5;
static const double look_seconds = 0.05; /* from one look at the time of a step to the next */
static const double lost_share = 0.02;   /* of the time that trials may lose */
static const double gain = 0.95;         /* of the time of a step: what a trial must stay below */
static const double change_ratio = 1.25; /* of two looks at it */

#endif
