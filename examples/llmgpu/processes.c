/* SPDX-License-Identifier: MIT */
#include "processes.h"

#include <stdlib.h>
#include <string.h>

/** Where launchers say how many processes they start: Open MPI; MPICH, Intel MPI and Slurm's PMI-2; Slurm. */
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};

uint32_t cli_processes_started(void)
{
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        const char *text = getenv(sizes[i]);
        unsigned long n = text ? strtoul(text, NULL, 10) : 0;
        if (n > 0 && n <= INT32_MAX)
            return (uint32_t)n;
    }
    return 1;
}

/** Kinds of devices by how much they are wanted; "auto" takes one of the first three. */
static const int32_t kinds[] = {LLMGPU_DEVICE_DISCRETE, LLMGPU_DEVICE_INTEGRATED, LLMGPU_DEVICE_VIRTUAL,
                                LLMGPU_DEVICE_OTHER, LLMGPU_DEVICE_SOFTWARE};

/** Takes device number `at` of a kind, counted round; false when there is none. */
static bool pick_device(const llmgpu_device_list *list, int32_t kind, uint32_t at, char id[32])
{
    llmgpu_device_info info;
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < llmgpu_device_list_count(list); i++)
        n += llmgpu_device_list_get(list, i, &info, sizeof(info)) >= 0 && info.kind == kind;
    for (uint32_t i = 0; n > 0 && i < llmgpu_device_list_count(list); i++) {
        if (llmgpu_device_list_get(list, i, &info, sizeof(info)) < 0 || info.kind != kind || k++ != at % n)
            continue;
        snprintf(id, 32, "%s", info.id);
        return true;
    }
    return false;
}

void cli_processes_share(const struct cli_processes *p, struct cli_engine_options *options, char id[32])
{
    bool is_auto = strcmp(options->device, "auto") == 0, is_any = strcmp(options->device, "vulkan") == 0;
    size_t n_kinds = is_auto ? 3 : is_any ? sizeof(kinds) / sizeof(*kinds) : 0;
    llmgpu_device_list *list = NULL;
    if (options->n_threads == 0)
        options->n_threads = p->n_threads;
    if (p->n_local < 2 || n_kinds == 0 || llmgpu_device_list_create(&list) < 0)
        return; // whoever opens the device says what is wrong
    for (size_t i = 0; i < n_kinds; i++) {
        if (pick_device(list, kinds[i], p->local, id)) {
            options->device = id;
            break;
        }
    }
    llmgpu_device_list_free(list);
}
