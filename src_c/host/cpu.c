/* Which instruction sets were built, and which of them this processor and its operating system can run. */

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#include "host/cpu.h"

#if defined(FNN_BUILT_AMX_BF16)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(FNN_BUILT_NEON_DOTPROD) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(FNN_BUILT_NEON_DOTPROD) && defined(__linux__)
#include <sys/auxv.h>
#endif

typedef struct {
    const char *name;
    fnn_kernels kernels;
} isa_entry;

#define DECLARE(isa)                                                                                                   \
    extern const fnn_kernels_f32 fnn_##isa##_f32;                                                                      \
    extern const fnn_kernels_f64 fnn_##isa##_f64;                                                                      \
    extern const fnn_bf16_kernels fnn_##isa##_bf16;                                                                    \
    extern const fnn_small_kernels fnn_##isa##_weights_bfloat16, fnn_##isa##_weights_int8;
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(avx512_vnni)
DECLARE(avx512_bf16)
DECLARE(amx_bf16)
DECLARE(neon_dotprod)
DECLARE(neon_bf16)

#define KERNELS(isa, bf16_isa, int8_isa)                                                                               \
    {                                                                                                                  \
        &fnn_##isa##_f32, &fnn_##isa##_f64, &fnn_##bf16_isa##_bf16, {                                                  \
            &fnn_##isa##_weights_bfloat16, &fnn_##int8_isa##_weights_int8                                              \
        }                                                                                                              \
    }

/* The baseline of x86-64 is SSE2, that of AArch64 is NEON, whose products have tiles of their own. */
static const isa_entry isa_table[] = {
    {"baseline", KERNELS(baseline, baseline, baseline)},
#if defined(FNN_BUILT_NEON_DOTPROD)
    {"neon_dotprod", KERNELS(baseline, baseline, neon_dotprod)},
#if defined(FNN_BUILT_NEON_BF16)
    {"neon_bf16", KERNELS(baseline, neon_bf16, neon_dotprod)},
#endif
#endif
#if defined(FNN_BUILT_AVX2)
    {"avx2", KERNELS(avx2, avx2, avx2)},
#if defined(FNN_BUILT_AVX512)
    {"avx512", KERNELS(avx512, avx512, avx512)},
#if defined(FNN_BUILT_AVX512_VNNI)
    {"avx512_vnni", KERNELS(avx512, avx512, avx512_vnni)},
#if defined(FNN_BUILT_AVX512_BF16)
    {"avx512_bf16", KERNELS(avx512, avx512_bf16, avx512_vnni)},
#if defined(FNN_BUILT_AMX_BF16)
    {"amx_bf16", KERNELS(avx512, amx_bf16, avx512_vnni)},
#endif
#endif
#endif
#endif
#endif
};

enum { ISA_COUNT = sizeof isa_table / sizeof isa_table[0] };

const char *fnn_isa_name(int isa) {
    return isa >= 0 && isa < ISA_COUNT ? isa_table[isa].name : NULL;
}

const fnn_kernels *fnn_isa_kernels(int isa) {
    return isa >= 0 && isa < ISA_COUNT ? &isa_table[isa].kernels : NULL;
}

#if defined(FNN_BUILT_AMX_BF16)
/* Of arch_prctl in Linux, from 5.16 on. */
enum { ARCH_GET_XCOMP_SUPP = 0x1021, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

/* 1 if the processor has a matrix unit for bfloat16 (CPUID 7, EDX bits 24 and 22) and the system lets processes use it. */
static int has_matrix_unit(void) {
    unsigned eax, ebx, ecx, edx;
    unsigned long features = 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx >> 24 & 1) || !(edx >> 22 & 1)) {
        return 0;
    }
    return syscall(SYS_arch_prctl, ARCH_GET_XCOMP_SUPP, &features) == 0 && features >> XFEATURE_XTILEDATA & 1;
}
#endif

int fnn_isa_allows_unit(int isa) {
#if defined(FNN_BUILT_AMX_BF16)
    return isa != 5 || syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    (void)isa;
    return 1;
#endif
}

/* Measured with OpenBLAS 0.3.30 on one thread, in tiles of FNN_BLAS_ROWS x FNN_BLAS_COLUMNS of a product of 512 x 2048 x 2048, as
 * shares of the time of our own kernels: baseline with OpenBLAS's kernels for SSE3 0.96 in float64 and 1.03 in float32, with
 * those for AVX 0.44 and 0.38; avx2 0.95 and 1.07, avx512 1.32 and 1.37, both in float64 and float32. Elsewhere than on x86-64
 * nobody has measured, and BLAS has kernels for many of those processors that are written by hand. */
int fnn_isa_prefers_blas(int isa, int is_double) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return isa == 0 && (is_double || __builtin_cpu_supports("avx"));
#else
    (void)isa;
    (void)is_double;
    return 1;
#endif
}

#if defined(FNN_BUILT_NEON_DOTPROD)
/* The bits of the extensions FEAT_DotProd and FEAT_BF16 in what Linux says of the processor (its asm/hwcap.h; in the second word
 * since 5.10). Elsewhere but on Apple's systems, which have a name for each, a processor has neither as far as we know. */
static int has_extension(int bf16) {
#if defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    const char *name = bf16 ? "hw.optional.arm.FEAT_BF16" : "hw.optional.arm.FEAT_DotProd";
    return sysctlbyname(name, &has, &size, NULL, 0) == 0 && has;
#elif defined(__linux__)
    return bf16 ? getauxval(AT_HWCAP2) >> 14 & 1 : getauxval(AT_HWCAP) >> 20 & 1;
#else
    (void)bf16;
    return 0;
#endif
}
#endif

/* __builtin_cpu_supports asks the processor, and by XGETBV whether the system saves its wide registers. */
int fnn_isa_available(int isa) {
#if defined(FNN_BUILT_AVX2)
    __builtin_cpu_init();
    switch (isa) {
        case 1:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if defined(FNN_BUILT_AVX512)
        case 2:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
#if defined(FNN_BUILT_AVX512_VNNI)
        case 3:
            return fnn_isa_available(2) && __builtin_cpu_supports("avx512vnni");
#endif
#if defined(FNN_BUILT_AVX512_BF16)
        case 4:
            return fnn_isa_available(3) && __builtin_cpu_supports("avx512bf16");
#endif
#if defined(FNN_BUILT_AMX_BF16)
        case 5:
            return fnn_isa_available(4) && has_matrix_unit();
#endif
        default:
            break;
    }
#elif defined(FNN_BUILT_NEON_DOTPROD)
    if (isa == 1) {
        return has_extension(0);
    }
#if defined(FNN_BUILT_NEON_BF16)
    if (isa == 2) {
        return has_extension(0) && has_extension(1);
    }
#endif
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
