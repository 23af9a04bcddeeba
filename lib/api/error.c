/* SPDX-License-Identifier: MIT */
#include "llmgpu/error.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *llmgpu_version(void)
{
    return STRING(LLMGPU_VERSION_MAJOR) "." STRING(LLMGPU_VERSION_MINOR) "." STRING(LLMGPU_VERSION_PATCH);
}

const char *llmgpu_status_name(int status)
{
#define ROW(code) [-(code)] = #code
    static const char *const names[] = {
        ROW(LLMGPU_OK),
        ROW(LLMGPU_E_INVALID),
        ROW(LLMGPU_E_NOMEM),
        ROW(LLMGPU_E_IO),
        ROW(LLMGPU_E_FORMAT),
        ROW(LLMGPU_E_UNSUPPORTED),
        ROW(LLMGPU_E_NO_DEVICE),
        ROW(LLMGPU_E_DEVICE),
        ROW(LLMGPU_E_DEVICE_LOST),
        ROW(LLMGPU_E_CONTEXT_FULL),
        ROW(LLMGPU_E_CANCELLED),
        ROW(LLMGPU_E_TIMEOUT),
        ROW(LLMGPU_E_RANGE),
        ROW(LLMGPU_E_LIMIT),
        ROW(LLMGPU_E_TEMPLATE),
        ROW(LLMGPU_E_BUSY),
        ROW(LLMGPU_E_INTERNAL),
    };
#undef ROW
    const int n = sizeof(names) / sizeof(names[0]);
    return status <= 0 && status > -n && names[-status] ? names[-status] : "unknown error";
}
