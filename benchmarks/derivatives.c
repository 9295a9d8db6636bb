/* Nanoseconds of a call in C: the value of a network, and its value with the gradient, by fastnn in float32 and float64, and
 * by C that CasADi has generated.
 *
 * derivatives FILE FILE64 ROUNDS: prints the names of the ways, then a line a round, in which all ways run in turn.
 * derivatives.py compiles it, and says of what the files are. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fastnn_predictor.h"

enum { INPUTS = 32, ROWS = 1000, CALLS = 4 * ROWS };

static const fnn_predictor *network, *network64;
static float rows[ROWS][INPUTS], *x, y, gradient[INPUTS];
static double rows64[ROWS][INPUTS], *x64, y64, gradient64[INPUTS];

static void value(void) {
    network->run(network, x, INPUTS, 1, &y);
}

static void with_gradient(void) {
    const float one = 1;
    network->vjp(network, x, INPUTS, 1, &one, &y, gradient);
}

static void value64(void) {
    network64->run(network64, x64, INPUTS, 1, &y64);
}

static void with_gradient64(void) {
    const double one = 1;
    network64->vjp(network64, x64, INPUTS, 1, &one, &y64, gradient64);
}

#ifdef WITH_CASADI
int casadi_value(const double **arg, double **res, long long *iw, double *w, int mem);
int casadi_gradient(const double **arg, double **res, long long *iw, double *w, int mem);
static double room[100000]; /* for what either works with */

static void others_value(void) {
    const double *given[] = {x64, NULL};
    double *made[] = {&y64, NULL};
    casadi_value(given, made, NULL, room, 0);
}

static void others_gradient(void) {
    const double *given[] = {x64, NULL, NULL};
    double *made[] = {&y64, gradient64, NULL};
    casadi_gradient(given, made, NULL, room, 0);
}
#endif

static const struct {
    const char *name;
    void (*call)(void);
} ways[] = {
    {"value", value},
    {"gradient", with_gradient},
    {"value64", value64},
    {"gradient64", with_gradient64},
#ifdef WITH_CASADI
    {"casadi-value", others_value},
    {"casadi-gradient", others_gradient},
#endif
};
enum { WAYS = sizeof ways / sizeof *ways };

static double nanoseconds(void (*call)(void), double *sum) {
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int k = 0; k < CALLS; k++) {
        x = rows[k % ROWS];
        x64 = rows64[k % ROWS];
        call();
        *sum += (double)y + y64;
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (1e9 * (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec)) / CALLS;
}

int main(int count, char **arguments) {
    network = count > 3 ? fnn_load(arguments[1]) : NULL;
    network64 = network != NULL ? fnn_load(arguments[2]) : NULL;
    if (network64 == NULL || network->inputs != INPUTS || network->is_double || !network64->is_double) {
        fprintf(stderr, "usage: derivatives FILE FILE64 ROUNDS, networks 32-...-1; %s\n", fnn_error_message());
        return EXIT_FAILURE;
    }
    for (size_t k = 0; k < WAYS; k++) {
        printf("%s%c", ways[k].name, k + 1 < WAYS ? ' ' : '\n');
    }
    for (size_t k = 0; k < ROWS * INPUTS; k++) {
        rows[k / INPUTS][k % INPUTS] = (float)(k * 2654435761u % 1000) / 1000.0f - 0.5f;
        rows64[k / INPUTS][k % INPUTS] = (double)rows[k / INPUTS][k % INPUTS];
    }
    const int rounds = atoi(arguments[3]);
    double sum = 0;
    for (int round = -1; round < rounds; round++) { /* the first one warms */
        for (size_t k = 0; k < WAYS; k++) {
            const double taken = nanoseconds(ways[k].call, &sum);
            if (round >= 0) {
                printf("%.1f%c", taken, k + 1 < WAYS ? ' ' : '\n');
            }
        }
    }
    fnn_free(network);
    fnn_free(network64);
    return sum == 0.1; /* so that nothing is left out */
}
