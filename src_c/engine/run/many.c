/* Many small models at once: each is trained on one thread, as if it were alone. */

#include "engine/sizes.h"
#include "fastnn.h"
#include "host/team.h"

typedef struct {
    fnn_member *members;
    size_t count, most_rows;
    int64_t *orders; /* (threads, most_rows) */
    const fnn_progress *progress;
    double next_poll;
    fnn_team team;
    atomic_size_t done; /* how many members are trained */
    atomic_int stop;
} many_job;

static void start_many(void *context) {
    many_job *job = context;
    fnn_team_set_tiles(&job->team, job->count);
}

/* The progress of a member's run, called between its steps. Any thread learns here that all runs are to stop; only the
 * calling thread asks. */
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

static void train_member(many_job *job, fnn_member *member, int thread) {
    if (member->shuffles) {
        int64_t *order = job->orders + (size_t)thread * job->most_rows;
        fnn_epoch_order(member->seed, member->epoch, member->data.rows, order);
        member->data.order = order;
    }
    member->status = fnn_train(member->model, &member->data, &member->run, member->workspace);
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
            train_member(job, member, thread);
        }
        atomic_fetch_add(&job->done, 1);
    }
    while (thread == 0 && job->progress && atomic_load(&job->done) < job->count) {
        fnn_doze();
        watch_many(&watch, 0, job->members[0].run.sums);
    }
}

fnn_status fnn_train_many(fnn_member *members, size_t count, int threads, int64_t *orders, size_t most_rows,
                          const fnn_progress *progress) {
    many_job job = {.members = members, .count = count, .most_rows = most_rows, .orders = orders, .progress = progress};
    job.next_poll = fnn_seconds() + (progress ? progress->interval : 0);
    fnn_team_run(&job.team, threads, start_many, many_worker, &job);
    return atomic_load(&job.stop) ? FNN_STOPPED : FNN_OK;
}
