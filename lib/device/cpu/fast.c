/* SPDX-License-Identifier: MIT */
#include "device/cpu/fast.h"

#include <stddef.h>

/* A table of kernels and what it needs. */
struct variant {
    enum lg_cpu_isa isa;
    lg_cpu_fast_table *table;
};

static const char *const isa_names[LG_CPU_ISA_COUNT] = {
#ifdef __x86_64__
    [LG_CPU_PORTABLE] = "SSE2",
#else
    [LG_CPU_PORTABLE] = "portable",
#endif
    [LG_CPU_AVX2] = "AVX2",
    [LG_CPU_AVX512] = "AVX-512",
    [LG_CPU_VNNI] = "AVX-512 VNNI",
    [LG_CPU_DOTPROD] = "NEON with dot products",
};

#ifdef __x86_64__
#include <cpuid.h>

#define TABLES(isa, name) \
    {isa, &lg_cpu_hot_##name}, {isa, &lg_cpu_hot_attention_##name}, {isa, &lg_cpu_hot_rows_##name}, \
    {isa, &lg_cpu_hot_train_##name}, {isa, &lg_cpu_hot_attention_train_##name}, \
    {isa, &lg_cpu_hot_rows_train_##name}
static const struct variant variants[] = {
    TABLES(LG_CPU_PORTABLE, portable), TABLES(LG_CPU_AVX2, avx2),
    TABLES(LG_CPU_AVX512, avx512),     {LG_CPU_AVX2, &lg_cpu_hot_i8_avx2},
    {LG_CPU_VNNI, &lg_cpu_hot_i8_vnni},
    {LG_CPU_AVX2, &lg_cpu_hot_i8_tile_avx2},
    {LG_CPU_VNNI, &lg_cpu_hot_i8_tile_vnni},
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
    case LG_CPU_VNNI:
        return is_usable(LG_CPU_AVX512) && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2");
    default: return false;
    }
}
#else
static const struct variant variants[] = {
    {LG_CPU_PORTABLE, &lg_cpu_hot_portable},
    {LG_CPU_PORTABLE, &lg_cpu_hot_attention_portable},
    {LG_CPU_PORTABLE, &lg_cpu_hot_rows_portable},
    {LG_CPU_PORTABLE, &lg_cpu_hot_rows_train_portable},
    {LG_CPU_PORTABLE, &lg_cpu_hot_train_portable},
    {LG_CPU_PORTABLE, &lg_cpu_hot_attention_train_portable},
#ifdef __aarch64__
    {LG_CPU_DOTPROD, &lg_cpu_hot_i8_tile_dotprod},
#endif
};

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

enum { HAS_DOTPROD = 1 << 20 }; // bit of AT_HWCAP

static bool has_dotprod(void)
{
    return getauxval(AT_HWCAP) & HAS_DOTPROD;
}
#else
static bool has_dotprod(void)
{
    return false;
}
#endif

static bool is_usable(enum lg_cpu_isa isa)
{
    return isa == LG_CPU_PORTABLE || (isa == LG_CPU_DOTPROD && has_dotprod());
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

static lg_cpu_kernel_fn *find(enum lg_cpu_isa isa, enum lg_kernel kernel)
{
    lg_cpu_kernel_fn *found = NULL;
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        if (variants[i].isa == isa && (*variants[i].table)[kernel])
            found = (*variants[i].table)[kernel];
    }
    return found;
}

/* Asking the processor is dear, in a virtual machine above all: only where there is something to be had. */
lg_cpu_kernel_fn *lg_cpu_isa_kernel(enum lg_cpu_isa isa, enum lg_kernel kernel)
{
    lg_cpu_kernel_fn *found = find(isa, kernel);
    return found && is_usable(isa) ? found : NULL;
}

lg_cpu_kernel_fn *lg_cpu_fast(enum lg_kernel kernel)
{
    for (int isa = LG_CPU_ISA_COUNT - 1; isa >= 0; isa--) {
        lg_cpu_kernel_fn *found = lg_cpu_isa_kernel((enum lg_cpu_isa)isa, kernel);
        if (found)
            return found;
    }
    return NULL;
}
