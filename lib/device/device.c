/* SPDX-License-Identifier: MIT */
#include "device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/backends.h"

/* The access letters of kernels/meson.build; padded, so that every index below LG_MAX_VIEWS is inside the
 * string. */
#define ACCESS_OF(c) ((c) == 'i' ? LG_READ : (c) == 'o' ? LG_WRITE : (c) == 'x' ? LG_READ | LG_WRITE : 0)
#define ACCESS(access, i) ACCESS_OF((access "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")[i])
#define ACCESS4(access, i) \
    ACCESS(access, i), ACCESS(access, (i) + 1), ACCESS(access, (i) + 2), ACCESS(access, (i) + 3)
#define KERNEL_INFO(kernel, views, access_string)                                                \
    {.name = #kernel,                                                                            \
     .n_views = views,                                                                           \
     .access = {ACCESS4(access_string, 0), ACCESS4(access_string, 4), ACCESS4(access_string, 8), \
                ACCESS4(access_string, 12)}},

const struct lg_kernel_info lg_kernel_infos[LG_K_COUNT] = {LG_KERNELS(KERNEL_INFO)};

#define CHECK_VIEWS(kernel, views, access_string) \
    _Static_assert(views <= LG_MAX_VIEWS, "kernel " #kernel " has too many bindings");
LG_KERNELS(CHECK_VIEWS)

/* How much a kind of Vulkan device is wanted, 0: never by itself. */
struct preference {
    uint8_t by_auto, by_vulkan;
};

static const struct preference preferences[] = {
    [LG_DEVICE_CPU] = {0, 0},     [LG_DEVICE_DISCRETE] = {3, 5}, [LG_DEVICE_INTEGRATED] = {2, 4},
    [LG_DEVICE_VIRTUAL] = {1, 3}, [LG_DEVICE_OTHER] = {0, 2},    [LG_DEVICE_SOFTWARE] = {0, 1},
};

/* The first device of the most wanted kind, NULL when none is wanted. */
static const struct lg_device_info *best_of(const struct lg_device_info *infos, uint32_t n, bool any_kind)
{
    const struct lg_device_info *best = NULL;
    uint8_t best_rank = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct preference *p = &preferences[infos[i].kind];
        uint8_t rank = any_kind ? p->by_vulkan : p->by_auto;
        if (rank > best_rank) {
            best_rank = rank;
            best = &infos[i];
        }
    }
    return best;
}

static const struct lg_device_info *find_id(const struct lg_device_info *infos, uint32_t n, const char *id)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(infos[i].id, id) == 0)
            return &infos[i];
    return NULL;
}

static int fail_unknown(struct lg_env *env, const struct lg_device_info *infos, uint32_t n, const char *name)
{
    char ids[256] = "cpu";
    for (uint32_t i = 0; i < n; i++) {
        size_t len = strlen(ids);
        snprintf(ids + len, sizeof(ids) - len, ", %s", infos[i].id);
    }
    return lg_fail(env, LLMGPU_E_NO_DEVICE, "no device '%.64s'; this machine has: %s", name, ids);
}

/** What `name` asks for among Vulkan's devices; NULL where there is no such. */
static const struct lg_device_info *choose(const struct lg_device_info *infos, uint32_t n, const char *name)
{
    bool is_auto = strcmp(name, "auto") == 0, is_any = strcmp(name, "vulkan") == 0;
    return is_auto || is_any ? best_of(infos, n, is_any) : find_id(infos, n, name);
}

/** Opens that; *out stays NULL where "auto" means the CPU. */
static int open_vulkan(struct lg_env *env, const struct lg_device_options *options, const char *name,
                       struct lg_device **out)
{
    struct lg_device_info *infos;
    uint32_t n;
    LG_TRY(lg_vk_device_list(env, options, &infos, &n));
    bool is_auto = strcmp(name, "auto") == 0;
    const struct lg_device_info *info = choose(infos, n, name);
    int rc = 0;
    if (info)
        rc = lg_vk_device_open(env, options, (uint32_t)strtoul(info->id + strlen("vulkan:"), NULL, 10), out);
    else if (!is_auto)
        rc = fail_unknown(env, infos, n, name);
    lg_free(env, infos);
    if (is_auto && rc == LLMGPU_E_UNSUPPORTED) {
        lg_log(env, LG_LOG_WARN, "%s; the CPU is used instead", env->error);
        return 0;
    }
    return rc;
}

int lg_device_open(struct lg_env *env, const struct lg_device_options *options, struct lg_device **out)
{
    *out = NULL;
    const char *name = options->name ? options->name : "auto";
    if (options->priority < LG_PRIORITY_DEFAULT || options->priority > LG_PRIORITY_REALTIME)
        return lg_fail(env, LLMGPU_E_INVALID, "there is no priority %d", options->priority);
    if (options->host)
        LG_TRY(lg_vk_device_open(env, options, 0, out));
    else if (strcmp(name, "cpu") != 0)
        LG_TRY(open_vulkan(env, options, name, out));
    if (!*out)
        LG_TRY(lg_cpu_device_open(env, options, out));
    (*out)->check = options->check;
    return 0;
}

int lg_device_find(struct lg_env *env, const char *name, struct lg_device_info *out)
{
    struct lg_device_info *infos = NULL;
    uint32_t n = 0;
    name = name ? name : "auto";
    lg_cpu_device_describe(out, 0);
    if (strcmp(name, "cpu") == 0)
        return 0;
    LG_TRY(lg_vk_device_list(env, &(struct lg_device_options){0}, &infos, &n));
    const struct lg_device_info *info = choose(infos, n, name);
    int rc = 0;
    if (info)
        *out = *info;
    else if (strcmp(name, "auto") != 0)
        rc = fail_unknown(env, infos, n, name);
    lg_free(env, infos);
    return rc;
}

void lg_device_close(struct lg_device *dev)
{
    if (dev)
        dev->ops->destroy(dev);
}

uint64_t lg_device_room(struct lg_device *dev)
{
    uint64_t available;
    if (lg_device_memory_budget(dev, &available) == 0)
        return available;
    return dev->info.memory ? dev->info.memory : UINT64_MAX;
}

int lg_device_list(struct lg_env *env, struct lg_device_info **infos, uint32_t *n_infos)
{
    *infos = NULL;
    *n_infos = 0;
    struct lg_device_info *vulkan;
    uint32_t n;
    LG_TRY(lg_vk_device_list(env, &(struct lg_device_options){0}, &vulkan, &n));
    struct lg_device_info *all = lg_alloc_array(env, (size_t)n + 1, sizeof(*all));
    if (!all) {
        lg_free(env, vulkan);
        return lg_fail_nomem(env, "the list of devices", ((uint64_t)n + 1) * sizeof(*all));
    }
    lg_cpu_device_describe(&all[0], 0);
    if (n)
        memcpy(all + 1, vulkan, n * sizeof(*all));
    lg_free(env, vulkan);
    *infos = all;
    *n_infos = n + 1;
    return 0;
}
