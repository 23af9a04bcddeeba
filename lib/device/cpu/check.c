/* SPDX-License-Identifier: MIT
 *
 * The debug mode. Each dispatch runs on copies of its views, blocks of exactly their size: an address
 * sanitizer sees what is read or written beyond them, and without one a guard behind each block does for
 * writes. What is declared read-only must be unchanged afterwards. Dispatches that no barrier orders run last
 * to first, so that a missing barrier gives wrong results.
 */
#include <string.h>

#include "device/cpu/cpu.h"
#include "util/clock.h"

#if defined(__SANITIZE_ADDRESS__)
enum { GUARD = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { GUARD = 0 };
#else
enum { GUARD = 64 };
#endif
#else
enum { GUARD = 64 }; // bytes
#endif

enum { GUARD_BYTE = 0xa5, LARGEST_IMPORT = 16 << 20 }; // imported views beyond this size are not copied

static void report(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, uint32_t view, const char *what)
{
    cpu->base.check_messages++;
    lg_log(cpu->base.env, LG_LOG_ERROR, "check: %s %s binding %u", lg_kernel_infos[op->kernel].name, what,
           view);
}

static bool is_copied(const struct lg_cpu_op *op, uint32_t view)
{
    return !(op->imported >> view & 1) || op->args.view_size[view] <= LARGEST_IMPORT;
}

static int make_copy(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, uint32_t view, void **out)
{
    size_t size = op->args.view_size[view];
    uint8_t *copy = cpu->base.env->alloc(cpu->base.env->user, size + GUARD);
    if (!copy)
        return lg_fail_nomem(cpu->base.env, "the copy of a view", size);
    memcpy(copy, op->args.view[view], size);
    memset(copy + size, GUARD_BYTE, GUARD);
    *out = copy;
    return 0;
}

static void take_back(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, uint32_t view,
                      const uint8_t *copy)
{
    size_t size = op->args.view_size[view];
    const uint8_t *end = copy + size + GUARD;
    for (const uint8_t *at = copy + size; at < end; at++) {
        if (*at != GUARD_BYTE) {
            report(cpu, op, view, "wrote behind the end of");
            break;
        }
    }
    if (lg_kernel_infos[op->kernel].access[view] & LG_WRITE)
        memcpy(op->args.view[view], copy, size);
    else if (memcmp(op->args.view[view], copy, size) != 0)
        report(cpu, op, view, "wrote to its read-only");
}

static int run_isolated(struct lg_cpu_device *cpu, const struct lg_cpu_op *op)
{
    struct lg_env *env = cpu->base.env;
    uint32_t n_views = lg_kernel_infos[op->kernel].n_views;
    void *copies[LG_MAX_VIEWS] = {0};
    struct lg_cpu_args args;
    int rc = lg_cpu_resolve(cpu, op, &args);
    for (uint32_t i = 0; i < n_views && rc == 0; i++) {
        if (is_copied(op, i)) {
            rc = make_copy(cpu, op, i, &copies[i]);
            args.view[i] = copies[i];
        }
    }
    if (rc == 0)
        rc = lg_cpu_run(cpu, op, &args);
    for (uint32_t i = 0; i < n_views; i++) {
        if (rc == 0 && copies[i])
            take_back(cpu, op, i, copies[i]);
        lg_free(env, copies[i]);
    }
    return rc;
}

int lg_cpu_check_walk(struct lg_cpu_device *cpu, const struct lg_cpu_program *prog, uint32_t begin,
                      uint32_t end)
{
    while (begin < end) {
        uint32_t group_end = begin + 1;
        while (group_end < end && !prog->ops[group_end].barrier)
            group_end++;
        for (uint32_t i = group_end; i-- > begin;) {
            uint64_t start = lg_now_ns();
            LG_TRY(run_isolated(cpu, &prog->ops[i]));
            if (prog->times)
                prog->times[i] = lg_now_ns() - start;
        }
        begin = group_end;
    }
    return 0;
}
