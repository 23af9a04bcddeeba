/* SPDX-License-Identifier: MIT
 *
 * From the loader's one exported function to tables of entry points, without a variable of the process: the
 * host, or another copy of this library, may use Vulkan in whatever way it likes.
 */
#include <dlfcn.h>
#include <string.h>

#include "device/vulkan/vk.h"

static void *open_library(void)
{
    static const int mode =
        RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE; // drivers leave threads and handlers behind
    void *library = dlopen("libvulkan.so.1", mode);
    return library ? library : dlopen("libvulkan.so", mode);
}

bool lg_vk_loader_open(struct lg_vk_loader *loader, PFN_vkGetInstanceProcAddr get)
{
    memset(loader, 0, sizeof(*loader));
    if (!get) {
        loader->library = open_library();
        if (loader->library)
            get = (PFN_vkGetInstanceProcAddr)(void (*)(void))dlsym(loader->library, "vkGetInstanceProcAddr");
    }
    loader->get = get;
    return get;
}

void lg_vk_loader_close(struct lg_vk_loader *loader)
{
    if (loader->library)
        dlclose(loader->library);
    memset(loader, 0, sizeof(*loader));
}

bool lg_vk_load_globals(struct lg_vk_instance *inst)
{
    bool complete = true;
#define LOAD(name)                                                           \
    inst->global.name = (PFN_##name)inst->loader.get(VK_NULL_HANDLE, #name); \
    complete &= inst->global.name != NULL;
    LG_VK_GLOBAL_FNS(LOAD)
#undef LOAD
    return complete;
}

int lg_vk_load_instance(struct lg_vk_instance *inst)
{
    const char *missing = NULL;
#define LOAD(name)                                                     \
    inst->fn.name = (PFN_##name)inst->loader.get(inst->handle, #name); \
    if (!inst->fn.name)                                                \
        missing = #name;
    LG_VK_INSTANCE_FNS(LOAD)
#define LOAD_OPTIONAL(name) inst->fn.name = (PFN_##name)inst->loader.get(inst->handle, #name);
    LG_VK_OPTIONAL_FNS(LOAD_OPTIONAL)
#undef LOAD_OPTIONAL
    if (inst->n_messages) {
        LG_VK_DEBUG_FNS(LOAD)
    }
#undef LOAD
    return missing ? lg_fail(inst->env, LLMGPU_E_DEVICE, "the Vulkan loader lacks %s", missing) : 0;
}

int lg_vk_load_device(const struct lg_vk_instance *inst, VkDevice device, struct lg_vk_device_fns *fns)
{
    const char *missing = NULL;
#define LOAD(name)                                                       \
    fns->name = (PFN_##name)inst->fn.vkGetDeviceProcAddr(device, #name); \
    if (!fns->name)                                                      \
        missing = #name;
    LG_VK_DEVICE_FNS(LOAD)
#undef LOAD
    return missing ? lg_fail(inst->env, LLMGPU_E_DEVICE, "the Vulkan driver lacks %s", missing) : 0;
}
