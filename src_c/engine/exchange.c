/* Sums for the processes that train one model: to = a + b for whole buffers of gradients. */

#include "engine/sizes.h"
#include "fastnn.h"
#include "host/team.h"
#include "tuning.h"

typedef struct {
    const fnn_kernels *kernels;
    const void *a, *b;
    void *to;
    size_t n;
    int is_double;
    fnn_team team;
} addition;

static void start_adding(void *context) {
    addition *job = context;
    fnn_team_set_tiles(&job->team, blocks(job->n, FNN_ADDED));
}

static void add_tiles(void *context, int thread) {
    addition *job = context;
    size_t tile;
    while ((tile = fnn_team_claim(&job->team, thread)) != SIZE_MAX) {
        const size_t first = tile * FNN_ADDED, n = at_most(job->n - first, FNN_ADDED);
        if (job->is_double) {
            const double *a = (const double *)job->a + first, *b = (const double *)job->b + first;
            job->kernels->f64->add_rows(&a, &b, 0, (double *)job->to + first, 0, 1, n);
        } else {
            const float *a = (const float *)job->a + first, *b = (const float *)job->b + first;
            job->kernels->f32->add_rows(&a, &b, 0, (float *)job->to + first, 0, 1, n);
        }
    }
}

void fnn_add_arrays(const fnn_kernels *kernels, int is_double, const void *a, const void *b, void *to, size_t n,
                    int threads) {
    addition job = {.kernels = kernels, .a = a, .b = b, .to = to, .n = n, .is_double = is_double};
    const size_t tiles = at_least(blocks(n, FNN_ADDED), 1);
    fnn_team_run(&job.team, (int)at_most((size_t)threads, tiles), start_adding, add_tiles, &job);
}
