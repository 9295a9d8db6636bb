/* What this machine can do: FLOP/s from registers, bytes/s from a working set that is read again and again, and the triad.
   Compiled at run time by machine.py with -O3 -march=native; a thread runs one call, machine.py starts the threads. */
#include <stddef.h>
#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vector __attribute__((vector_size(LANES * sizeof(float))));

/* Twelve independent chains: enough to hide the latency of a fused multiply-add on two ports. Returns the FLOPs done. */
#define CHAINS 12
#define EACH_CHAIN _Pragma("GCC unroll 12") for (int k = 0; k < CHAINS; k++)

double fma_float32(long rounds, float *sink) {
    vector a[CHAINS], x = (vector){0} + 0.999f, y = (vector){0} + 0.001f;
    EACH_CHAIN a[k] = (vector){0} + (float)k;
    for (long r = 0; r < rounds; r++) {
        EACH_CHAIN a[k] = a[k] * x + y;
    }
    EACH_CHAIN *sink += a[k][0] + a[k][LANES - 1];
    return 2.0 * CHAINS * LANES * (double)rounds;
}

/* The same with pairs of bfloat16 summed in float32; 0 where the CPU has no such instruction. */
double fma_bfloat16(long rounds, float *sink) {
#if defined(__AVX512BF16__)
    __m512 a[CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f00), y = (__m512bh)_mm512_set1_epi16(0x3c00);
    EACH_CHAIN a[k] = _mm512_set1_ps((float)k);
    for (long r = 0; r < rounds; r++) {
        EACH_CHAIN a[k] = _mm512_dpbf16_ps(a[k], x, y);
    }
    EACH_CHAIN *sink += _mm512_reduce_add_ps(a[k]);
    return 2.0 * CHAINS * 32 * (double)rounds;
#else
    (void)rounds, (void)sink;
    return 0;
#endif
}

/* Sums `count` floats (a multiple of 16 * LANES), `rounds` times. Returns the bytes read. */
double read_floats(const float *data, size_t count, long rounds, float *sink) {
    vector a[8];
    for (int k = 0; k < 8; k++) {
        a[k] = (vector){0};
    }
    for (long r = 0; r < rounds; r++) {
        for (size_t i = 0; i < count; i += 8 * LANES) {
            for (int k = 0; k < 8; k++) {
                a[k] += *(const vector *)(data + i + k * LANES);
            }
        }
        __asm__ volatile("" : : : "memory");
    }
    for (int k = 0; k < 8; k++) {
        *sink += a[k][0];
    }
    return 4.0 * (double)count * (double)rounds;
}

/* a = b + s c, counted as three arrays, as STREAM does. */
double triad(float *a, const float *b, const float *c, size_t count) {
    for (size_t i = 0; i < count; i++) {
        a[i] = b[i] + 3.0f * c[i];
    }
    return 12.0 * (double)count;
}

/* The same with stores that pass the cache by, so that nothing is read to be overwritten; 0 where there are none. */
double triad_streaming(float *a, const float *b, const float *c, size_t count) {
#if defined(__AVX__)
    const __m256 s = _mm256_set1_ps(3.0f);
    for (size_t i = 0; i + 8 <= count; i += 8) {
        _mm256_stream_ps(a + i, _mm256_add_ps(_mm256_load_ps(b + i), _mm256_mul_ps(s, _mm256_load_ps(c + i))));
    }
    _mm_sfence();
    return 12.0 * (double)count;
#else
    (void)a, (void)b, (void)c, (void)count;
    return 0;
#endif
}
