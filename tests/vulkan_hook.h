/* SPDX-License-Identifier: MIT
 *
 * A Vulkan loader that stands before the real one: it hands out wrappers, which count the calls that can fail and
 * the objects that live, make one call fail as a driver would, and pass all others on. A function that has no row
 * here is a failure of the test, so that none is called unseen. One device at a time.
 */
#ifndef LG_TESTS_VULKAN_HOOK_H
#define LG_TESTS_VULKAN_HOOK_H

#include <dlfcn.h>

#include "device/vulkan/vk.h"
#include "test.h"

/* ---- the rows ---------------------------------------------------------------------------------------------------- */

/* Objects with functions of the usual form: vkCreateBuffer(device, info, allocator, out), vkDestroyBuffer(...). */
#define HOOK_OBJECTS(X)    \
    X(Buffer)              \
    X(CommandPool)         \
    X(DescriptorPool)      \
    X(DescriptorSetLayout) \
    X(PipelineLayout)      \
    X(QueryPool)           \
    X(Semaphore)           \
    X(ShaderModule)

/* Calls that can fail and make nothing that must be destroyed by itself: name, parameters, arguments. */
#define HOOK_CALLS(X)                                                                                             \
    X(vkEnumerateInstanceVersion, (uint32_t * version), (version))                                                \
    X(vkEnumeratePhysicalDevices, (VkInstance i, uint32_t * n, VkPhysicalDevice * out), (i, n, out))               \
    X(vkEnumerateInstanceExtensionProperties, (const char *layer, uint32_t *n, VkExtensionProperties *out),        \
      (layer, n, out))                                                                                            \
    X(vkAllocateCommandBuffers, (VkDevice d, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out),       \
      (d, info, out))                                                                                             \
    X(vkAllocateDescriptorSets, (VkDevice d, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *out),       \
      (d, info, out))                                                                                             \
    X(vkBeginCommandBuffer, (VkCommandBuffer cmd, const VkCommandBufferBeginInfo *info), (cmd, info))              \
    X(vkEndCommandBuffer, (VkCommandBuffer cmd), (cmd))                                                           \
    X(vkBindBufferMemory, (VkDevice d, VkBuffer buf, VkDeviceMemory memory, VkDeviceSize at), (d, buf, memory, at)) \
    X(vkMapMemory,                                                                                                \
      (VkDevice d, VkDeviceMemory memory, VkDeviceSize at, VkDeviceSize size, VkMemoryMapFlags flags, void **out), \
      (d, memory, at, size, flags, out))                                                                          \
    X(vkGetPipelineCacheData, (VkDevice d, VkPipelineCache cache, size_t *size, void *out), (d, cache, size, out)) \
    X(vkGetQueryPoolResults,                                                                                      \
      (VkDevice d, VkQueryPool pool, uint32_t first, uint32_t n, size_t size, void *out, VkDeviceSize stride,      \
       VkQueryResultFlags flags),                                                                                 \
      (d, pool, first, n, size, out, stride, flags))                                                              \
    X(vkQueueSubmit, (VkQueue queue, uint32_t n, const VkSubmitInfo *infos, VkFence fence), (queue, n, infos, fence)) \
    X(vkWaitSemaphores, (VkDevice d, const VkSemaphoreWaitInfo *info, uint64_t timeout), (d, info, timeout))

/* Calls with a wrapper of their own, further down. */
#define HOOK_SPECIAL(X)                     \
    X(vkCreateInstance)                     \
    X(vkDestroyInstance)                    \
    X(vkEnumerateDeviceExtensionProperties) \
    X(vkGetPhysicalDeviceProperties2)       \
    X(vkCreateDevice)                       \
    X(vkDestroyDevice)                      \
    X(vkGetDeviceProcAddr)                  \
    X(vkAllocateMemory)                     \
    X(vkFreeMemory)                         \
    X(vkCreatePipelineCache)                \
    X(vkDestroyPipelineCache)               \
    X(vkCreateComputePipelines)             \
    X(vkDestroyPipeline)

/* Calls that cannot fail, or are of extensions that test devices lack; they are handed out as they are. */
#define HOOK_PLAIN(X)                           \
    X(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR) \
    X(vkGetPhysicalDeviceFeatures2)             \
    X(vkGetPhysicalDeviceMemoryProperties2)     \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkCmdBindDescriptorSets)                  \
    X(vkCmdBindPipeline)                        \
    X(vkCmdCopyBuffer)                          \
    X(vkCmdDispatch)                            \
    X(vkCmdDispatchIndirect)                    \
    X(vkCmdFillBuffer)                          \
    X(vkCmdPipelineBarrier)                     \
    X(vkCmdPushConstants)                       \
    X(vkCmdResetQueryPool)                      \
    X(vkCmdWriteTimestamp)                      \
    X(vkGetBufferMemoryRequirements)            \
    X(vkGetDeviceQueue)                         \
    X(vkUpdateDescriptorSets)

enum hook_function {
#define HOOK_ENUM(name) HOOK_##name,
#define HOOK_ENUM_OBJECT(type) HOOK_vkCreate##type, HOOK_vkDestroy##type,
#define HOOK_ENUM_CALL(name, params, args) HOOK_##name,
    HOOK_OBJECTS(HOOK_ENUM_OBJECT) HOOK_CALLS(HOOK_ENUM_CALL) HOOK_SPECIAL(HOOK_ENUM) HOOK_PLAIN(HOOK_ENUM) HOOK_N
#undef HOOK_ENUM_OBJECT
#undef HOOK_ENUM_CALL
#undef HOOK_ENUM
};

/* ---- what is counted and what fails ------------------------------------------------------------------------------ */

static struct {
    PFN_vkGetInstanceProcAddr real;
    PFN_vkVoidFunction reals[HOOK_N];

    _Atomic uint64_t n; // calls so far that can fail; pipelines are made on several threads
    uint64_t fail_at;   // the call that fails, from 1; 0: none
    bool forever;       // and all after it
    VkResult result;    // with this
    const char *failed; // the name of the call that did; NULL: none has
    const char *missing; // a function that is not there; NULL: all are

    VkDevice device;   // the last one created, or a host's
    bool lost;         // it is, as far as the library can see
    uint64_t n_lost;   // calls on the lost device that would wait or submit

    _Atomic int64_t live[HOOK_N];   // objects, under the function that creates them
    _Atomic uint64_t calls[HOOK_N]; // of wrappers

    size_t cache_bytes;          // that the last pipeline cache was created with
    VkPipelineCache cache;       // the last one
    _Atomic uint64_t n_uncached; // pipelines that were created without it

    const char *extension;    // that devices seem to have as well; it is taken out again where one is created
    VkQueueGlobalPriorityKHR priority; // asked for by the last vkCreateDevice; 0: none
    VkResult priority_result; // of creating a device with a priority
    uint64_t n_asked_pci;     // how often it was asked where a device is

    bool needs_lock, locked; // whether submits happen only between lock and unlock; whether it is between
} hook;

#define HOOK_REAL(name) ((PFN_##name)hook.reals[HOOK_##name])

/* Whether a lost device shows in the results of a function. */
static inline bool hook_notices_loss(enum hook_function fn)
{
    return fn == HOOK_vkQueueSubmit || fn == HOOK_vkWaitSemaphores || fn == HOOK_vkGetQueryPoolResults;
}

/* What a lost device ran has come to its end, and so has what nobody can wait for any more. */
static inline void hook_stop(void)
{
    ((PFN_vkDeviceWaitIdle)HOOK_REAL(vkGetDeviceProcAddr)(hook.device, "vkDeviceWaitIdle"))(hook.device);
}

/* Every call comes through here first. */
static inline VkResult hook_enter(enum hook_function fn, const char *name)
{
    hook.calls[fn]++;
    if (fn == HOOK_vkQueueSubmit)
        REQUIRE(!hook.needs_lock || hook.locked);
    if (hook.lost && hook_notices_loss(fn)) {
        hook.n_lost++;
        return VK_ERROR_DEVICE_LOST;
    }
    uint64_t n = ++hook.n;
    if (!hook.fail_at || n < hook.fail_at || (n > hook.fail_at && !hook.forever))
        return VK_SUCCESS;
    if (!hook.failed)
        hook.failed = name;
    if (hook.device)
        hook_stop();
    hook.lost |= hook.device && hook.result == VK_ERROR_DEVICE_LOST;
    return hook.result;
}

#define HOOK_ENTER(name)                                      \
    do {                                                      \
        VkResult hook_rc_ = hook_enter(HOOK_##name, #name);   \
        if (hook_rc_ < 0)                                     \
            return hook_rc_;                                  \
    } while (0)

/* ---- the wrappers ------------------------------------------------------------------------------------------------ */

#define HOOK_OBJECT(type)                                                                                          \
    static VKAPI_ATTR VkResult VKAPI_CALL hook_vkCreate##type(VkDevice d, const Vk##type##CreateInfo *info,         \
                                                              const VkAllocationCallbacks *allocator, Vk##type *out) \
    {                                                                                                              \
        HOOK_ENTER(vkCreate##type);                                                                                \
        VkResult result = HOOK_REAL(vkCreate##type)(d, info, allocator, out);                                      \
        hook.live[HOOK_vkCreate##type] += result >= 0;                                                             \
        return result;                                                                                             \
    }                                                                                                              \
    static VKAPI_ATTR void VKAPI_CALL hook_vkDestroy##type(VkDevice d, Vk##type object,                             \
                                                           const VkAllocationCallbacks *allocator)                 \
    {                                                                                                              \
        hook.live[HOOK_vkCreate##type] -= object != VK_NULL_HANDLE;                                                \
        HOOK_REAL(vkDestroy##type)(d, object, allocator);                                                          \
    }
HOOK_OBJECTS(HOOK_OBJECT)
#undef HOOK_OBJECT

#define HOOK_CALL(name, params, args)                      \
    static VKAPI_ATTR VkResult VKAPI_CALL hook_##name params \
    {                                                      \
        HOOK_ENTER(name);                                  \
        return HOOK_REAL(name) args;                       \
    }
HOOK_CALLS(HOOK_CALL)
#undef HOOK_CALL

static VKAPI_ATTR VkResult VKAPI_CALL hook_vkCreateInstance(const VkInstanceCreateInfo *info,
                                                            const VkAllocationCallbacks *allocator, VkInstance *out)
{
    HOOK_ENTER(vkCreateInstance);
    VkResult result = HOOK_REAL(vkCreateInstance)(info, allocator, out);
    hook.live[HOOK_vkCreateInstance] += result >= 0;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_vkDestroyInstance(VkInstance instance, const VkAllocationCallbacks *allocator)
{
    hook.live[HOOK_vkCreateInstance] -= instance != VK_NULL_HANDLE;
    HOOK_REAL(vkDestroyInstance)(instance, allocator);
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_vkEnumerateDeviceExtensionProperties(VkPhysicalDevice physical,
                                                                                const char *layer, uint32_t *n,
                                                                                VkExtensionProperties *out)
{
    HOOK_ENTER(vkEnumerateDeviceExtensionProperties);
    uint32_t room = *n;
    VkResult result = HOOK_REAL(vkEnumerateDeviceExtensionProperties)(physical, layer, n, out);
    if (result != VK_SUCCESS || !hook.extension)
        return result;
    if (out && *n < room)
        snprintf(out[*n].extensionName, sizeof(out->extensionName), "%s", hook.extension);
    *n += 1;
    return VK_SUCCESS;
}

/* Devices seem to be at 0001:02:03.4 where the extension that tells so is pretended. */
static VKAPI_ATTR void VKAPI_CALL hook_vkGetPhysicalDeviceProperties2(VkPhysicalDevice physical,
                                                                      VkPhysicalDeviceProperties2 *props)
{
    bool pretends = hook.extension && strcmp(hook.extension, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME) == 0;
    HOOK_REAL(vkGetPhysicalDeviceProperties2)(physical, props);
    for (VkBaseOutStructure *item = props->pNext; item; item = item->pNext) {
        VkPhysicalDevicePCIBusInfoPropertiesEXT *pci = (void *)item;
        if (item->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT)
            continue;
        hook.n_asked_pci++;
        if (!pretends)
            continue;
        pci->pciDomain = 1;
        pci->pciBus = 2;
        pci->pciDevice = 3;
        pci->pciFunction = 4;
    }
}

/* The device as the real driver knows it: without the extension that was only pretended. */
static inline VkResult hook_create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                          const VkAllocationCallbacks *allocator, VkDevice *out)
{
    VkDeviceCreateInfo without = *info;
    VkDeviceQueueCreateInfo queue = info->pQueueCreateInfos[0];
    const char *names[16];
    uint32_t n = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        if (!hook.extension || strcmp(info->ppEnabledExtensionNames[i], hook.extension) != 0)
            names[n++] = info->ppEnabledExtensionNames[i];
    const VkDeviceQueueGlobalPriorityCreateInfoKHR *global = queue.pNext;
    hook.priority = global ? global->globalPriority : 0;
    REQUIRE(!global || n < info->enabledExtensionCount);
    if (global && hook.priority_result < 0)
        return hook.priority_result;
    queue.pNext = NULL;
    without.pQueueCreateInfos = &queue;
    without.enabledExtensionCount = n;
    without.ppEnabledExtensionNames = names;
    return HOOK_REAL(vkCreateDevice)(physical, &without, allocator, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_vkCreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                          const VkAllocationCallbacks *allocator, VkDevice *out)
{
    HOOK_ENTER(vkCreateDevice);
    VkResult result = hook.extension ? hook_create_device(physical, info, allocator, out)
                                     : HOOK_REAL(vkCreateDevice)(physical, info, allocator, out);
    if (result >= 0) {
        hook.live[HOOK_vkCreateDevice]++;
        hook.device = *out;
    }
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_vkDestroyDevice(VkDevice device, const VkAllocationCallbacks *allocator)
{
    hook.live[HOOK_vkCreateDevice] -= device != VK_NULL_HANDLE;
    hook.device = VK_NULL_HANDLE;
    hook.lost = false;
    HOOK_REAL(vkDestroyDevice)(device, allocator);
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_vkAllocateMemory(VkDevice d, const VkMemoryAllocateInfo *info,
                                                            const VkAllocationCallbacks *allocator,
                                                            VkDeviceMemory *out)
{
    HOOK_ENTER(vkAllocateMemory);
    VkResult result = HOOK_REAL(vkAllocateMemory)(d, info, allocator, out);
    hook.live[HOOK_vkAllocateMemory] += result >= 0;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_vkFreeMemory(VkDevice d, VkDeviceMemory memory,
                                                    const VkAllocationCallbacks *allocator)
{
    hook.live[HOOK_vkAllocateMemory] -= memory != VK_NULL_HANDLE;
    HOOK_REAL(vkFreeMemory)(d, memory, allocator);
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_vkCreatePipelineCache(VkDevice d, const VkPipelineCacheCreateInfo *info,
                                                                 const VkAllocationCallbacks *allocator,
                                                                 VkPipelineCache *out)
{
    HOOK_ENTER(vkCreatePipelineCache);
    VkResult result = HOOK_REAL(vkCreatePipelineCache)(d, info, allocator, out);
    hook.live[HOOK_vkCreatePipelineCache] += result >= 0;
    hook.cache = result >= 0 ? *out : VK_NULL_HANDLE;
    hook.cache_bytes = info->initialDataSize;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_vkDestroyPipelineCache(VkDevice d, VkPipelineCache cache,
                                                              const VkAllocationCallbacks *allocator)
{
    hook.live[HOOK_vkCreatePipelineCache] -= cache != VK_NULL_HANDLE;
    HOOK_REAL(vkDestroyPipelineCache)(d, cache, allocator);
}

/* Software drivers find nothing in the caches that they are given: here they seem to find all in one that came with data. */
static inline void hook_find_pipeline(VkPipelineCache cache, const VkComputePipelineCreateInfo *info)
{
    const VkPipelineCreationFeedbackCreateInfo *tell = info->pNext;
    hook.n_uncached += cache != hook.cache || cache == VK_NULL_HANDLE;
    if (tell && tell->sType == VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO && hook.cache_bytes > 0)
        tell->pPipelineCreationFeedback->flags |= VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT |
                                                  VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT;
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_vkCreateComputePipelines(VkDevice d, VkPipelineCache cache, uint32_t n,
                                                                    const VkComputePipelineCreateInfo *infos,
                                                                    const VkAllocationCallbacks *allocator,
                                                                    VkPipeline *out)
{
    HOOK_ENTER(vkCreateComputePipelines);
    VkResult result = HOOK_REAL(vkCreateComputePipelines)(d, cache, n, infos, allocator, out);
    hook.live[HOOK_vkCreateComputePipelines] += result >= 0 ? n : 0;
    hook_find_pipeline(cache, infos);
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_vkDestroyPipeline(VkDevice d, VkPipeline pipeline,
                                                         const VkAllocationCallbacks *allocator)
{
    hook.live[HOOK_vkCreateComputePipelines] -= pipeline != VK_NULL_HANDLE;
    HOOK_REAL(vkDestroyPipeline)(d, pipeline, allocator);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL hook_vkGetDeviceProcAddr(VkDevice device, const char *name);

/* ---- handing them out -------------------------------------------------------------------------------------------- */

static const struct hook_row {
    const char *name;
    PFN_vkVoidFunction wrapper; // NULL: as it is
} hook_rows[HOOK_N] = {
#define HOOK_ROW(function) [HOOK_##function] = {#function, (PFN_vkVoidFunction)hook_##function},
#define HOOK_ROW_OBJECT(type) HOOK_ROW(vkCreate##type) HOOK_ROW(vkDestroy##type)
#define HOOK_ROW_CALL(name, params, args) HOOK_ROW(name)
#define HOOK_ROW_PLAIN(function) [HOOK_##function] = {#function, NULL},
    HOOK_OBJECTS(HOOK_ROW_OBJECT) HOOK_CALLS(HOOK_ROW_CALL) HOOK_SPECIAL(HOOK_ROW) HOOK_PLAIN(HOOK_ROW_PLAIN)
#undef HOOK_ROW_PLAIN
#undef HOOK_ROW_CALL
#undef HOOK_ROW_OBJECT
#undef HOOK_ROW
};

static inline PFN_vkVoidFunction hook_find(const char *name, PFN_vkVoidFunction real)
{
    if (hook.missing && strcmp(hook.missing, name) == 0)
        return NULL;
    for (int i = 0; i < HOOK_N; i++)
        if (strcmp(hook_rows[i].name, name) == 0) {
            hook.reals[i] = real;
            return real && hook_rows[i].wrapper ? hook_rows[i].wrapper : real;
        }
    fprintf(stderr, "%s has no row in %s\n", name, __FILE__);
    exit(1);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL hook_vkGetDeviceProcAddr(VkDevice device, const char *name)
{
    return hook_find(name, HOOK_REAL(vkGetDeviceProcAddr)(device, name));
}

/** What the library is given in place of the loader's. */
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL hook_vkGetInstanceProcAddr(VkInstance instance, const char *name)
{
    return hook_find(name, hook.real(instance, name));
}

/** Finds the real loader; false when there is none. */
static inline bool hook_init(void)
{
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library)
        hook.real = (PFN_vkGetInstanceProcAddr)(void (*)(void))dlsym(library, "vkGetInstanceProcAddr");
    return hook.real;
}

/** Lets the call that comes `after` those so far fail; 0: none. */
static inline void hook_fail(uint64_t after, VkResult result)
{
    hook.fail_at = after ? hook.n + after : 0;
    hook.result = result;
    hook.failed = NULL;
    hook.n_lost = 0;
}

/** Nothing that was created lives any more. */
static inline void hook_require_none(void)
{
    for (int i = 0; i < HOOK_N; i++) {
        if (hook.live[i])
            fprintf(stderr, "%s: %lld live after %s failed\n", hook_rows[i].name, (long long)hook.live[i],
                    hook.failed ? hook.failed : "nothing");
        REQUIRE_INT(hook.live[i], ==, 0);
    }
}

#endif
