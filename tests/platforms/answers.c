/* Compares libfastnn's answers on this platform with those of Python: answers network.fnn recorded.bin ROWS THREADS.
 *
 * recorded.bin holds float32 numbers: x (rows x inputs), u (rows x outputs), y = f(x), and the gradient of u . f by x. */
#include <fastnn_predictor.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static float *read_numbers(FILE *file, size_t count) {
    float *numbers = malloc(count * sizeof *numbers);
    if (!numbers || fread(numbers, sizeof *numbers, count, file) != count) {
        fprintf(stderr, "recorded.bin is too short\n");
        exit(1);
    }
    return numbers;
}

/* The largest difference, as a share of the recorded number where that is above 1. */
static double difference(const float *got, const float *recorded, size_t count) {
    double largest = 0;
    for (size_t k = 0; k < count; k++) {
        const double here = fabs((double)got[k] - recorded[k]) / fmax(1, fabs((double)recorded[k]));
        largest = here > largest || here != here ? here : largest;
    }
    return largest;
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "answers network.fnn recorded.bin ROWS THREADS\n");
        return 1;
    }
    const size_t rows = strtoul(arguments[3], NULL, 10);
    const int threads = fnn_set_threads(atoi(arguments[4]));
    const fnn_predictor *network = fnn_load(arguments[1]);
    FILE *file = fopen(arguments[2], "rb");
    if (threads < 0 || !network || !file) {
        fprintf(stderr, "%s\n", file ? fnn_error_message() : "recorded.bin cannot be read");
        return 1;
    }
    const size_t inputs = fnn_inputs(network), outputs = fnn_outputs(network);
    float *x = read_numbers(file, rows * inputs), *u = read_numbers(file, rows * outputs);
    float *y = read_numbers(file, rows * outputs), *gradient = read_numbers(file, rows * inputs);
    float *got = malloc(rows * outputs * sizeof *got), *slope = malloc(rows * inputs * sizeof *slope);
    if (!got || !slope || fnn_predict(network, x, rows, got)) {
        fprintf(stderr, "%s\n", fnn_error_message());
        return 1;
    }
    const double of_answers = difference(got, y, rows * outputs);
    if (fnn_vjp(network, x, rows, u, got, slope)) {
        fprintf(stderr, "%s\n", fnn_error_message());
        return 1;
    }
    const double of_gradients = difference(slope, gradient, rows * inputs);
    printf("%d threads: answers differ by %.1e, gradients by %.1e\n", threads, of_answers, of_gradients);
    fnn_free(network);
    /* what is no network, and no file, is said in the system's words */
    if (fnn_load(arguments[2]) || fnn_load("no-such-file") || fnn_load(".")) {
        fprintf(stderr, "something else than a network was loaded\n");
        return 1;
    }
    /* float32: about ten roundings, in another order on another platform */
    return of_answers <= 3e-6 && of_gradients <= 3e-5 ? 0 : 1;
}
