/* Completes the graph of ops: which outputs several ops read, and which op sums up their gradients. */

#include "engine/ops/traits.h"

void fnn_link(fnn_op *ops, size_t count) {
    for (size_t k = 0; k < count; k++) {
        fnn_op *op = &ops[k];
        op->first_reader = (ptrdiff_t)k;
        if (fnn_traits_of(op)->is_join) {
            continue;
        }
        for (size_t before = k; before-- > 0;) {
            if (ops[before].input == op->input && ops[before].first == op->first &&
                !fnn_traits_of(&ops[before])->is_join) {
                op->first_reader = (ptrdiff_t)before;
            }
        }
        ops[op->first_reader].gathers |= op->first_reader < (ptrdiff_t)k;
        const ptrdiff_t read[2] = {op->input, fnn_traits_of(op)->adds_source ? ops[op->source].input : -1};
        for (int i = 0; i < 2; i++) {
            if (read[i] >= 0) {
                ops[read[i]].shared |= read[i] + 1 < (ptrdiff_t)k;
            }
        }
        if (fnn_traits_of(op)->adds_source) {
            ops[op->source].gathers = 1;
        }
    }
}
