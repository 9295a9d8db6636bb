/* Checks the arrays of a sparse matrix, which the user gives and which may hold anything. */

#include "fastnn.h"

fnn_sparse_form fnn_check_sparse(const int64_t *starts, const int32_t *columns, size_t rows, size_t entries,
                                 size_t features) {
    if (starts[0] < 0 || (uint64_t)starts[rows] > entries) {
        return FNN_SPARSE_STARTS;
    }
    for (size_t i = 0; i < rows; i++) {
        if (starts[i + 1] < starts[i]) {
            return FNN_SPARSE_STARTS;
        }
    }
    int rising = 1;
    for (size_t i = 0; i < rows; i++) {
        int64_t last = -1;
        for (int64_t e = starts[i]; e < starts[i + 1]; e++) {
            const int64_t column = columns[e];
            if (column < 0 || (size_t)column >= features) {
                return FNN_SPARSE_COLUMN;
            }
            rising &= column > last;
            last = column;
        }
    }
    return rising ? FNN_SPARSE_FIT : FNN_SPARSE_UNSORTED;
}
