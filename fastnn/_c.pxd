"""The C interface as Cython sees it: src_c/fastnn.h, for this build alone."""

from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "fastnn.h" nogil:
    enum:
        FNN_ALIGNMENT, FNN_PADDING, FNN_MAX_THREADS, FNN_SLOTS
        FNN_LOSS, FNN_BACKWARD, FNN_UPDATE, FNN_INPUT_GRADIENT, FNN_TRAINING, FNN_CHECK, FNN_NO_GRADIENTS
        FNN_OK, FNN_STOPPED, FNN_NOT_FINITE, FNN_OUTSIDE, FNN_LABEL, FNN_ROW, FNN_NUMBERS, FNN_KERNEL, FNN_BIAS
        FNN_OP_UNSCALE
    ctypedef struct fnn_product_f32:
        const float *const *a
        int by_depth
        size_t first
        const float *b
        int transposed
        size_t b_stride
        const float *bias
        int relu
        float *c
        size_t c_stride, rows, depth, columns
    ctypedef struct fnn_product_f64:
        const double *const *a
        int by_depth
        size_t first
        const double *b
        int transposed
        size_t b_stride
        const double *bias
        int relu
        double *c
        size_t c_stride, rows, depth, columns
    ctypedef struct fnn_kernels_f32:
        void (*multiply_packed)(const fnn_product_f32 *product, float *scratch) noexcept
    ctypedef struct fnn_kernels_f64:
        void (*multiply_packed)(const fnn_product_f64 *product, double *scratch) noexcept
        size_t packed_scratch
    ctypedef struct fnn_small_weights:
        const void *numbers
        const float *scales
        const double *sums
        int32_t kind
    ctypedef struct fnn_small_kernels:
        size_t inputs, lanes
    ctypedef struct fnn_bf16_kernels:
        void (*multiply_rounded)(const fnn_product_f32 *product, float *scratch) noexcept
        void (*multiply_unit)(const fnn_product_f32 *product, float *scratch) noexcept
        void (*enter_unit)() noexcept
        void (*leave_unit)() noexcept
        size_t packed_scratch
    ctypedef struct fnn_kernels:
        const fnn_kernels_f32 *f32
        const fnn_kernels_f64 *f64
        const fnn_bf16_kernels *bf16
        const fnn_small_kernels *small[2]
    ctypedef struct fnn_schedule:
        int code
        unsigned shares
        double numbers[6]
        const double *boundaries
        const double *values
        size_t pieces
    ctypedef struct fnn_course:
        int64_t first, steps
    ctypedef struct fnn_op:
        int32_t code, activation, mode
        size_t inputs, outputs
        ptrdiff_t kernel, bias
        double numbers[4]
        ptrdiff_t mean, variance, input
        size_t first
        ptrdiff_t source, join
        size_t column
        int64_t seed
        const fnn_schedule *schedule
        int32_t frozen, fused
        const double *vector
        size_t vector_size
        const fnn_small_weights *small
        int32_t sparse
        double l1, l2
    ctypedef struct fnn_head:
        int loss, reduction, fused
        size_t first, columns, target_first, target_columns, label
        double weight
        double numbers[4]
        const double *vector
        size_t vector_size
    ctypedef struct fnn_measure:
        int metric, weighted
        size_t head_index
        fnn_head head
        size_t state, state_size
    ctypedef struct fnn_hyperparameters:
        int code
        double numbers[12]
        fnn_schedule schedule, weight_decay
        double clipnorm, global_clipnorm, clipvalue
        int64_t accumulation_steps
        double ema_momentum
        int64_t ema_overwrite_frequency
    ctypedef struct fnn_parameter_settings:
        double multiplier, decay, l1, l2, cosines
        int32_t by_columns, second, constraint
        double low, high, rate
    ctypedef struct fnn_stripe:
        size_t op, first, rows
    ctypedef struct fnn_blas:
        void *fnn_gemm_f32
        void *fnn_gemm_f64
    ctypedef struct fnn_head_terms:
        fnn_schedule smoothing
        ptrdiff_t scaling
    ctypedef struct fnn_node:
        size_t first, end
    enum:
        FNN_NODES, FNN_MOST_SHARDS
    int FNN_COUNTS, FNN_MOMENTS, FNN_GRADIENTS, FNN_PARAMETERS
    ctypedef struct fnn_exchange:
        size_t shards, first, count, batch
        int sharded, whole_moments, shares
        size_t low, high, part_size, node_count
        const fnn_node *nodes
        int (*function)(void *context, int what, void *values, size_t size) noexcept nogil
        void *context
    size_t fnn_list_nodes(size_t shards, size_t first, size_t count, fnn_node *nodes)
    void fnn_add_arrays(const fnn_kernels *kernels, int is_double, const void *a, const void *b, void *to, size_t n,
                        int threads)
    ctypedef struct fnn_model:
        int is_double, bfloat16
        const fnn_blas *blas
        int matrix_unit
        const fnn_kernels *kernels
        size_t inputs, op_count
        const fnn_op *ops
        size_t parameter_size
        void *parameters
        void *gradients
        void *slots[3]
        void *average
        void *accumulated
        int optimizer
        const fnn_parameter_settings *settings
        size_t large_side
        size_t stripe_count
        const fnn_stripe *stripes
        size_t head_count, measure_count
        const fnn_head *heads
        const fnn_head_terms *terms
        const fnn_measure *measures
        int mixes
        const fnn_exchange *exchange
        size_t label_columns, sum_size
        size_t batch_entries, row_entries
    ctypedef struct fnn_data:
        const void *x
        ptrdiff_t x_stride
        const void *targets
        ptrdiff_t target_stride
        const int32_t *labels
        ptrdiff_t label_stride
        const void *weights
        ptrdiff_t weight_stride
        size_t weight_columns
        const int64_t *order
        size_t rows, available
        const int64_t *starts
        const int32_t *columns
        const void *values
    int FNN_SPARSE_UNSORTED, FNN_SPARSE_STARTS, FNN_SPARSE_COLUMN
    int fnn_check_sparse(const int64_t *starts, const int32_t *columns, size_t rows, size_t entries, size_t features)
    ctypedef struct fnn_progress:
        int (*function)(void *context, size_t steps_done, const double *sums) noexcept nogil
        void *context
        double interval
    ctypedef struct fnn_batch:
        size_t start, rows
        const void *output
        void *gradient
        size_t stride
        double *row_losses
        size_t row_stride
        const double *divisors
        double *sums
    ctypedef struct fnn_functions:
        int (*function)(void *context, const fnn_batch *batch) noexcept nogil
        void *context
    ctypedef struct fnn_pace:
        pass
    ctypedef struct fnn_outside:
        int what
        int64_t value
        size_t bound
    ctypedef struct fnn_run:
        int passes
        int threads
        size_t batch
        fnn_hyperparameters optimizer
        int64_t iterations
        fnn_course course
        double momentum_product
        uint64_t seed
        double mixup
        const fnn_progress *progress
        const fnn_functions *functions
        fnn_pace *pace
        double *sums
        double *tile_sums
        int64_t first_nonfinite
        fnn_outside outside
        const void *output_gradient
        void *output
        void *input_gradient
    ctypedef struct fnn_stretch:
        int threads
        double seconds
    fnn_stretch fnn_next_stretch(fnn_pace *pace, int threads, size_t batch)
    void fnn_end_stretch(fnn_pace *pace, int threads, double steps, double seconds)
    const char *fnn_isa_name(int isa)
    int fnn_isa_available(int isa)
    const fnn_kernels *fnn_isa_kernels(int isa)
    int fnn_isa_allows_unit(int isa)
    int fnn_isa_prefers_blas(int isa, int is_double)
    int fnn_wants_unit(const fnn_model *model)
    int fnn_needs_unit(const fnn_model *model)
    void fnn_link(fnn_op *ops, size_t count)
    size_t fnn_workspace_bytes(const fnn_model *model, size_t batch, int threads)
    size_t fnn_scratch_bytes(const fnn_model *model, size_t rows, int threads)
    size_t fnn_large_side(const fnn_model *model, size_t batch)
    int fnn_wants_blas(const fnn_model *model)
    void fnn_multiply_blas_f32(const fnn_blas *blas, const fnn_product_f32 *product, float *room, size_t size,
                               size_t most)
    void fnn_multiply_blas_f64(const fnn_blas *blas, const fnn_product_f64 *product, double *room, size_t size,
                               size_t most)
    size_t fnn_stripes(const fnn_model *model, fnn_stripe *stripes)
    size_t fnn_tile_sums(const fnn_model *model)
    int fnn_fuses(const fnn_model *model, const fnn_op *op, int loss)
    size_t fnn_state_size(const fnn_measure *measure)
    ctypedef struct fnn_member:
        const fnn_model *model
        fnn_data data
        fnn_run run
        void *workspace
        int infers
        size_t epochs, most
        int shuffles
        uint64_t seed, first_epoch
        int64_t *first_nonfinite
        size_t epochs_done
        int status
    int fnn_run_many(fnn_member *members, size_t count, int threads, int64_t *orders, size_t most_rows,
                     const fnn_progress *progress)
    void fnn_epoch_order(uint64_t seed, uint64_t epoch, size_t rows, int64_t *order)
    double fnn_beta(uint64_t seed, uint64_t step, double alpha)
    int fnn_train(const fnn_model *model, const fnn_data *data, fnn_run *run, void *workspace)
    const char *fnn_phase_name(const fnn_model *model, const void *workspace, size_t index)
    void fnn_apply_gradients(const fnn_model *model, fnn_run *run, void *workspace)
    double fnn_scheduled(const fnn_schedule *schedule, fnn_course course, int64_t step)
    int fnn_has_norms(const fnn_model *model)
    int fnn_stores_gradients(const fnn_hyperparameters *optimizer)
    int fnn_takes_long(const fnn_model *model, size_t batch)
    void fnn_blend(const fnn_model *model, const void *other, double tau)
    int fnn_gradients_along(const fnn_model *model, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                            const void *u, void *y, void *product, int adds)
    size_t fnn_penalty_bytes(const fnn_model *model)
    int fnn_penalty(const fnn_model *model, void *scratch, const fnn_progress *progress, double *penalty)
    int fnn_infer(const fnn_model *model, const fnn_data *data, fnn_run *run, void *scratch)
    ctypedef struct fnn_predictor:
        int (*run)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y) \
            noexcept nogil
        size_t inputs, outputs
        int (*vjp)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *u,
                   void *y, void *gradient) noexcept nogil
    ctypedef struct fnn_frozen:
        fnn_predictor predictor
        int (*run_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                           const fnn_progress *progress) noexcept nogil
        int (*vjp_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, const void *u,
                           size_t output, void *y, void *gradient, const fnn_progress *progress) noexcept nogil
        int (*jacobian_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                                void *jacobian, const fnn_progress *progress) noexcept nogil
        int (*jvp_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                           void *y, void *tangent, const fnn_progress *progress) noexcept nogil
        int (*hvp_watched)(const fnn_frozen *frozen, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
                           const void *u, size_t output, void *y, void *product,
                           const fnn_progress *progress) noexcept nogil
    size_t fnn_frozen_bytes(const fnn_model *model)
    fnn_frozen *fnn_freeze(const fnn_model *model, const int *threads, void *memory)
    int fnn_all_finite(const fnn_kernels *kernels, int is_double, const void *x, ptrdiff_t stride, size_t rows,
                       size_t columns, int threads, const fnn_progress *progress)
    int fnn_openmp()
    int fnn_prepare_threads(int *threads)
    unsigned fnn_forks()
    unsigned long fnn_forking_thread()
    int fnn_allowed_threads(int threads)
    const char *fnn_compiler()
    ctypedef struct fnn_piece:
        pass
    const char *fnn_modes_of(int code)


cdef extern from "library/file.h" nogil:
    ctypedef struct fnn_file_head:
        size_t op_count
    ctypedef struct fnn_message:
        char text[256]
    int fnn_read_head(const unsigned char *bytes, size_t size, fnn_file_head *head, fnn_message *message)
    int fnn_read_model(const unsigned char *bytes, const fnn_file_head *head, const fnn_kernels *kernels, fnn_op *ops,
                       fnn_piece *pieces, fnn_model *model, fnn_message *message)


cdef extern from "fnn_names.h" nogil:
    ctypedef struct fnn_name:
        const char *list
        const char *name
        int number
    const fnn_name fnn_names[1]
    size_t fnn_name_count


cdef extern from "engine/ops/traits.h" nogil:
    enum:
        FNN_MATRIX
    ctypedef struct fnn_traits:
        int kernel, is_noise, uses_batch
    const fnn_traits *fnn_traits_of(const fnn_op *op)
