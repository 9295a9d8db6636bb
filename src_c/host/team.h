/* A team of threads that works through phases of numbered tiles: inside one OpenMP parallel region, with no barrier but
 * the one between two phases.
 *
 * Each thread has its own range of tiles (so it meets the same weights, in its own cache, step after step) and helps the
 * others only when they are late: a tile taken over brings its weights from another core's cache, and costs that core the
 * same in the next step. A wait spins for about FNN_SPINS pauses, then sleeps: under a busy neighbour a thread that was taken
 * off its core costs the others their sleep, not their core. */
#ifndef FNN_TEAM_H
#define FNN_TEAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "host/host.h"
#include "kernels/table.h" /* FNN_MAX_THREADS */

typedef struct {
    _Alignas(64) atomic_size_t next;
    size_t end;
    int patience; /* pauses its thread still waits before it helps others */
} fnn_range;

typedef struct {
    int count; /* threads that take part */
    int spins;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_uint generation;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
    fnn_range ranges[FNN_MAX_THREADS];
} fnn_team;

/* Runs worker(context, thread) on up to `threads` threads; team->count says how many there are. start(context) runs on
 * one thread before any worker does, and once more if there are fewer threads than it was told. */
void fnn_team_run(fnn_team *team, int threads, void (*start)(void *context), void (*worker)(void *context, int thread),
                  void *context);

/* Sets the tiles 0 ... tiles - 1 of the next phase. Only from `start` and from the `between` of a wait. */
void fnn_team_set_tiles(fnn_team *team, size_t tiles);

/* The next tile for this thread; SIZE_MAX when the phase has none left. */
size_t fnn_team_claim(fnn_team *team, int thread);

/* Waits until every thread is here; the last one to come runs between(context) before any leaves. */
void fnn_team_wait(fnn_team *team, void (*between)(void *context), void *context);

double fnn_seconds(void); /* a monotonic clock */

/* Sleeps for about a tenth of a millisecond. */
void fnn_doze(void);

/* Denormals count as zero on this thread until its mode, which the first returns, is restored. */
unsigned long fnn_flush_denormals(void);
void fnn_restore_mode(unsigned long mode);

#endif
