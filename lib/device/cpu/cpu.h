/* SPDX-License-Identifier: MIT
 * The CPU device's own structs. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_CPU_H
#define LG_DEVICE_CPU_CPU_H

#include "device/cpu/kernel.h"
#include "util/pool.h"

struct lg_cpu_device {
    struct lg_device base;
    struct lg_pool *pool;
    bool check; // options.check
    uint64_t last_ticket;
};

struct lg_cpu_buffer {
    struct lg_buffer base;
    void *block;     // what lg_free() or munmap() takes; NULL when imported
    uint64_t mapped; // bytes of the map; 0 when `block` came from the env
    bool imported;
};

/** A dispatch with all that can be known beforehand. */
struct lg_cpu_op {
    enum lg_kernel kernel;
    lg_cpu_kernel_fn *run;
    struct lg_cpu_args args; // `push` and `spec` point at the two members below
    _Alignas(8) uint8_t push[LG_MAX_PUSH];
    uint32_t spec[LG_MAX_SPEC];
    const uint32_t *indirect; // where the grid is when the dispatch starts; NULL: args.grid is it
    uint64_t cost;            // multiplications of a workgroup, roughly
    uint32_t imported;        // bit i: view i is memory of the host
    bool barrier;
};

struct lg_cpu_program {
    struct lg_program base;
    struct lg_cpu_op *ops; // n_ops
    uint32_t *slices;      // n_slices + 1: where each begins, and n_ops
    uint64_t *times;       // n_ops; NULL without timestamps
};

int lg_cpu_program_create(struct lg_device *dev, const struct lg_program_desc *desc, struct lg_program **out);
void lg_cpu_program_destroy(struct lg_program *prog);
int lg_cpu_submit(struct lg_device *dev, const struct lg_piece *pieces, uint32_t n_pieces,
                  uint64_t *ticket);
int lg_cpu_program_times(struct lg_program *prog, uint64_t *ns);

/** Whether a range lies in a buffer of the device, with a sentence when it does not. */
int lg_cpu_check_view(struct lg_device *dev, const struct lg_view *view, const char *what);

/** Multiplications, roughly, that a workgroup of the dispatch does: what the thread pool shares out. */
uint64_t lg_cpu_cost(const struct lg_dispatch *dispatch);

/** Whether the workgroups of a grid's second dimension read the same weights: a thread takes all of them. */
bool lg_cpu_is_shared(enum lg_kernel kernel);

/**
 * Runs an op with these arguments, whose grid is final, on the pool.
 *
 * @return 0 or LLMGPU_E_CANCELLED
 */
int lg_cpu_run(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, const struct lg_cpu_args *args);
/** The op's arguments with the grid that holds now. LLMGPU_E_INVALID when it has too many workgroups. */
int lg_cpu_resolve(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, struct lg_cpu_args *args);

/**
 * The debug mode's walk of ops [begin, end): each sees copies of its views, and ops without a barrier between
 * them run last to first.
 */
int lg_cpu_check_walk(struct lg_cpu_device *cpu, const struct lg_cpu_program *prog, uint32_t begin,
                      uint32_t end);

#endif
