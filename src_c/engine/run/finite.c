/* Whether all numbers of a matrix are finite. */

#include "engine/sizes.h"
#include "tuning.h"
#include "fastnn.h"
#include "host/watch.h"

typedef struct {
    const fnn_kernels *kernels;
    int is_double;
    const char *x;
    ptrdiff_t stride;
    size_t rows, columns, tile_rows;
    fnn_watch watch;
    fnn_team *team;
    atomic_int end; /* an fnn_status */
} finite_job;

static void start_finite(void *context) {
    finite_job *job = context;
    fnn_team_set_tiles(job->team, blocks(job->rows, job->tile_rows));
}

static void finite_worker(void *context, int thread) {
    finite_job *job = context;
    size_t tile;
    while (!atomic_load_explicit(&job->end, memory_order_relaxed) &&
           (tile = fnn_team_claim(job->team, thread)) != SIZE_MAX) {
        const size_t end = (tile + 1) * job->tile_rows < job->rows ? (tile + 1) * job->tile_rows : job->rows;
        const int whole = job->stride == (ptrdiff_t)job->columns; /* rows without gaps are one long row */
        const size_t columns = whole ? (end - tile * job->tile_rows) * job->columns : job->columns;
        for (size_t i = tile * job->tile_rows; i < end; i = whole ? end : i + 1) {
            const char *row =
                job->x + (ptrdiff_t)i * job->stride * (ptrdiff_t)(job->is_double ? sizeof(double) : sizeof(float));
            const int finite = job->is_double ? job->kernels->f64->all_finite((const double *)row, columns)
                                              : job->kernels->f32->all_finite((const float *)row, columns);
            if (!finite) {
                atomic_store_explicit(&job->end, FNN_NOT_FINITE, memory_order_relaxed);
                return;
            }
        }
        if (thread == 0 && asks_to_stop(&job->watch)) {
            atomic_store_explicit(&job->end, FNN_STOPPED, memory_order_relaxed);
        }
    }
}

fnn_status fnn_all_finite(const fnn_kernels *kernels, int is_double, const void *x, ptrdiff_t stride, size_t rows,
                          size_t columns, int threads, const fnn_progress *progress) {
    fnn_team team; /* beside the job, whose fields are set: a team is 16 KB, half of a first-level cache */
    finite_job job = {.kernels = kernels,
                      .is_double = is_double,
                      .x = x,
                      .stride = stride,
                      .rows = rows,
                      .columns = columns,
                      .watch = watch_with(progress),
                      .team = &team};
    job.tile_rows = at_least((size_t)FNN_SWEEP / at_least(columns, 1), 1);
    const size_t tiles = blocks(rows, job.tile_rows);
    const fnn_paced_call call = fnn_begin_call(NULL, is_double, tiles, tiles < FNN_SWEEP_TILES ? 1 : threads);
    fnn_team_run(&team, call.threads, start_finite, finite_worker, &job);
    fnn_end_call(&call);
    return (fnn_status)atomic_load(&job.end);
}
