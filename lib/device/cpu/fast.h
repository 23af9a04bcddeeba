/* SPDX-License-Identifier: MIT
 * Faster versions of the hot kernels, compiled once for each instruction set. They give the same bits as the
 * reference. */
#ifndef LG_DEVICE_CPU_FAST_H
#define LG_DEVICE_CPU_FAST_H

#include "device/cpu/kernel.h"

enum lg_cpu_isa {
    LG_CPU_PORTABLE, // what every processor of the architecture has
    LG_CPU_AVX2,     // with FMA and F16C
    LG_CPU_AVX512,   // F, BW, DQ and VL
    LG_CPU_VNNI,     // and the integer dot products of AVX-512
    LG_CPU_DOTPROD,  // NEON with dot products of bytes
    LG_CPU_ISA_COUNT
};

/** "SSE2" or the like, for people. */
const char *lg_cpu_isa_name(enum lg_cpu_isa isa);
/** The best that this build and this processor have. */
enum lg_cpu_isa lg_cpu_best_isa(void);
/** The version for an instruction set; NULL when there is none, or when this build or processor lacks the
 * set. */
lg_cpu_kernel_fn *lg_cpu_isa_kernel(enum lg_cpu_isa isa, enum lg_kernel kernel);
/** The fastest version; NULL when that is the reference. */
lg_cpu_kernel_fn *lg_cpu_fast(enum lg_kernel kernel);

/** The table of a file and an instruction set, by enum lg_kernel; NULL entries have no fast version there. */
typedef lg_cpu_kernel_fn *const lg_cpu_fast_table[LG_K_COUNT];
extern lg_cpu_fast_table lg_cpu_hot_portable, lg_cpu_hot_avx2, lg_cpu_hot_avx512;
extern lg_cpu_fast_table lg_cpu_hot_attention_portable, lg_cpu_hot_attention_avx2, lg_cpu_hot_attention_avx512;
extern lg_cpu_fast_table lg_cpu_hot_rows_portable, lg_cpu_hot_rows_avx2, lg_cpu_hot_rows_avx512;
extern lg_cpu_fast_table lg_cpu_hot_attention_train_portable, lg_cpu_hot_attention_train_avx2;
extern lg_cpu_fast_table lg_cpu_hot_attention_train_avx512;
extern lg_cpu_fast_table lg_cpu_hot_rows_train_portable, lg_cpu_hot_rows_train_avx2, lg_cpu_hot_rows_train_avx512;
extern lg_cpu_fast_table lg_cpu_hot_train_portable, lg_cpu_hot_train_avx2, lg_cpu_hot_train_avx512;
extern lg_cpu_fast_table lg_cpu_hot_i8_avx2, lg_cpu_hot_i8_vnni;
extern lg_cpu_fast_table lg_cpu_hot_i8_tile_avx2, lg_cpu_hot_i8_tile_vnni, lg_cpu_hot_i8_tile_dotprod;

#endif
