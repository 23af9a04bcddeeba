/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <stdlib.h>
#include <string.h>

#include "api/params.h"

struct llmgpu_device_list {
    struct lg_env env;
    struct lg_device_info *infos;
    uint32_t n;
};

static const int32_t public_kinds[] = {
    [LG_DEVICE_CPU] = LLMGPU_DEVICE_CPU,
    [LG_DEVICE_DISCRETE] = LLMGPU_DEVICE_DISCRETE,
    [LG_DEVICE_INTEGRATED] = LLMGPU_DEVICE_INTEGRATED,
    [LG_DEVICE_VIRTUAL] = LLMGPU_DEVICE_VIRTUAL,
    [LG_DEVICE_SOFTWARE] = LLMGPU_DEVICE_SOFTWARE,
    [LG_DEVICE_OTHER] = LLMGPU_DEVICE_OTHER,
};

void lg_api_device_info(const struct lg_device_info *from, llmgpu_device_info *to)
{
    *to = (llmgpu_device_info){
        .kind = public_kinds[from->kind],
        .threads = from->n_threads,
        .memory = from->memory,
    };
    memcpy(to->id, from->id, sizeof(to->id));
    memcpy(to->name, from->name, sizeof(to->name));
    memcpy(to->driver, from->driver, sizeof(to->driver));
}

int llmgpu_device_list_create(llmgpu_device_list **out)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    llmgpu_device_list *list = calloc(1, sizeof(*list));
    if (!list)
        return LLMGPU_E_NOMEM;
    lg_env_init(&list->env);
    int rc = lg_device_list(&list->env, &list->infos, &list->n);
    if (rc < 0) {
        llmgpu_device_list_free(list);
        return rc;
    }
    *out = list;
    return 0;
}

uint32_t llmgpu_device_list_count(const llmgpu_device_list *list)
{
    return list ? list->n : 0;
}

int llmgpu_device_list_get(const llmgpu_device_list *list, uint32_t index, llmgpu_device_info *out, size_t size)
{
    llmgpu_device_info info;
    if (!list || index >= list->n)
        return LLMGPU_E_INVALID;
    lg_api_device_info(&list->infos[index], &info);
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_device_info, memory));
}

void llmgpu_device_list_free(llmgpu_device_list *list)
{
    if (!list)
        return;
    lg_free(&list->env, list->infos);
    free(list);
}
