/* Arithmetic of sizes, for everything in the engine, and memory of such sizes. */
#ifndef FNN_SIZES_H
#define FNN_SIZES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32)
#include <malloc.h>
#endif

#include "fastnn.h"

/* ---- sizes: SIZE_MAX stands for "too large" and stays so ---- */

static inline size_t fnn_multiply(size_t a, size_t b) {
    size_t product;
    return a == SIZE_MAX || b == SIZE_MAX || __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

static inline size_t fnn_add(size_t a, size_t b) {
    size_t sum;
    return a == SIZE_MAX || b == SIZE_MAX || __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

static inline size_t at_least(size_t value, size_t least) {
    return value < least ? least : value;
}

static inline size_t at_most(size_t value, size_t most) {
    return value > most ? most : value;
}

/* How many blocks of `size` elements cover `count` elements. */
static inline size_t blocks(size_t count, size_t size) {
    return (count + size - 1) / size;
}

/* Aligned memory for `bytes` bytes, which fnn_release gives back; NULL where there is none, or where so many are too many. */
static inline void *fnn_allocate(size_t bytes) {
    if (bytes >= SIZE_MAX - FNN_ALIGNMENT) {
        return NULL;
    }
    bytes = blocks(at_least(bytes, 1), FNN_ALIGNMENT) * FNN_ALIGNMENT;
#if defined(_WIN32)
    return _aligned_malloc(bytes, FNN_ALIGNMENT);
#else
    return aligned_alloc(FNN_ALIGNMENT, bytes);
#endif
}

static inline void fnn_release(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

#endif
