/* SPDX-License-Identifier: MIT */
#include "device/cpu/fast.h"

enum { N_FILES = 3 }; // hot*.c

#ifdef __x86_64__
#include <cpuid.h>

static const char *const isa_names[LG_CPU_ISA_COUNT] = {"SSE2", "AVX2", "AVX-512"};
static lg_cpu_fast_table *const tables[LG_CPU_ISA_COUNT][N_FILES] = {
    {&lg_cpu_hot_portable, &lg_cpu_hot_attention_portable, &lg_cpu_hot_rows_portable},
    {&lg_cpu_hot_avx2, &lg_cpu_hot_attention_avx2, &lg_cpu_hot_rows_avx2},
    {&lg_cpu_hot_avx512, &lg_cpu_hot_attention_avx512, &lg_cpu_hot_rows_avx512},
};

/* Not all compilers' __builtin_cpu_supports() know it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool is_usable(enum lg_cpu_isa isa)
{
    switch (isa) {
    case LG_CPU_PORTABLE: return true;
    case LG_CPU_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    case LG_CPU_AVX512:
        return is_usable(LG_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    default: return false;
    }
}
#else
static const char *const isa_names[LG_CPU_ISA_COUNT] = {"portable"};
static lg_cpu_fast_table *const tables[LG_CPU_ISA_COUNT][N_FILES] = {
    {&lg_cpu_hot_portable, &lg_cpu_hot_attention_portable, &lg_cpu_hot_rows_portable},
};

static bool is_usable(enum lg_cpu_isa isa)
{
    return isa == LG_CPU_PORTABLE;
}
#endif

const char *lg_cpu_isa_name(enum lg_cpu_isa isa)
{
    return isa_names[isa];
}

enum lg_cpu_isa lg_cpu_best_isa(void)
{
    enum lg_cpu_isa isa = LG_CPU_ISA_COUNT - 1;
    while (isa > LG_CPU_PORTABLE && !is_usable(isa))
        isa--;
    return isa;
}

lg_cpu_kernel_fn *lg_cpu_isa_kernel(enum lg_cpu_isa isa, enum lg_kernel kernel)
{
    if (!is_usable(isa))
        return NULL;
    for (int i = 0; i < N_FILES; i++) {
        if ((*tables[isa][i])[kernel])
            return (*tables[isa][i])[kernel];
    }
    return NULL;
}

lg_cpu_kernel_fn *lg_cpu_fast(enum lg_kernel kernel)
{
    return lg_cpu_isa_kernel(lg_cpu_best_isa(), kernel);
}
