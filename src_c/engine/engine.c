/* The walk over a network: what does not depend on the element type, then memory.inc for each of them. */

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fastnn.h"
#include "host/team.h"

#include "engine/shapes.inc"
#include "host/pace.inc"
#include "host/watch.inc"

#define FNN_REAL_IS_DOUBLE 0
#define FN_TABLE f32
#include "real.h"
#include "engine/memory.inc"
#include "engine/run/job.inc"
#include "engine/run/batch.inc"
#include "engine/run/loss.inc"
#include "engine/ops/chains.inc"
#include "engine/ops/common.inc"
#include "engine/ops/dense.inc"
#include "engine/ops/ops.inc"
#include "engine/update/cosines.inc"
#include "engine/update/update.inc"
#include "engine/update/rest.inc"
#include "engine/run/phases.inc"
#include "engine/run/walk.inc"
#include "engine/run/stripes.inc"
#include "engine/run/train.inc"
#include "engine/run/infer.inc"
#include "engine/run/predict.inc"
#undef FNN_REAL_IS_DOUBLE
#undef FN_TABLE

#define FNN_REAL_IS_DOUBLE 1
#define FN_TABLE f64
#include "real.h"
#include "engine/memory.inc"
#include "engine/run/job.inc"
#include "engine/run/batch.inc"
#include "engine/run/loss.inc"
#include "engine/ops/chains.inc"
#include "engine/ops/common.inc"
#include "engine/ops/dense.inc"
#include "engine/ops/ops.inc"
#include "engine/update/cosines.inc"
#include "engine/update/update.inc"
#include "engine/update/rest.inc"
#include "engine/run/phases.inc"
#include "engine/run/walk.inc"
#include "engine/run/stripes.inc"
#include "engine/run/train.inc"
#include "engine/run/infer.inc"
#include "engine/run/predict.inc"
#undef FNN_REAL_IS_DOUBLE
#undef FN_TABLE

/* ---- the interface: one branch on the element type ---- */

size_t fnn_workspace_bytes(const fnn_model *model, size_t batch, int threads) {
    fnn_bump bump = {NULL, 0};
    fnn_workspace_f32 w32;
    fnn_workspace_f64 w64;
    const size_t bytes = model->is_double ? fnn_lay_out_f64(model, batch, threads, 1, bump, &w64)
                                          : fnn_lay_out_f32(model, batch, threads, 1, bump, &w32);
    return fnn_add(bytes, sizeof(size_t[8]));
}

/* Of what one thread needs to take `rows` rows through the network. */
static size_t inference_bytes(const fnn_model *model, size_t rows) {
    fnn_bump bump = {NULL, 0};
    fnn_workspace_f32 w32;
    fnn_workspace_f64 w64;
    return model->is_double ? fnn_lay_out_f64(model, rows, 1, 0, bump, &w64)
                            : fnn_lay_out_f32(model, rows, 1, 0, bump, &w32);
}

size_t fnn_scratch_bytes(const fnn_model *model, size_t rows, int threads) {
    return fnn_multiply(inference_bytes(model, at_most(rows, infer_tile_height(model))), (size_t)threads);
}

size_t fnn_state_size(const fnn_measure *measure) {
    const fnn_head *rule = &measure->rule;
    const size_t first = (size_t)rule->numbers[0], columns = rule->columns;
    switch (measure->metric) {
        case FNN_THRESHOLD_COUNTS: {
            const size_t width = fnn_add(1, first ? first : rule->vector_size);
            return fnn_add(fnn_multiply((int)rule->numbers[3] & 1 ? columns : 1, fnn_multiply(2, width)), 1);
        }
        case FNN_CLASS_COUNTS:
            return fnn_multiply(columns, 3);
        case FNN_SQUARES:
            return fnn_add(fnn_multiply(columns, 4), 2);
        case FNN_CLASS_MATRIX:
            return fnn_add(fnn_multiply(first, first), 1);
        default:
            return 2;
    }
}

/* The state of squares (metric.inc) of more rows, added to the one of others (Chan, Golub and LeVeque 1983). */
static void merge_squares(size_t columns, double *state, const double *more) {
    double *rows = state + 4 * columns;
    const double here = rows[0], there = more[4 * columns], weights = here + there;
    const double share = weights != 0 ? there / weights : 0;
    if (rows[1] == 0) {
        memcpy(state, more, (4 * columns + 2) * sizeof *state);
        return;
    }
    for (size_t j = 0; j < columns && more[4 * columns + 1] != 0; j++) {
        double *s = state + 4 * j;
        const double *m = more + 4 * j;
        const double apart = m[0] - s[0] + (m[1] - s[1]);
        s[1] += share * apart;
        s[2] += m[2] + here * share * apart * apart;
        s[3] += m[3];
    }
    rows[0] = weights;
    rows[1] += more[4 * columns + 1];
}

void fnn_add_sums(const fnn_model *model, double *sums, const double *more) {
    size_t added = 0; /* states lie in the order of their measures */
    for (size_t m = 0; m <= model->measure_count; m++) {
        const fnn_measure *measure = m < model->measure_count ? &model->measures[m] : NULL;
        if (measure && measure->metric != FNN_SQUARES) {
            continue;
        }
        for (const size_t end = measure ? measure->state : model->sum_size; added < end; added++) {
            sums[added] += more[added];
        }
        if (measure) {
            merge_squares(measure->rule.columns, sums + added, more + added);
            added += measure->state_size;
        }
    }
}

static void clear_sums(const fnn_model *model, fnn_run *run) {
    if (run->passes & FNN_LOSS) {
        memset(run->sums, 0, model->sum_size * sizeof *run->sums);
    }
}

fnn_status fnn_train(const fnn_model *model, const fnn_data *data, fnn_run *run, void *workspace) {
    clear_sums(model, run);
    run->first_nonfinite = -1;
    run->threads = useful_threads(model, run->batch, run->threads, run->passes & FNN_BACKWARD ? 3 : 1);
    const paced_call call = begin_call(model, run->passes, run->batch, run->pace ? 1 : run->threads);
    run->threads = run->pace ? run->threads : call.threads;
    const fnn_status status =
        model->is_double ? fnn_train_f64(model, data, run, workspace) : fnn_train_f32(model, data, run, workspace);
    end_call(&call);
    return status;
}

typedef struct {
    fnn_member *members;
    size_t count, most_rows;
    int64_t *orders; /* most_rows for each thread */
    const fnn_progress *progress;
    double next_poll;
    fnn_team team;
    atomic_size_t done; /* members */
    atomic_int stop;
} many_job;

static void start_many(void *context) {
    many_job *job = context;
    fnn_team_set_tiles(&job->team, job->count);
}

/* Between steps of a member. Any thread learns here that the run is to stop; only the calling one may ask. */
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

void fnn_apply_gradients(const fnn_model *model, fnn_run *run, void *workspace) {
    const double most =
        (double)model->parameter_size * 20.0 / work_per_thread; /* about 20 operations' time an element */
    run->passes = FNN_UPDATE;
    const paced_call call = begin_call(model, run->passes, 1,
                                       most < 2              ? 1
                                       : most < run->threads ? (int)most
                                                             : run->threads);
    run->threads = call.threads;
    if (model->is_double) {
        fnn_train_f64(model, NULL, run, workspace);
    } else {
        fnn_train_f32(model, NULL, run, workspace);
    }
    end_call(&call);
}

size_t fnn_penalty_bytes(const fnn_model *model) {
    fnn_bump bump = {NULL, 0};
    if (model->is_double) {
        fnn_lay_out_cosines_f64(model, 1, &bump);
    } else {
        fnn_lay_out_cosines_f32(model, 1, &bump);
    }
    return bump.used;
}

fnn_status fnn_penalty(const fnn_model *model, void *scratch, const fnn_progress *progress, double *penalty) {
    fnn_watch watch = watch_with(progress);
    return model->is_double ? fnn_penalty_f64(model, scratch, &watch, penalty)
                            : fnn_penalty_f32(model, scratch, &watch, penalty);
}

fnn_status fnn_infer(const fnn_model *model, const fnn_data *data, fnn_run *run, void *scratch) {
    clear_sums(model, run);
    const paced_call call =
        begin_call(model, run->passes, data->rows, useful_threads(model, data->rows, run->threads, 1));
    run->threads = call.threads;
    const fnn_status status =
        model->is_double ? fnn_infer_f64(model, data, run, scratch) : fnn_infer_f32(model, data, run, scratch);
    end_call(&call);
    return status;
}

void fnn_link(fnn_op *ops, size_t count) {
    for (size_t k = 0; k < count; k++) {
        fnn_op *op = &ops[k];
        op->first_reader = (ptrdiff_t)k;
        if (op->code == FNN_OP_JOIN) {
            continue;
        }
        for (size_t before = k; before-- > 0;) {
            if (ops[before].code != FNN_OP_JOIN && ops[before].input == op->input && ops[before].first == op->first) {
                op->first_reader = (ptrdiff_t)before;
            }
        }
        ops[op->first_reader].gathers |= op->first_reader < (ptrdiff_t)k;
        const ptrdiff_t read[2] = {op->input, op->code == FNN_OP_ADD ? ops[op->source].input : -1};
        for (int i = 0; i < 2; i++) {
            if (read[i] >= 0) {
                ops[read[i]].shared |= read[i] + 1 < (ptrdiff_t)k;
            }
        }
        if (op->code == FNN_OP_ADD) {
            ops[op->source].gathers = 1;
        }
    }
}

/* Whether each op reads the output of the one before and nothing else: then two buffers in turn are enough. */
static int is_chain(const fnn_model *model) {
    for (size_t k = 0; k < model->op_count; k++) {
        const fnn_op *op = &model->ops[k];
        if (op->code == FNN_OP_ADD || op->code == FNN_OP_JOIN || op->input != (ptrdiff_t)k - 1 || op->first > 0) {
            return 0;
        }
    }
    return 1;
}

int fnn_wants_unit(const fnn_model *model) {
    fnn_model with = *model;
    with.matrix_unit = !model->is_double && model->kernels->bf16->multiply_unit != NULL;
    return with.matrix_unit && packs(&with, 0);
}

static int predict_unwatched(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y) {
    return predictor->run_watched(predictor, x, x_stride, rows, y, NULL);
}

void fnn_freeze(const fnn_model *model, const int *threads, fnn_predictor *predictor) {
    const size_t element = model->is_double ? sizeof(double) : sizeof(float);
    const size_t stride = padded_stride(widest_output(model), element);
    const int chain = is_chain(model);
    size_t rows = chain ? FNN_STACK_BYTES / 2 / element / stride : (size_t)FNN_INFER_ROWS;
    while (!chain && rows && inference_bytes(model, rows) > FNN_STACK_BYTES) {
        rows /= 2;
    }
    *predictor = (fnn_predictor){.run = predict_unwatched,
                                 .run_watched = model->is_double ? fnn_predict_f64 : fnn_predict_f32,
                                 .inputs = model->inputs,
                                 .outputs = model->ops[model->op_count - 1].outputs,
                                 .is_double = model->is_double,
                                 .rows_per_tile = (int)at_most(rows, FNN_INFER_ROWS),
                                 .stride = chain ? stride : 0,
                                 .threads = threads,
                                 .model = model};
}

typedef struct {
    const fnn_kernels *kernels;
    int is_double;
    const char *x;
    ptrdiff_t stride;
    size_t rows, columns, tile_rows;
    fnn_watch watch;
    fnn_team team;
    atomic_int end; /* an fnn_status */
} finite_job;

static void start_finite(void *context) {
    finite_job *job = context;
    fnn_team_set_tiles(&job->team, (job->rows + job->tile_rows - 1) / job->tile_rows);
}

static void finite_worker(void *context, int thread) {
    finite_job *job = context;
    size_t tile;
    while (!atomic_load_explicit(&job->end, memory_order_relaxed) &&
           (tile = fnn_team_claim(&job->team, thread)) != SIZE_MAX) {
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
    finite_job job = {.kernels = kernels,
                      .is_double = is_double,
                      .x = x,
                      .stride = stride,
                      .rows = rows,
                      .columns = columns,
                      .watch = watch_with(progress)};
    job.tile_rows = at_least((size_t)FNN_SWEEP / at_least(columns, 1), 1);
    const size_t tiles = (rows + job.tile_rows - 1) / job.tile_rows;
    const paced_call call = begin_call(NULL, is_double, tiles, tiles < 8 ? 1 : threads);
    fnn_team_run(&job.team, call.threads, start_finite, finite_worker, &job);
    end_call(&call);
    return (fnn_status)atomic_load(&job.end);
}
