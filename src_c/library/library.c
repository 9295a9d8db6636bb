/* libfastnn: frozen networks for programs without Python, the functions of fastnn_predictor.h. This file is linked into the
 * library alone, beside everything else of src_c/, and holds what the engine in Python holds otherwise: memory, kernels, and
 * the number of threads. */

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library/disk.h"
#include "library/file.h"
#include "engine/sizes.h"
#include "host/system.h"

/* The functions of the public header are all that the library shows; on Windows the linker has a list of them. */
#if defined(_WIN32)
#define FNN_API
#else
#define FNN_API __attribute__((visibility("default")))
#endif

/* A network in memory: one block, in which the bytes of the file come last, and another for what is frozen. */
typedef struct {
    fnn_model model; /* first: the frozen network, whose own first field is what the caller holds, points at it */
    fnn_frozen *frozen;
    fnn_parameter_settings *settings; /* 2 of each op, all zero: nothing is trained */
    fnn_op *ops;
    unsigned char *bytes;
} loaded;

static _Thread_local char last_error[512];
static int threads = 1; /* that a call may use */
static int processors = 1;
static fnn_once_flag once = FNN_ONCE;

static void prepare(void) {
    processors = fnn_prepare_threads(&threads);
}

static int fail(const char *form, ...) __attribute__((format(printf, 1, 2)));

/* Keeps a sentence for fnn_error_message, and returns -1. */
static int fail(const char *form, ...) {
    va_list given;
    va_start(given, form);
    vsnprintf(last_error, sizeof last_error, form, given);
    va_end(given);
    return -1;
}

/* ---- the kernels of this machine ---- */

/* The instruction set that FASTNN_ISA names, or the last one that this processor has; -1 where it has not what is named. */
static int pick_isa(void) {
    const char *wanted = getenv("FASTNN_ISA");
    int picked = -1;
    for (int isa = 0; fnn_isa_name(isa); isa++) {
        if (fnn_isa_available(isa) && (!wanted || !*wanted || strcmp(wanted, fnn_isa_name(isa)) == 0)) {
            picked = isa;
        }
    }
    return picked;
}

static int set_kernels(fnn_model *model, int isa) {
    model->kernels = fnn_isa_kernels(isa);
    if (fnn_wants_unit(model)) {
        model->matrix_unit = fnn_isa_allows_unit(isa);
    }
    if (fnn_needs_unit(model) && !model->matrix_unit) {
        return fail("the system does not let this process use the matrix unit: set FASTNN_ISA=avx512_bf16 in the "
                    "environment");
    }
    return 0;
}

/* ---- a file becomes a network ---- */

/* A network of this size, to whose bytes the file is to be read; what lies around them is zero. */
static loaded *new_network(const fnn_file_head *head) {
    const size_t padding = FNN_PADDING * (head->is_double ? sizeof(double) : sizeof(float));
    const size_t ops = fnn_multiply(head->op_count, sizeof(fnn_op));
    const size_t settings = fnn_multiply(2 * head->op_count, sizeof(fnn_parameter_settings));
    const size_t first = blocks(sizeof(loaded), FNN_ALIGNMENT) * FNN_ALIGNMENT;
    const size_t bytes = blocks(first + ops + settings, FNN_ALIGNMENT) * FNN_ALIGNMENT;
    char *memory = fnn_allocate(fnn_add(bytes, fnn_add(head->size, padding)));
    loaded *network = (loaded *)(void *)memory;
    if (network) {
        memset(memory, 0, bytes);
        memset(memory + bytes + head->size, 0, padding);
        network->ops = (fnn_op *)(void *)(memory + first);
        network->settings = (fnn_parameter_settings *)(void *)(memory + first + ops);
        network->bytes = (unsigned char *)memory + bytes;
    }
    return network;
}

/* Checks the bytes of a network and freezes it. */
static int freeze(loaded *network, const fnn_file_head *head, const char *path) {
    fnn_message message;
    const int isa = pick_isa();
    if (isa < 0) {
        return fail("FASTNN_ISA is %.40s, which this processor or this library has not", getenv("FASTNN_ISA"));
    }
    fnn_piece *pieces = fnn_allocate(head->op_count * sizeof *pieces);
    if (!pieces) {
        return fail("%.200s cannot be loaded: there is no memory for it", path);
    }
    const int status =
        fnn_read_model(network->bytes, head, fnn_isa_kernels(isa), network->ops, pieces, &network->model, &message);
    fnn_release(pieces);
    if (status) {
        return fail("%.200s cannot be loaded: %s", path, message.text);
    }
    network->model.settings = network->settings;
    if (set_kernels(&network->model, isa)) {
        return -1;
    }
    const size_t size = fnn_frozen_bytes(&network->model);
    void *memory = fnn_allocate(size);
    if (!memory) {
        return fail("%.200s cannot be loaded: there is no memory for it", path);
    }
    fnn_call_once(&once, prepare);
    network->frozen = fnn_freeze(&network->model, &threads, memset(memory, 0, size));
    return 0;
}

static int fail_to_read(const char *path, const fnn_disk_file *file) {
    return *path ? fail("%.200s cannot be read: %s", path, file->reason)
                 : fail("path must be the name of a file, got an empty one");
}

/* Reads the network of an open file; NULL where that fails. */
static loaded *read_network(fnn_disk_file *file, const char *path) {
    unsigned char start[FNN_FILE_HEAD];
    fnn_file_head head;
    fnn_message message;
    size_t count;
    if (!file->is_regular) {
        fail("%.200s cannot be loaded: it is no file", path);
        return NULL;
    }
    if (fnn_disk_read(file, start, sizeof start, &count)) {
        fail_to_read(path, file);
        return NULL;
    }
    if (fnn_read_head(start, count < sizeof start ? count : file->size, &head, &message)) {
        fail("%.200s cannot be loaded: %s", path, message.text);
        return NULL;
    }
    loaded *network = new_network(&head);
    if (!network) {
        fail("%.200s cannot be loaded: there is no memory for it", path);
        return NULL;
    }
    memcpy(network->bytes, start, sizeof start);
    const size_t rest = head.size - sizeof start;
    if (fnn_disk_read(file, network->bytes + sizeof start, rest, &count)) {
        fail_to_read(path, file);
    } else if (count < rest) {
        fail("%.200s cannot be loaded: it became shorter meanwhile", path);
    } else if (freeze(network, &head, path) == 0) {
        return network;
    }
    fnn_release(network);
    return NULL;
}

FNN_API const fnn_predictor *fnn_load(const char *path) {
    fnn_disk_file file;
    if (!path) {
        fail("path must be the name of a file, got NULL");
        return NULL;
    }
    if (fnn_disk_open(path, &file)) {
        fail_to_read(path, &file);
        return NULL;
    }
    loaded *network = read_network(&file, path);
    fnn_disk_close(&file);
    return network ? &network->frozen->predictor : NULL;
}

FNN_API const fnn_predictor *fnn_load_bytes(const void *bytes, size_t size) {
    static const char what[] = "the network in memory";
    fnn_file_head head;
    fnn_message message;
    if (!bytes) {
        fail("bytes must be those of a file, got NULL");
        return NULL;
    }
    if (fnn_read_head(bytes, size, &head, &message)) {
        fail("%s cannot be loaded: %s", what, message.text);
        return NULL;
    }
    loaded *network = new_network(&head);
    if (!network) {
        fail("%s cannot be loaded: there is no memory for it", what);
        return NULL;
    }
    memcpy(network->bytes, bytes, size);
    if (freeze(network, &head, what)) {
        fnn_release(network);
        return NULL;
    }
    return &network->frozen->predictor;
}

FNN_API void fnn_free(const fnn_predictor *predictor) {
    if (predictor) {
        const fnn_frozen *frozen = predictor->own;
        fnn_release((void *)(uintptr_t)frozen->model);
        fnn_release((void *)(uintptr_t)frozen);
    }
}

/* ---- what it answers ---- */

FNN_API const char *fnn_error_message(void) {
    return last_error;
}

FNN_API const char *fnn_library_version(void) {
    return FNN_VERSION;
}

FNN_API int fnn_set_threads(int count) {
    fnn_call_once(&once, prepare);
    if (count < 0 || count > FNN_MAX_THREADS) {
        return fail("threads must be a number from 1 to %d, or 0 for all processors, got %d", FNN_MAX_THREADS, count);
    }
    count = !fnn_openmp() ? 1 : count ? count : (int)at_most((size_t)processors, FNN_MAX_THREADS);
    __atomic_store_n(&threads, count, __ATOMIC_RELAXED);
    return count;
}

FNN_API size_t fnn_inputs(const fnn_predictor *predictor) {
    return predictor ? predictor->inputs : 0;
}

FNN_API size_t fnn_outputs(const fnn_predictor *predictor) {
    return predictor ? predictor->outputs : 0;
}

FNN_API int fnn_is_double(const fnn_predictor *predictor) {
    return predictor ? predictor->is_double : 0;
}

/* ---- answers and derivatives ---- */

/* The field of a predictor that may come from another version of fastnn, which has not all of them; NULL where it has none. */
#define FIELD(predictor, field)                                                                                        \
    ((predictor)->size >= offsetof(fnn_predictor, field) + sizeof((predictor)->field) ? (predictor)->field : NULL)

/* Turns the status of a call into that of the flat functions. */
static int ended(int status, size_t rows) {
    return status ? fail("there is no memory to work on %llu rows", (unsigned long long)rows) : 0;
}

/* Whether a call has what it needs: 0, or -1. The names are those of the arrays that must be there. */
static int check(const fnn_predictor *predictor, size_t rows, const void *x, const void *other, const char *names) {
    if (!predictor) {
        return fail("predictor must be a network that fnn_load returned, got NULL");
    }
    return rows && (!x || !other) ? fail("%s must be arrays, got NULL", names) : 0;
}

static int lacks(const char *what) {
    return fail("%s is not among what this network's version of fastnn can do", what);
}

FNN_API int fnn_predict(const fnn_predictor *predictor, const void *x, size_t rows, void *y) {
    if (check(predictor, rows, x, y, "x and y")) {
        return -1;
    }
    return rows ? ended(predictor->run(predictor, x, (ptrdiff_t)predictor->inputs, rows, y), rows) : 0;
}

FNN_API int fnn_vjp(const fnn_predictor *predictor, const void *x, size_t rows, const void *u, void *y,
                    void *gradient) {
    if (check(predictor, rows, x, u, "x and u") || check(predictor, rows, x, gradient, "x and gradient")) {
        return -1;
    }
    if (!FIELD(predictor, vjp)) {
        return lacks("fnn_vjp");
    }
    return rows ? ended(predictor->vjp(predictor, x, (ptrdiff_t)predictor->inputs, rows, u, y, gradient), rows) : 0;
}

FNN_API int fnn_jvp(const fnn_predictor *predictor, const void *x, size_t rows, const void *v, void *y, void *tangent) {
    if (check(predictor, rows, x, v, "x and v") || check(predictor, rows, x, tangent, "x and tangent")) {
        return -1;
    }
    if (!FIELD(predictor, jvp)) {
        return lacks("fnn_jvp");
    }
    return rows ? ended(predictor->jvp(predictor, x, (ptrdiff_t)predictor->inputs, rows, v, y, tangent), rows) : 0;
}

FNN_API int fnn_jacobian(const fnn_predictor *predictor, const void *x, size_t rows, void *y, void *jacobian) {
    if (check(predictor, rows, x, jacobian, "x and jacobian")) {
        return -1;
    }
    if (!FIELD(predictor, jacobian)) {
        return lacks("fnn_jacobian");
    }
    return rows ? ended(predictor->jacobian(predictor, x, (ptrdiff_t)predictor->inputs, rows, y, jacobian), rows) : 0;
}

FNN_API int fnn_hvp(const fnn_predictor *predictor, const void *x, size_t rows, const void *v, const void *u, void *y,
                    void *product) {
    if (check(predictor, rows, x, v, "x and v") || check(predictor, rows, u, product, "u and product")) {
        return -1;
    }
    if (!FIELD(predictor, hvp)) {
        return lacks("fnn_hvp");
    }
    return rows ? ended(predictor->hvp(predictor, x, (ptrdiff_t)predictor->inputs, rows, v, u, y, product), rows) : 0;
}
