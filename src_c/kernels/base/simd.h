/* The width of a vector and the shape of the micro-kernel for the instruction set this file is compiled for.
 *
 * Vectors are the compilers' vector extensions (gcc and clang), so one source serves every instruction set:
 * FNN_TILE_ROWS x FNN_TILE_VECTORS accumulators, FNN_TILE_VECTORS vectors of b and one broadcast must fit the registers. */
#ifndef FNN_SIMD_H
#define FNN_SIMD_H

#if defined(__AVX512F__)
#define FNN_VECTOR_BYTES 64
#define FNN_TILE_ROWS 12
#elif defined(__AVX2__) && defined(__FMA__)
#define FNN_VECTOR_BYTES 32
#define FNN_TILE_ROWS 6
#elif defined(__aarch64__)
#define FNN_VECTOR_BYTES 16
#define FNN_TILE_ROWS 8 /* and as many vectors of a, below */
#else
#define FNN_VECTOR_BYTES 16
#define FNN_TILE_ROWS 4
#endif
#define FNN_TILE_VECTORS 2
#if defined(__AVX512F__)
#define FNN_HALF_VECTORS                                                                                               \
    1 /* the last vector of a tile is half as wide where that is enough: it takes one turn, not two */
#define FNN_TILE_STEPS 2    /* steps of the depth that share one load of each row's pointer */
#define FNN_POINTER_ROWS 10 /* rows of a tile up to which all of their pointers stay in registers */
#elif defined(__aarch64__)
#define FNN_HALF_VECTORS 0
#define FNN_TILE_STEPS ((int)LANES) /* one load takes as many elements of a row */
#define FNN_POINTER_ROWS 8
#else
#define FNN_HALF_VECTORS 0
#define FNN_TILE_STEPS 1
#define FNN_POINTER_ROWS 8
#endif
/* Multiply-adds of NEON take a lane of a register as the one factor of all lanes: a tile loads vectors of a, and its 16 sums of
 * float32 take 64 multiply-adds for 16 loads. Elsewhere a multiply-add broadcasts an element of a from memory itself. */
#if defined(__aarch64__)
#define FNN_LANES_OF_A 1
#else
#define FNN_LANES_OF_A 0
#endif
#define FNN_FETCHED_ROWS 8 /* rows of b between the one that is fetched and the one that is used */
#define FNN_MAX_VECTORS 8  /* vectors of a tile of one row: enough independent chains to hide the latency of an add */

/* multiply_blocks (gemm.inc): the depth of a block. A panel of that depth is half a first-level cache. */
#define FNN_DEPTH_BLOCK (16384 / (FNN_TILE_VECTORS * FNN_VECTOR_BYTES))
/* multiply_transposed (transpose.inc): the depth and the columns of a block. A panel of that depth is two thirds of a
 * first-level cache. */
#define FNN_TRANSPOSED_DEPTH (32768 / (FNN_TILE_VECTORS * FNN_VECTOR_BYTES))
#define FNN_TRANSPOSED_COLUMNS 48
/* multiply_shallow (transpose.inc), which transposes the kernel: the depth up to which it is used, and the columns and rows
 * that it takes at a time. */
#define FNN_SHALLOW_DEPTH 64
#define FNN_SHALLOW_COLUMNS 64
#define FNN_SHALLOW_ROWS 48
/* multiply_blocks (gemm.inc): the depth from which copying the rows first pays. */
#if defined(__AVX512F__)
#define FNN_COPIED_DEPTH 128
#else
#define FNN_COPIED_DEPTH 64
#endif
/* multiply_copied (gemm.inc): the number of register tiles over a panel of b from which the first of them leaves a copy of
 * the panel to the others; and the depth of a copied panel, of 32 KB. */
#define FNN_COPY_BLOCKS 4
#define FNN_COPY_DEPTH (32768 / (FNN_TILE_VECTORS * FNN_VECTOR_BYTES))
/* Rows of a product from which `multiply` reads a kernel from a second-level cache as fast as it multiplies: those of a
 * register tile, or so many that panels are copied. */
#if defined(__AVX512F__)
#define FNN_ENOUGH_ROWS FNN_TILE_ROWS
#else
#define FNN_ENOUGH_ROWS 48
#endif
#define FNN_FAR_SIZE 8192 /* elements of a kernel that does not stay in a first-level cache */

/* Packed products (packed.inc): the depth of a block; the bytes of a block of A, half a second-level cache; the elements of a
 * block of B. */
#define FNN_PACKED_DEPTH 256
#if defined(__AVX512F__)
#define FNN_PACKED_A_BYTES (528 * 1024)
#else
#define FNN_PACKED_A_BYTES (240 * 1024)
#endif
#define FNN_PACKED_B_SIZE (256 * 1024)
/* The depth of a block for a matrix unit, in pairs of elements: of rounded elements, and of split ones, which are three times
 * as large. The unit multiplies as fast from the second-level cache as from the first, and the deeper a block is, the less
 * often c is read and written. */
#define FNN_MATRIX_DEPTH 512
#define FNN_SPLIT_DEPTH 128

/* The forms into which packing brings an element (bfloat16.inc has their meaning), and the one of multiply_rounded here. */
#define FNN_EXACT 0
#define FNN_ROUNDED 1
#define FNN_PAIRED 2
#define FNN_SPLIT 3
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define FNN_BFLOAT16 FNN_PAIRED
#else
#define FNN_BFLOAT16 FNN_ROUNDED
#endif

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define FNN_HAS_MATRIX_UNIT /* matrix_unit.inc */
#endif

#define FNN_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define FNN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FNN_UNROLL _Pragma("GCC unroll 32")
#endif

/* fnn_estimate_inverse_root(x) and fnn_estimate_inverse(x): 1 / sqrt(x) and 1 / x for normal x > 0, with a relative error of
 * up to 2^-14 (AVX-512) or 1.5 * 2^-12 (AVX2). fnn_keep_normal(x): the normal number > 0 that is nearest to x; a NaN stays a
 * NaN. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define FNN_HAS_ESTIMATES
#define fnn_estimate_inverse_root(x) ((fnn_vector_f32)_mm512_rsqrt14_ps((__m512)(x)))
#define fnn_estimate_inverse(x) ((fnn_vector_f32)_mm512_rcp14_ps((__m512)(x)))
/* Four bits for each kind of number: 0 makes zero and negative numbers the first operand, FLT_MIN; 14 makes infinity the
 * largest number; 1 leaves positive numbers and NaN as they are. */
#define fnn_keep_normal(x)                                                                                             \
    ((fnn_vector_f32)_mm512_fixupimm_ps(_mm512_set1_ps(FLT_MIN), (__m512)(x), _mm512_set1_epi32(0x10E01011), 0))
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define FNN_HAS_ESTIMATES
#define fnn_estimate_inverse_root(x) ((fnn_vector_f32)_mm256_rsqrt_ps((__m256)(x)))
#define fnn_estimate_inverse(x) ((fnn_vector_f32)_mm256_rcp_ps((__m256)(x)))
#define fnn_keep_normal(x)                                                                                             \
    ((fnn_vector_f32)_mm256_min_ps(_mm256_set1_ps(FLT_MAX), _mm256_max_ps(_mm256_set1_ps(FLT_MIN), (__m256)(x))))
#endif

/* The vector of the given lanes of a and b; the lanes of b are numbered after those of a. numbers: the type of the vectors of
 * integers with as many lanes. */
#if defined(__clang__) || __GNUC__ >= 12
#define FNN_SHUFFLE(numbers, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FNN_SHUFFLE(numbers, a, b, ...) __builtin_shuffle(a, b, (numbers){__VA_ARGS__})
#endif

/* This pragma needs -fopenmp-simd only: kernels know nothing of threads. */
#define FNN_SIMD _Pragma("omp simd")

#endif
