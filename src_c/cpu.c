/* Which instruction sets were built, and which of them this processor and its operating system can run. */

#include "fastnn.h"

typedef struct {
    const char *name;
    const fnn_kernels *kernels;
} isa_entry;

static const isa_entry isa_table[] = {
    {"baseline", &fnn_kernels_baseline},
#if defined(__x86_64__)
    {"avx2", &fnn_kernels_avx2},
    {"avx512", &fnn_kernels_avx512},
#if defined(FNN_BUILT_AVX512_BF16)
    {"avx512_bf16", &fnn_kernels_avx512_bf16},
#endif
#endif
};

enum { ISA_COUNT = sizeof isa_table / sizeof isa_table[0] };

const char *fnn_isa_name(int isa) {
    return isa >= 0 && isa < ISA_COUNT ? isa_table[isa].name : NULL;
}

const fnn_kernels *fnn_isa_kernels(int isa) {
    return isa >= 0 && isa < ISA_COUNT ? isa_table[isa].kernels : NULL;
}

/* __builtin_cpu_supports also asks whether the system saves the wide registers (XGETBV). */
int fnn_isa_available(int isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    switch (isa) {
        case 1:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        case 2:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#if defined(FNN_BUILT_AVX512_BF16)
        case 3:
            return fnn_isa_available(2) && __builtin_cpu_supports("avx512bf16");
#endif
        default:
            break;
    }
#endif
    return isa == 0;
}

const char *fnn_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}
