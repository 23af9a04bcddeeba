/* SPDX-License-Identifier: MIT
 *
 * The CPU device's kernels: a plain C version of each kernel in kernels/meson.build. It is the reference that the GPU
 * kernels are checked against, and the fallback where there is no GPU.
 */
#ifndef LG_DEVICE_CPU_KERNEL_H
#define LG_DEVICE_CPU_KERNEL_H

#include "device/device.h"
#include "push.h"

/** A dispatch as a kernel sees it. */
struct lg_cpu_args {
    void *view[LG_MAX_VIEWS];         // where each binding begins
    uint64_t view_size[LG_MAX_VIEWS]; // bytes
    const void *push;                 // the kernel's push constants
    const uint32_t *spec;             // specialisation constants
    uint32_t grid[3];                 // workgroups
};

/**
 * Runs workgroups [first, last) of the grid, x fastest: i = x + grid[0] * (y + grid[1] * z). Different ranges of one
 * dispatch may run on different threads at the same time, so a workgroup writes only what is its own.
 */
typedef void lg_cpu_kernel_fn(const struct lg_cpu_args *args, uint32_t first, uint32_t last);

#define LG_DECLARE_CPU_KERNEL(name, n_views, access) lg_cpu_kernel_fn lg_cpu_##name;
LG_KERNELS(LG_DECLARE_CPU_KERNEL)
#undef LG_DECLARE_CPU_KERNEL

/** By enum lg_kernel. */
extern lg_cpu_kernel_fn *const lg_cpu_kernels[LG_K_COUNT];

#endif
