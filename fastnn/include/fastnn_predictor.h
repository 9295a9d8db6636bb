/* A frozen network for callers in C: `address` of a fastnn.Predictor points at one of these. */
#ifndef FASTNN_PREDICTOR_H
#define FASTNN_PREDICTOR_H

#include <stddef.h>

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct fnn_predictor fnn_predictor;

/* x: `rows` rows of `inputs` elements, `x_stride` elements apart. All other arrays are contiguous: y and u have rows x outputs
 * elements, v, gradient and product rows x inputs, tangent rows x outputs, jacobian rows x outputs x inputs. Elements are float,
 * or double where is_double. Arrays may be aligned to the element only, and what is written must overlap nothing else.
 *
 * Any number of threads may call the functions at once; they take no lock. They need neither Python nor its lock, but the
 * Predictor must be alive. They return 0, or 1 where memory for the work was refused (what they write is undefined then). */
struct fnn_predictor {
    /* y = network(x).
     *
     * However many rows there are, their work is done on the stack: a calling thread needs 128 KiB of it, and more if signals
     * are handled there. Some networks do not fit: those of a layer with a kernel of at least 2^19 elements or an output of more
     * than about 32,000 bytes a row, or, with branches, heads or residual blocks, of outputs of more than about 64,000 bytes
     * over all layers. For them each call allocates memory, even for one row. */
    int (*run)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y);
    size_t inputs, outputs;
    int is_double;

    /* The fields from here on are new: a caller who may meet a library that is older than this header looks first whether a
     * field lies within `size`. */
    int version; /* of this struct, 2: it grows when fields are added */
    size_t size; /* sizeof(fnn_predictor) in the library that made it */

    /* Derivatives by x. y = network(x) is written too, unless it is NULL. The bits of a row depend neither on the number of
     * threads nor on the rows that are asked together with it; y has the bits of `run`, save that a processor's matrix unit
     * never computes it. Activations with a kink, such as relu, have the derivative there that training takes, and the second
     * derivative 0. Categories and bins have the derivative 0.
     *
     * The work on a few rows is done on the stack, which takes no more of it than `run` does; for more rows, and for networks
     * whose outputs and their gradients do not fit 64 KiB, each call allocates memory.
     *
     * vjp: gradient = u^T dy/dx, the gradient of u . y.
     * These pointers are NULL in a network whose weights were rounded when it was frozen. */
    int (*vjp)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *u, void *y,
               void *gradient);
    /* tangent = dy/dx v, the derivative of y in the direction v. */
    int (*jvp)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *v, void *y,
               void *tangent);
    /* jacobian[i][j][k] = dy_j/dx_k of row i. */
    int (*jacobian)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                    void *jacobian);
    /* product = d/dx (u^T dy/dx v), the Hessian of u . y times v. */
    int (*hvp)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, const void *v,
               const void *u, void *y, void *product);

    const void *own; /* fastnn's own */
};

/* ---- libfastnn: networks from files, without Python ----
 *
 * `python -m fastnn config` says how to compile and link against the library. Any number of threads may call these functions at
 * once, with one network or several; they take no lock, and the bits depend on neither threads nor how many rows a call has. A
 * network that was loaded needs nothing but its memory. Where a layer reads raw data, such as text, Python makes numbers of
 * them, and C takes those numbers: the layer's `prepare` gives them. */

/* The network of a file that Predictor.save wrote, or of its bytes, which are copied; NULL where that fails: then
 * fnn_error_message says why. The file may come from anybody: it is checked as a whole. */
const fnn_predictor *fnn_load(const char *path);
const fnn_predictor *fnn_load_bytes(const void *bytes, size_t size);
void fnn_free(const fnn_predictor *predictor); /* of a network that was loaded; NULL is none */

/* What the last call that failed in this thread has met, one sentence; empty where none has failed. */
const char *fnn_error_message(void);
const char *fnn_library_version(void); /* as "0.2.0" */

/* Sets how many threads a call may use, for all networks, and returns it: 1 at first, 0 for as many as there are processors. -1
 * where it cannot be. */
int fnn_set_threads(int count);

size_t fnn_inputs(const fnn_predictor *predictor);
size_t fnn_outputs(const fnn_predictor *predictor);
int fnn_is_double(const fnn_predictor *predictor);

/* The functions of the struct above for rows without gaps, with the arrays that its comments name; y may be NULL where it is not
 * wanted beside a derivative. They take the `address` of a Predictor in Python as well. Return 0, or -1 where that fails: then
 * fnn_error_message says why, and what they write is undefined. */
int fnn_predict(const fnn_predictor *predictor, const void *x, size_t rows, void *y);
int fnn_vjp(const fnn_predictor *predictor, const void *x, size_t rows, const void *u, void *y, void *gradient);
int fnn_jvp(const fnn_predictor *predictor, const void *x, size_t rows, const void *v, void *y, void *tangent);
int fnn_jacobian(const fnn_predictor *predictor, const void *x, size_t rows, void *y, void *jacobian);
int fnn_hvp(const fnn_predictor *predictor, const void *x, size_t rows, const void *v, const void *u, void *y,
            void *product);

#if defined(__cplusplus)
}
#endif

#endif
