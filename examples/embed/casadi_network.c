/* A frozen network as an external function of CasADi, with exact first and second derivatives: y = network(x).
 *
 * CasADi finds the functions of a library by their names, and derivatives by a prefix before these:
 *
 *   network            x              -> y
 *   jac_network        x, y           -> J = dy/dx
 *   adj1_network       x, y, u        -> g = J'u, for reverse differentiation
 *   jac_adj1_network   x, y, u, g     -> dg/dx, the Hessian of u'y; dg/dy, which is zero; dg/du = J'
 *
 * So a solver gets exact Jacobians and Hessians, and no Python runs while it solves. CasADi's matrices lie column by
 * column; NULL stands for a result that nobody wants.
 *
 * The model's dtype must be float64. The name of its file is compiled in:
 *
 *   cc -O2 -shared -fPIC -DNETWORK='"network.fnn"' casadi_network.c $(python -m fastnn config --cflags --libs) -o network.so
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastnn_predictor.h"

/* The model with n inputs and m outputs; the shapes of matrices as CasADi writes them: {rows, columns, 1} is a full one,
 * {rows, columns, 0, 0, ...} with a 0 for each column an empty one; the doubles that any of the functions works with. */
static struct {
    const fnn_predictor *model;
    int users;
    size_t n, m;
    long long x[3], y[3], jacobian[3], transposed[3], hessian[3], *empty;
    long long work;
} net;

static void set_shape(long long *shape, size_t rows, size_t columns) {
    shape[0] = (long long)rows;
    shape[1] = (long long)columns;
    shape[2] = 1;
}

/* CasADi calls this before it uses a function. Without a model the function refuses to compute. */
static void acquire(void) {
    if (net.users++ > 0) {
        return;
    }
    const fnn_predictor *model = fnn_load(NETWORK);
    if (model == NULL || !fnn_is_double(model)) {
        fprintf(stderr, "%s\n", model ? NETWORK " must hold a model of float64" : fnn_error_message());
        fnn_free(model);
        return;
    }
    const size_t n = fnn_inputs(model), m = fnn_outputs(model);
    net.empty = calloc(m + 3, sizeof *net.empty);
    if (net.empty == NULL) {
        fnn_free(model);
        return;
    }
    net.model = model;
    net.n = n;
    net.m = m;
    set_shape(net.x, n, 1);
    set_shape(net.y, m, 1);
    set_shape(net.jacobian, m, n);
    set_shape(net.transposed, n, m);
    set_shape(net.hessian, n, n);
    net.empty[0] = (long long)n;
    net.empty[1] = (long long)m;
    net.work = (long long)(n * (2 * n + m));
}

static void release(void) {
    if (--net.users == 0) {
        fnn_free(net.model);
        free(net.empty);
        memset(&net, 0, sizeof net);
    }
}

/* What CasADi asks about a function: how many arguments and results it has, and the shapes of all of them. */
#define DESCRIBE(name, arguments, results, ...)                                                                        \
    void name##_incref(void) {                                                                                         \
        acquire();                                                                                                     \
    }                                                                                                                  \
    void name##_decref(void) {                                                                                         \
        release();                                                                                                     \
    }                                                                                                                  \
    long long name##_n_in(void) {                                                                                      \
        return arguments;                                                                                              \
    }                                                                                                                  \
    long long name##_n_out(void) {                                                                                     \
        return results;                                                                                                \
    }                                                                                                                  \
    static const long long *name##_shape(long long k) {                                                                \
        const long long *const shapes[] = {__VA_ARGS__};                                                               \
        return shapes[k];                                                                                              \
    }                                                                                                                  \
    const long long *name##_sparsity_in(long long k) {                                                                 \
        return name##_shape(k);                                                                                        \
    }                                                                                                                  \
    const long long *name##_sparsity_out(long long k) {                                                                \
        return name##_shape((arguments) + k);                                                                          \
    }                                                                                                                  \
    int name##_work(long long *sz_arg, long long *sz_res, long long *sz_iw, long long *sz_w) {                         \
        *sz_arg = arguments, *sz_res = results, *sz_iw = 0, *sz_w = net.work;                                          \
        return 0;                                                                                                      \
    }

DESCRIBE(network, 1, 1, net.x, net.y)
DESCRIBE(jac_network, 2, 1, net.x, net.y, net.jacobian)
DESCRIBE(adj1_network, 3, 1, net.x, net.y, net.y, net.x)
DESCRIBE(jac_adj1_network, 4, 3, net.x, net.y, net.y, net.x, net.hessian, net.empty, net.transposed)

/* arg: the arguments; res: where the results go; w: room to work in. They return 0, or 1 where they could not compute. */
int network(const double **arg, double **res, long long *iw, double *w, int mem) {
    (void)iw, (void)w, (void)mem;
    return net.model == NULL || (res[0] != NULL && fnn_predict(net.model, arg[0], 1, res[0]));
}

int jac_network(const double **arg, double **res, long long *iw, double *w, int mem) {
    (void)iw, (void)mem;
    if (net.model == NULL || fnn_jacobian(net.model, arg[0], 1, NULL, w)) {
        return 1;
    }
    for (size_t j = 0; res[0] != NULL && j < net.m; j++) {
        for (size_t i = 0; i < net.n; i++) {
            res[0][i * net.m + j] = w[j * net.n + i];
        }
    }
    return 0;
}

int adj1_network(const double **arg, double **res, long long *iw, double *w, int mem) {
    (void)iw, (void)w, (void)mem;
    return net.model == NULL || (res[0] != NULL && fnn_vjp(net.model, arg[0], 1, arg[2], NULL, res[0]));
}

/* Row i of the Hessian is its product with the i-th unit vector: all n of them are one call with n rows, which have the
 * same x and u. J' by columns is J by rows, as fnn_jacobian writes it. */
int jac_adj1_network(const double **arg, double **res, long long *iw, double *w, int mem) {
    (void)iw, (void)mem;
    if (net.model == NULL || (res[2] != NULL && fnn_jacobian(net.model, arg[0], 1, NULL, res[2]))) {
        return 1;
    }
    double *x = w, *units = x + net.n * net.n, *u = units + net.n * net.n;
    for (size_t i = 0; i < net.n; i++) {
        memcpy(x + i * net.n, arg[0], net.n * sizeof *x);
        memcpy(u + i * net.m, arg[2], net.m * sizeof *u);
        for (size_t k = 0; k < net.n; k++) {
            units[i * net.n + k] = i == k;
        }
    }
    return res[0] != NULL && fnn_hvp(net.model, x, net.n, units, u, NULL, res[0]);
}
