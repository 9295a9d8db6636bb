/* The states of measures: how many numbers each has, and how a state of more rows is merged into another. */

#include <string.h>

#include "engine/sizes.h"
#include "fastnn.h"

size_t fnn_state_size(const fnn_measure *measure) {
    const fnn_head *head = &measure->head;
    const size_t first = (size_t)head->numbers[0], columns = head->columns;
    switch (measure->metric) {
        case FNN_THRESHOLD_COUNTS: {
            const size_t width = fnn_add(1, first ? first : head->vector_size);
            return fnn_add(fnn_multiply((int)head->numbers[3] & 1 ? columns : 1, fnn_multiply(2, width)), 1);
        }
        case FNN_CLASS_COUNTS:
            return fnn_multiply(columns, 3);
        case FNN_SQUARES:
            return fnn_add(fnn_multiply(columns, 4), 2);
        case FNN_CLASS_MATRIX:
            return fnn_add(fnn_multiply(first, first), 1);
        case FNN_TEMPERATURES:
            return fnn_add(fnn_multiply(2, head->vector_size), 1);
        default:
            return 2;
    }
}

/* Merges a state of squares (metric.inc) into another one of the same head (Chan, Golub and LeVeque 1983). */
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
            merge_squares(measure->head.columns, sums + added, more + added);
            added += measure->state_size;
        }
    }
}
