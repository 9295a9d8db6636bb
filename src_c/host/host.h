/* What the host of a network offers: threads and how many of them are worth their price, whoever asks a long call to stop, the
 * order of an epoch's rows. Nothing here knows a model or a kernel. */
#ifndef FNN_HOST_H
#define FNN_HOST_H

#include <stddef.h>
#include <stdint.h>

/* ---- threads and processes (team.c) ---- */

int fnn_openmp(void); /* 1 if built with OpenMP */

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

/* ---- whoever may ask to stop ---- */

/* Called by the calling thread between steps, and between tiles where these are long, at most every `interval` seconds; a
 * non-zero answer stops the run. sums: those of the run so far. */
typedef struct {
    int (*function)(void *context, size_t steps_done, const double *sums);
    void *context;
    double interval;
} fnn_progress;

/* ---- how many threads: measured (pace.c) ---- */

/* How fast steps were with this many threads and with fewer: what a run learns of the machine's load, and goes on from
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

/* Some steps with one number of threads. */
typedef struct {
    int threads;
    double seconds; /* it may take; at least one step is done */
} fnn_turn;

/* The next turn of steps of `batch` rows on up to `threads` threads, and what became of it: they change *pace alone. NULL: always
 * as many threads. */
fnn_turn fnn_next_turn(fnn_pace *pace, int threads, size_t batch);
void fnn_end_turn(fnn_pace *pace, int threads, double steps, double seconds);

/* A call that is no run of steps. */
typedef struct {
    int threads; /* for this call */
    int most;    /* that it is worth */
    size_t key;
    double started;
} fnn_paced_call;

/* Before and after a call of a kind for so many rows, on what `owner` points at, worth up to `threads` threads. */
fnn_paced_call fnn_begin_call(const void *owner, int kind, size_t rows, int threads);
void fnn_end_call(const fnn_paced_call *call);

/* ---- the order of rows (shuffle.c) ---- */

/* order[0 ... rows - 1]: a permutation of 0 ... rows - 1, a function of seed and epoch. */
void fnn_epoch_order(uint64_t seed, uint64_t epoch, size_t rows, int64_t *order);

#endif
