/* SPDX-License-Identifier: MIT */
#include "device/cpu/kernel.h"

#define REFERENCE(name, n_views, access) lg_cpu_##name,
lg_cpu_kernel_fn *const lg_cpu_kernels[LG_K_COUNT] = {LG_KERNELS(REFERENCE)};
