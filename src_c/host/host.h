/* What the engine asks of the machine and the process that it runs in: threads, how many of them a call is worth, a way to
 * stop a long call, and the order of an epoch's rows. Nothing here knows a model or a kernel. */
#ifndef FNN_HOST_H
#define FNN_HOST_H

#include <stddef.h>
#include <stdint.h>

/* ---- threads and processes (team.c) ---- */

int fnn_openmp(void); /* 1 if built with OpenMP */

/* Called once, at import. Notes how many threads OpenMP would use. Makes every later fork, whoever asks for it, leave a child
 * that can use threads: the child starts with 1 in *threads, the number of threads that the process has chosen. Returns the
 * number of processors that OpenMP found before it bound any thread to one. */
int fnn_prepare_threads(int *threads);

/* How many forks lie between the process that loaded this library and the calling one. If the number has changed, all threads
 * but one are gone, and with them the owners of locks. */
unsigned fnn_forks(void);

/* The thread that made the last of these forks, the only one that lives on in this process, as Python numbers threads; 0 if
 * there was no fork. */
unsigned long fnn_forking_thread(void);

/* `threads`, or fewer where OpenMP's limit has been lowered since the import, as threadpoolctl does. */
int fnn_allowed_threads(int threads);

/* ---- a call that can be stopped ---- */

/* The function is called by the thread that made the call, between steps, and between tiles where steps are long, at most
 * every `interval` seconds; a non-zero answer stops the run. sums: the sums of losses and metrics of the run so far. */
typedef struct {
    int (*function)(void *context, size_t steps_done, const double *sums);
    void *context;
    double interval;
} fnn_progress;

/* ---- how many threads: measured (pace.c) ---- */

/* A pace: how long a step took with the number of threads in use, and what is to be tried next. A run learns it from the
 * machine's load, and the next run goes on from it. All zero at first. */
typedef struct {
    size_t batch; /* the figures below belong to this batch and number of threads: others start a new pace */
    int threads;
    int level;       /* the number of threads in use is threads >> level */
    int direction;   /* the next trial has half (1) or double (-1) as many threads */
    int warm;        /* 0: cold; 1: the first step is over, and a first look is under way; 2: that is over too */
    int trial;       /* 0: none; 1: a trial is under way; 2: it looks better and goes on until that is sure */
    double step;     /* seconds of a step at this level */
    double patience; /* seconds between two trials */
    double spent;    /* seconds that the stretch under way has taken */
    double steps;    /* and steps that it has done */
    int changes;     /* consecutive looks at which a step took longer or shorter than `step` */
} fnn_pace;

/* A stretch: consecutive steps with one number of threads. */
typedef struct {
    int threads;
    double seconds; /* the stretch ends after the step in which they run out */
} fnn_stretch;

/* The first function says with how many of `threads` threads the next steps of `batch` rows are done; the second is told how
 * many steps there were and what time they took. Both change *pace alone; where pace is NULL, every stretch has all threads. */
fnn_stretch fnn_next_stretch(fnn_pace *pace, int threads, size_t batch);
void fnn_end_stretch(fnn_pace *pace, int threads, double steps, double seconds);

/* A call that is no run of steps, such as a prediction, between fnn_begin_call and fnn_end_call. */
typedef struct {
    int threads; /* that this call is to use */
    int most;    /* threads that its work is worth */
    size_t key;  /* of its owner, kind and size: calls with one key share a pace */
    double started;
} fnn_paced_call;

/* Stand before and after a call of the given kind for so many rows, on the model that `owner` points at, whose work is worth
 * up to `threads` threads. */
fnn_paced_call fnn_begin_call(const void *owner, int kind, size_t rows, int threads);
void fnn_end_call(const fnn_paced_call *call);

/* ---- the order of rows (shuffle.c) ---- */

/* order[0 ... rows - 1]: a permutation of 0 ... rows - 1, a function of seed and epoch. */
void fnn_epoch_order(uint64_t seed, uint64_t epoch, size_t rows, int64_t *order);

/* A number of the distribution Beta(alpha, alpha), a function of seed and step. */
double fnn_beta(uint64_t seed, uint64_t step, double alpha);

#endif
