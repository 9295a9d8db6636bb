/* Many small models at once: each runs on one thread, as if it were alone. */

#include "engine/sizes.h"
#include "fastnn.h"
#include "host/team.h"

typedef struct {
    fnn_member *members;
    size_t count, most_rows;
    int64_t *orders; /* (threads, most_rows) */
    const fnn_progress *progress;
    double next_poll;
    fnn_team *team;
    atomic_size_t done; /* how many members have run */
    atomic_int stop;    /* all runs end with their last finished step */
    atomic_int failed;  /* a run has failed: the others end with the epoch that they are in */
} many_job;

static void start_many(void *context) {
    many_job *job = context;
    fnn_team_set_tiles(job->team, job->count);
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

/* order[i] = the row at place i of the member's epoch: of its `rows`, or of all where these are NULL. */
static void shuffle_rows(const fnn_member *member, const int64_t *rows, size_t epoch, int64_t *order) {
    fnn_epoch_order(member->seed, member->first_epoch + epoch, member->data.rows, order);
    for (size_t i = 0; rows && i < member->data.rows; i++) {
        order[i] = rows[order[i]];
    }
}

/* An epoch may be too short for its run to ask whether to stop: that is asked between two epochs too. */
static fnn_status train_member(many_watch *watch, fnn_member *member, int64_t *order) {
    const int64_t *rows = member->data.order;
    double *sums = member->run.sums;
    fnn_data data = member->data;
    data.rows = at_most(data.rows, member->most);
    fnn_status status = FNN_OK;
    for (size_t epoch = 0; epoch < member->epochs && status == FNN_OK; epoch++) {
        if (epoch > 0 && atomic_load_explicit(&watch->job->failed, memory_order_relaxed)) {
            break;
        }
        if (epoch > 0 && watch_many(watch, 0, sums)) {
            return FNN_STOPPED;
        }
        if (member->shuffles) {
            shuffle_rows(member, rows, epoch, order);
            data.order = order;
        }
        member->run.sums = sums + epoch * member->model->sum_size;
        status = fnn_train(member->model, &data, &member->run, member->workspace);
        member->first_nonfinite[epoch] = member->run.first_nonfinite;
        member->epochs_done += status == FNN_OK;
    }
    return status;
}

static void run_member(many_watch *watch, fnn_member *member) {
    many_job *job = watch->job;
    member->status = member->infers ? fnn_infer(member->model, &member->data, &member->run, member->workspace)
                                    : train_member(watch, member, job->orders + (size_t)watch->thread * job->most_rows);
    if (member->status != FNN_OK) {
        atomic_store_explicit(&job->failed, 1, memory_order_relaxed);
    }
}

static void many_worker(void *context, int thread) {
    many_job *job = context;
    many_watch watch = {job, thread};
    const fnn_progress progress = {watch_many, &watch, job->progress ? job->progress->interval : 0.02};
    size_t tile;
    while ((tile = fnn_team_claim(job->team, thread)) != SIZE_MAX) {
        fnn_member *member = &job->members[tile];
        member->run.progress = &progress;
        member->run.threads = 1;
        member->status = FNN_STOPPED;
        if (!watch_many(&watch, 0, member->run.sums)) {
            run_member(&watch, member);
        }
        atomic_fetch_add(&job->done, 1);
    }
    while (thread == 0 && job->progress && atomic_load(&job->done) < job->count) {
        fnn_doze();
        watch_many(&watch, 0, job->members[0].run.sums);
    }
}

/* One member after the other, each on all its threads. */
static fnn_status infer_in_turn(fnn_member *members, size_t count, const fnn_progress *progress) {
    fnn_status status = FNN_OK;
    for (size_t k = 0; k < count && status == FNN_OK; k++) {
        fnn_member *member = &members[k];
        member->run.progress = progress;
        status = member->status = fnn_infer(member->model, &member->data, &member->run, member->workspace);
    }
    return status;
}

fnn_status fnn_run_many(fnn_member *members, size_t count, int threads, int64_t *orders, size_t most_rows,
                        const fnn_progress *progress) {
    int any_trains = 0;
    for (size_t k = 0; k < count; k++) {
        any_trains |= !members[k].infers;
    }
    if (!any_trains &&
        count < 2 * (size_t)threads) { /* side by side they would leave threads without work at the end */
        return infer_in_turn(members, count, progress);
    }
    fnn_team team;
    many_job job = {.members = members,
                    .count = count,
                    .most_rows = most_rows,
                    .orders = orders,
                    .progress = progress,
                    .team = &team};
    job.next_poll = fnn_seconds() + (progress ? progress->interval : 0);
    fnn_team_run(&team, threads, start_many, many_worker, &job);
    return atomic_load(&job.stop) ? FNN_STOPPED : FNN_OK;
}
