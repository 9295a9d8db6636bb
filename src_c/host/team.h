/* A team of threads that works through phases of numbered tiles, inside one OpenMP parallel region; the only barriers are
 * between two phases.
 *
 * Each thread has a range of tiles of its own, so step after step it meets the same weights, which are in its own cache. It
 * helps other threads only when they are late: a tile taken over brings its weights from another core's cache, and in the
 * next step they have to come back. A wait spins for about FNN_SPINS pauses, then sleeps: if a busy process has taken a
 * thread off its core, the others wait for it without keeping their cores busy. */
#ifndef FNN_TEAM_H
#define FNN_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

#include "host/host.h"
#include "host/system.h"
#include "kernels/table.h" /* FNN_MAX_THREADS */

typedef struct {
    _Alignas(64) atomic_size_t next;
    size_t end;
    int patience; /* pauses for which the range's own thread still waits before it helps others */
} fnn_range;

typedef struct {
    int count; /* threads that take part */
    int spins;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_uint generation;
    atomic_int sleepers;
    fnn_mutex mutex;
    fnn_condition woken;
    fnn_range ranges[FNN_MAX_THREADS];
} fnn_team;

/* Runs worker(context, thread) on up to `threads` threads; team->count says on how many. start(context) runs on one thread
 * before any worker does, and a second time if there turn out to be fewer threads than team->count said at the first. */
void fnn_team_run(fnn_team *team, int threads, void (*start)(void *context), void (*worker)(void *context, int thread),
                  void *context);

/* Shares out the tiles 0 ... tiles - 1 of the next phase. Called only by `start` and by the `between` of a wait. */
void fnn_team_set_tiles(fnn_team *team, size_t tiles);

/* The number of the tile that this thread is to work on next; SIZE_MAX when the phase has none left. */
size_t fnn_team_claim(fnn_team *team, int thread);

/* Waits until every thread of the team has called this; the last one runs between(context) before any of them returns. */
void fnn_team_wait(fnn_team *team, void (*between)(void *context), void *context);

/* From fnn_flush_denormals on, denormal numbers count as zero on this thread; it returns the floating-point mode that was
 * there before, which fnn_restore_mode takes. */
unsigned long fnn_flush_denormals(void);
void fnn_restore_mode(unsigned long mode);

#endif
