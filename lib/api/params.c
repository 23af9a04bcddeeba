/* SPDX-License-Identifier: MIT */
#include "api/params.h"

#include <string.h>

enum { MAX_STRUCT = 1 << 12 }; // bytes; no version of any struct is this large

static bool is_size(size_t size, size_t least)
{
    return size >= least && size <= MAX_STRUCT;
}

int lg_api_params_init(void *params, size_t size, const void *defaults, size_t own, size_t least)
{
    if (!params || !is_size(size, least))
        return LLMGPU_E_INVALID;
    memset(params, 0, size);
    memcpy(params, defaults, size < own ? size : own);
    uint32_t known = (uint32_t)size;
    memcpy(params, &known, sizeof(known));
    return 0;
}

int lg_api_params_in(struct lg_env *env, void *to, size_t own, size_t least, const void *from)
{
    uint32_t size;
    memcpy(&size, from, sizeof(size));
    if (!is_size(size, least))
        return lg_fail(env, LLMGPU_E_INVALID, "a struct of %u bytes: its init function sets the size", size);
    for (const unsigned char *p = (const unsigned char *)from + own; size > own && p < (const unsigned char *)from + size; p++)
        if (*p)
            return lg_fail(env, LLMGPU_E_UNSUPPORTED,
                           "a parameter at byte %zu is set that this version of the library does not have",
                           (size_t)(p - (const unsigned char *)from));
    memcpy(to, from, size < own ? size : own);
    return 0;
}

int lg_api_info_out(void *out, size_t size, const void *info, size_t own, size_t least)
{
    if (!out || !is_size(size, least))
        return LLMGPU_E_INVALID;
    memset(out, 0, size);
    memcpy(out, info, size < own ? size : own);
    return 0;
}
