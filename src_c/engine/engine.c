/* The engine's interface (fastnn.h), with a branch on the element type where the walk over a network begins. */

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/traits.h"
#include "engine/sizes.h"
#include "tuning.h"
#include "fastnn.h"
#include "host/team.h"
#include "host/watch.h"

#include "engine/ops/traits.inc"
#include "engine/ways.inc"
#include "engine/shards.inc"
#include "engine/shapes.inc"
#include "engine/parameters.inc"
#include "engine/update/tiles.inc"
#include "engine/run/threads.inc"
#include "engine/ops/fits.inc"
#include "engine/check.inc"

/* FN_TYPE: the member of fnn_kernels that holds the kernels for the element type. */
#define FNN_REAL_IS_DOUBLE 0
#define FN_TYPE f32
#include "real.h"
#include "engine/of_type.inc"
#undef FNN_REAL_IS_DOUBLE
#undef FN_TYPE

#define FNN_REAL_IS_DOUBLE 1
#define FN_TYPE f64
#include "real.h"
#include "engine/of_type.inc"
#undef FNN_REAL_IS_DOUBLE
#undef FN_TYPE

/* The traits of ops are the same for both element types. */
const fnn_traits *fnn_traits_of(const fnn_op *op) {
    return &fnn_row_of_f32(op)->traits;
}

/* ---- the interface: one branch on the element type ---- */

size_t fnn_workspace_bytes(const fnn_model *model, size_t batch, int threads) {
    fnn_bump bump = {NULL, 0};
    fnn_workspace_f32 w32;
    fnn_workspace_f64 w64;
    const size_t bytes = model->is_double ? fnn_lay_out_f64(model, batch, threads, 1, bump, &w64)
                                          : fnn_lay_out_f32(model, batch, threads, 1, bump, &w32);
    return fnn_add(bytes, sizeof(fnn_remains));
}

/* Bytes that one thread needs to take `rows` rows through the network. */
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

static void clear_sums(const fnn_model *model, fnn_run *run) {
    if (run->passes & FNN_LOSS) {
        memset(run->sums, 0, (model->exchange ? model->exchange->count : 1) * model->sum_size * sizeof *run->sums);
    }
}

int fnn_wants_blas(const fnn_model *model) {
    static const fnn_blas some = {NULL, NULL};
    fnn_model with = *model;
    with.blas = &some;
    with.large_side = fnn_large_side(&with, SIZE_MAX);
    for (size_t k = 0; k < model->op_count; k++) {
        if (way_of(&with, &model->ops[k], SIZE_MAX, 1) == FNN_BLAS) {
            return 1;
        }
    }
    return 0;
}

fnn_status fnn_train(const fnn_model *model, const fnn_data *data, fnn_run *run, void *workspace) {
    clear_sums(model, run);
    run->first_nonfinite = -1;
    run->threads = model->blas && run->threads > FNN_BLAS_THREADS ? FNN_BLAS_THREADS : run->threads;
    run->threads = useful_threads(model, run->batch, run->threads, run->passes & FNN_BACKWARD ? 3 : 1);
    const fnn_paced_call call = fnn_begin_call(model, run->passes, run->batch, run->pace ? 1 : run->threads);
    run->threads = run->pace ? run->threads : call.threads;
    const fnn_status status =
        model->is_double ? fnn_train_f64(model, data, run, workspace) : fnn_train_f32(model, data, run, workspace);
    fnn_end_call(&call);
    return status;
}

const char *fnn_phase_name(const fnn_model *model, const void *workspace, size_t index) {
    return model->is_double ? fnn_phase_name_f64(workspace, index) : fnn_phase_name_f32(workspace, index);
}

void fnn_apply_gradients(const fnn_model *model, fnn_run *run, void *workspace) {
    const double most = (double)model->parameter_size * element_work / work_per_thread;
    run->passes = FNN_UPDATE;
    const fnn_paced_call call = fnn_begin_call(model, run->passes, 1,
                                               most < 2              ? 1
                                               : most < run->threads ? (int)most
                                                                     : run->threads);
    run->threads = call.threads;
    if (model->is_double) {
        fnn_train_f64(model, NULL, run, workspace);
    } else {
        fnn_train_f32(model, NULL, run, workspace);
    }
    fnn_end_call(&call);
}

void fnn_blend(const fnn_model *model, const void *other, double tau) {
    const size_t n = model->parameter_size;
    const unsigned long mode = fnn_flush_denormals();
    if (tau == 1) { /* zero times what is not finite is not zero */
        memcpy(model->parameters, other, n * (model->is_double ? sizeof(double) : sizeof(float)));
    } else if (model->is_double) {
        model->kernels->f64->average(model->parameters, other, 1 - tau, tau, n);
    } else {
        model->kernels->f32->average(model->parameters, other, 1 - tau, tau, n);
    }
    fnn_restore_mode(mode);
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
    const fnn_paced_call call =
        fnn_begin_call(model, run->passes, data->rows, useful_threads(model, data->rows, run->threads, 1));
    run->threads = call.threads;
    const fnn_status status =
        model->is_double ? fnn_infer_f64(model, data, run, scratch) : fnn_infer_f32(model, data, run, scratch);
    fnn_end_call(&call);
    return status;
}

int fnn_wants_unit(const fnn_model *model) {
    fnn_model with = *model;
    with.matrix_unit = !model->is_double && model->kernels->bf16->multiply_unit != NULL;
    return with.matrix_unit && packs(&with, 0);
}

int fnn_needs_unit(const fnn_model *model) {
    return model->bfloat16 && has_large(model) && fnn_wants_unit(model);
}

int fnn_gradients_along(const fnn_model *model, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                        const void *u, void *y, void *product, int adds) {
    return model->is_double ? fnn_gradients_along_f64(model, x, x_stride, rows, v, u, y, product, adds)
                            : fnn_gradients_along_f32(model, x, x_stride, rows, v, u, y, product, adds);
}

/* ---- frozen models ---- */

static int predict_unwatched(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y) {
    const fnn_frozen *frozen = predictor->own;
    return frozen->run_watched(frozen, x, x_stride, rows, y, NULL);
}

static int vjp_unwatched(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *u,
                         void *y, void *gradient) {
    const fnn_frozen *frozen = predictor->own;
    return frozen->vjp_watched(frozen, x, x_stride, rows, u, 0, y, gradient, NULL);
}

static int jacobian_unwatched(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                              void *jacobian) {
    const fnn_frozen *frozen = predictor->own;
    return frozen->jacobian_watched(frozen, x, x_stride, rows, y, jacobian, NULL);
}

static int jvp_unwatched(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                         void *y, void *tangent) {
    const fnn_frozen *frozen = predictor->own;
    return frozen->jvp_watched(frozen, x, x_stride, rows, v, y, tangent, NULL);
}

static int hvp_unwatched(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                         const void *u, void *y, void *product) {
    const fnn_frozen *frozen = predictor->own;
    return frozen->hvp_watched(frozen, x, x_stride, rows, v, u, 0, y, product, NULL);
}

static size_t derivative_rows(const fnn_model *model, int along) {
    return model->is_double ? fnn_derivative_rows_f64(model, along) : fnn_derivative_rows_f32(model, along);
}

/* Takes the memory of a frozen model beside the struct, which is filled in; or only measures it where memory->at is NULL. */
static void lay_out_frozen(const fnn_model *model, fnn_bump *memory, fnn_frozen *frozen) {
    const void **transposed = fnn_take(memory, model->op_count, sizeof *transposed);
    for (size_t k = 0; k < model->op_count; k++) {
        const void *copy = model->is_double ? (const void *)fnn_transposed_kernel_f64(model, k, memory)
                                            : (const void *)fnn_transposed_kernel_f32(model, k, memory);
        if (memory->at) {
            transposed[k] = copy;
        }
    }
    frozen->transposed = transposed;
    frozen->straight = model->is_double ? fnn_lay_out_straight_f64(model, transposed, memory)
                                        : fnn_lay_out_straight_f32(model, transposed, memory);
    frozen->derivative_layout = model->is_double ? fnn_derivative_layout_f64(model, transposed, memory)
                                                 : fnn_derivative_layout_f32(model, transposed, memory);
}

size_t fnn_frozen_bytes(const fnn_model *model) {
    fnn_bump bump = {NULL, 0};
    fnn_frozen frozen;
    fnn_take(&bump, 1, sizeof frozen);
    lay_out_frozen(model, &bump, &frozen);
    return bump.used;
}

/* fnn_frozen.few_rows. So few rows fit on the stack and are not worth two threads, and no product of theirs goes to the matrix
 * unit. */
static size_t few_rows(const fnn_model *model, size_t rows_per_tile) {
    size_t rows = has_large(model) ? 0 : at_most(rows_per_tile, model->kernels->f32->enough_rows);
    while (rows && (useful_threads(model, rows, FNN_MAX_THREADS, 1) > 1 || calls_unit(model, rows))) {
        rows--;
    }
    return rows;
}

/* fnn_frozen.straight_rows. What goes back is as much work as what goes forward. */
static size_t straight_rows(const fnn_model *model, size_t few) {
    return at_most(few / 2, model->is_double ? fnn_straight_rows_f64(model) : fnn_straight_rows_f32(model));
}

fnn_frozen *fnn_freeze(const fnn_model *model, const int *threads, void *memory) {
    const size_t element = model->is_double ? sizeof(double) : sizeof(float);
    const size_t stride = padded_stride(widest_output(model), element);
    const int chain = is_chain(model);
    fnn_bump bump = {.at = memory};
    fnn_frozen *frozen = fnn_take(&bump, 1, sizeof *frozen);
    size_t rows = chain ? FNN_STACK_BYTES / 2 / element / stride : (size_t)FNN_INFER_ROWS;
    while (!chain && rows && inference_bytes(model, rows) > FNN_STACK_BYTES) {
        rows /= 2;
    }
    *frozen = (fnn_frozen){.predictor = {.run = predict_unwatched,
                                         .inputs = model->inputs,
                                         .outputs = model->ops[model->op_count - 1].outputs,
                                         .is_double = model->is_double,
                                         .version = FNN_PREDICTOR_VERSION,
                                         .size = sizeof(fnn_predictor),
                                         .vjp = vjp_unwatched,
                                         .jvp = jvp_unwatched,
                                         .jacobian = jacobian_unwatched,
                                         .hvp = hvp_unwatched,
                                         .own = frozen},
                           .run_watched = model->is_double ? fnn_predict_f64 : fnn_predict_f32,
                           .vjp_watched = model->is_double ? fnn_vjp_f64 : fnn_vjp_f32,
                           .jvp_watched = model->is_double ? fnn_jvp_f64 : fnn_jvp_f32,
                           .jacobian_watched = model->is_double ? fnn_jacobian_f64 : fnn_jacobian_f32,
                           .hvp_watched = model->is_double ? fnn_hvp_f64 : fnn_hvp_f32,
                           .rows_per_tile = (int)at_most(rows, FNN_INFER_ROWS),
                           .stride = chain ? stride : 0,
                           .few_rows = few_rows(model, at_most(rows, FNN_INFER_ROWS)),
                           .derivative_rows = {derivative_rows(model, 0), derivative_rows(model, 1)},
                           .threads = threads,
                           .model = model};
    if (has_small(model)) { /* the way back needs kernels in float32 */
        frozen->predictor.vjp = NULL;
        frozen->predictor.jvp = NULL;
        frozen->predictor.jacobian = NULL;
        frozen->predictor.hvp = NULL;
    }
    frozen->straight_rows = straight_rows(model, frozen->few_rows);
    lay_out_frozen(model, &bump, frozen);
    return frozen;
}
