/* C: down a landscape by gradient descent, with a frozen network of which C knows no more than its file.
 *
 *   cc descent.c $(python -m fastnn config --cflags --libs) -lm -o descent && ./descent landscape.fnn -1 4
 *
 * landscape.py writes such a file; any network of one output in float64 will do. The arguments after the file are the
 * place to begin; what is missing is 0.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fastnn_predictor.h"

enum { MOST_STEPS = 10000 };

/* The height at x; slope: how it changes with each input. One call gives both. */
static double height(const fnn_predictor *network, const double *x, double *slope) {
    const double one = 1;
    double y;
    if (fnn_vjp(network, x, 1, &one, &y, slope) != 0) {
        fprintf(stderr, "%s\n", fnn_error_message());
        exit(EXIT_FAILURE);
    }
    return y;
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        sum += a[k] * b[k];
    }
    return sum;
}

/* Moves x downhill until the slope's length is below 1e-6, by steps of -rate slope. The rate is doubled before a step, and
 * halved until the step goes down by a tenth of what the slope promises. Returns how many steps that took. */
static int descend(const fnn_predictor *network, size_t n, double *x, double *slope, double *next, double *next_slope) {
    double rate = 0.1, here = height(network, x, slope);
    for (int step = 0; step < MOST_STEPS; step++) {
        const double square = dot(slope, slope, n);
        if (sqrt(square) < 1e-6) {
            return step;
        }
        double there;
        for (rate *= 2;; rate /= 2) {
            for (size_t k = 0; k < n; k++) {
                next[k] = x[k] - rate * slope[k];
            }
            there = height(network, next, next_slope);
            if (there <= here - 0.1 * rate * square || rate < 1e-12) {
                break;
            }
        }
        here = there;
        for (size_t k = 0; k < n; k++) {
            x[k] = next[k];
            slope[k] = next_slope[k];
        }
    }
    return MOST_STEPS;
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: descent FILE [x1 x2 ...]\n");
        return EXIT_FAILURE;
    }
    const fnn_predictor *network = fnn_load(arguments[1]);
    if (network == NULL) {
        fprintf(stderr, "%s\n", fnn_error_message());
        return EXIT_FAILURE;
    }
    const size_t n = fnn_inputs(network);
    double *room = calloc(4 * n, sizeof *room);
    if (room == NULL || fnn_outputs(network) != 1 || !fnn_is_double(network)) {
        fprintf(stderr, "the network must have one output, in float64\n");
        return EXIT_FAILURE;
    }
    double *x = room, *slope = room + n;
    for (size_t k = 0; k < n && k + 2 < (size_t)count; k++) {
        x[k] = strtod(arguments[k + 2], NULL);
    }
    const int steps = descend(network, n, x, slope, room + 2 * n, room + 3 * n);
    printf("%d steps, height %.12g, slope %.1e, at", steps, height(network, x, slope), sqrt(dot(slope, slope, n)));
    for (size_t k = 0; k < n; k++) {
        printf(" %.12g", x[k]);
    }
    printf("\n");
    free(room);
    fnn_free(network);
    return EXIT_SUCCESS;
}
