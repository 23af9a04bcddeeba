/* SPDX-License-Identifier: MIT
 *
 * The Vulkan backend's own structs, shared by the files of this directory only.
 *
 * There is one queue and one timeline semaphore. Every submission, of a program or of the staging ring,
 * signals the next value of the semaphore, and that value is its ticket. Every command buffer ends with a
 * barrier from all it wrote to everything that may come after it (lg_vk_cmd_end), so no command buffer needs
 * to know what ran before it: slices can be listed in any number and order, and copies and programs follow
 * one another on the queue.
 *
 * Entry points: those of a device are in lg_vk_device.vk, those of an instance in lg_vk_instance.fn. volk's
 * own global pointers are touched under a lock in instance.c only, because the host may have Vulkan devices
 * of its own.
 */
#ifndef LG_DEVICE_VULKAN_VK_H
#define LG_DEVICE_VULKAN_VK_H

#include <volk.h>

#include "device/backends.h"
#include "device/device.h"

/* ---- error.c
 * ---------------------------------------------------------------------------------------------------- */

/** Turns the result of the Vulkan call `what` into 0 or a failure with a sentence. Positive results are 0. */
int lg_vk_result(struct lg_env *env, VkResult result, const char *what);

struct lg_vk_device;
/** The same for calls on a device: remembers that it was lost. */
int lg_vk_device_result(struct lg_vk_device *dev, VkResult result, const char *what);

/** LLMGPU_E_DEVICE_LOST when the device is gone, 0 else. */
int lg_vk_alive(struct lg_vk_device *dev);

/** Calls a device function and forwards its failure: VK(dev, vkQueueSubmit, dev->queue, ...). */
#define VK(dev, function, ...) LG_TRY(lg_vk_device_result((dev), (dev)->vk.function(__VA_ARGS__), #function))

/** The same for functions that create an object; *out is null when they fail. */
#define VK_CREATE(dev, function, info, out)                                           \
    do {                                                                              \
        VkResult vk_result_ = (dev)->vk.function((dev)->handle, (info), NULL, (out)); \
        if (vk_result_ < 0)                                                           \
            *(out) = VK_NULL_HANDLE;                                                  \
        LG_TRY(lg_vk_device_result((dev), vk_result_, #function));                    \
    } while (0)

/* ---- instance.c
 * ------------------------------------------------------------------------------------------------- */

/* Instance functions in use; each is a member of struct lg_vk_instance_fns. The last two are NULL without
 * checks. */
#define LG_VK_INSTANCE_FNS(X)                   \
    X(vkDestroyInstance)                        \
    X(vkEnumeratePhysicalDevices)               \
    X(vkEnumerateDeviceExtensionProperties)     \
    X(vkGetPhysicalDeviceFeatures2)             \
    X(vkGetPhysicalDeviceMemoryProperties2)     \
    X(vkGetPhysicalDeviceProperties2)           \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkCreateDevice)                           \
    X(vkGetDeviceProcAddr)                      \
    X(vkCreateDebugUtilsMessengerEXT)           \
    X(vkDestroyDebugUtilsMessengerEXT)

struct lg_vk_instance_fns {
#define LG_VK_MEMBER(name) PFN_##name name;
    LG_VK_INSTANCE_FNS(LG_VK_MEMBER)
#undef LG_VK_MEMBER
};

struct lg_vk_instance {
    struct lg_env *env;
    VkInstance handle;
    struct lg_vk_instance_fns fn;
    VkPhysicalDevice *physical; // in the driver's order
    uint32_t n_physical;
    VkDebugUtilsMessengerEXT messenger;
    uint32_t *n_messages; // counts validation messages; not owned
};

/**
 * Creates an instance and enumerates its physical devices. A machine without a Vulkan loader, without a
 * driver or with a Vulkan before 1.2 gives a success with no devices.
 *
 * @param n_messages not NULL turns validation on and counts its messages; LLMGPU_E_UNSUPPORTED without the
 * layer
 */
int lg_vk_instance_init(struct lg_vk_instance *inst, struct lg_env *env, uint32_t *n_messages);
/** A zeroed or half-built instance is allowed. */
void lg_vk_instance_finish(struct lg_vk_instance *inst);
/** Fills a device's own table of entry points. */
void lg_vk_load_device_table(const struct lg_vk_instance *inst, VkDevice device,
                             struct VolkDeviceTable *table);

/* ---- probe.c
 * ---------------------------------------------------------------------------------------------------- */

/* What was found out of a physical device, before anything is created on it. */
struct lg_vk_probe {
    VkPhysicalDeviceProperties2 props;
    VkPhysicalDeviceVulkan11Properties props11;
    VkPhysicalDeviceVulkan12Properties props12;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroup_sizes;
    VkPhysicalDeviceMemoryProperties memory;
    uint64_t max_buffer_size;
    uint32_t queue_family;
    uint32_t timestamp_bits;
    bool has_memory_budget;       // VK_EXT_memory_budget
    bool has_portability_subset;  // VK_KHR_portability_subset, which must be turned on where it exists
    bool subgroup_size_extension; // subgroup size control comes from the extension, not from Vulkan 1.3
    bool pins_subgroup_size;      // the size varies and pipelines can require one
    bool full_subgroups;
};

/** Says why not with LLMGPU_E_UNSUPPORTED when this library cannot use the device. */
int lg_vk_probe(const struct lg_vk_instance *inst, VkPhysicalDevice physical, struct lg_vk_probe *probe);
void lg_vk_describe(const struct lg_vk_probe *probe, uint32_t index, struct lg_device_info *info);

/* ---- memory.c
 * --------------------------------------------------------------------------------------------------- */

struct lg_vk_free_range {
    uint64_t offset, size;
};

/* An allocation of the driver from which buffers get their ranges. */
struct lg_vk_block {
    struct lg_vk_block *next;
    VkDeviceMemory memory;
    uint32_t type;
    uint8_t *map;                  // the whole block, when the host reaches it
    uint32_t n_used;               // ranges handed out
    struct lg_vk_free_range *free; // ascending, never touching one another
    uint32_t n_free, free_cap;     // free_cap > n_used + 1, so that giving back never allocates
};

/* A part of a block, owned by a buffer. */
struct lg_vk_range {
    struct lg_vk_block *block;
    uint64_t offset, size;
};

int lg_vk_range_alloc(struct lg_vk_device *dev, const VkMemoryRequirements *req, enum lg_mem mem,
                      struct lg_vk_range *out);
/** A zeroed range is allowed. A block with nothing left in it goes back to the driver. */
void lg_vk_range_free(struct lg_vk_device *dev, struct lg_vk_range *range);
int lg_vk_memory_budget(struct lg_device *base, uint64_t *available);

/* ---- buffer.c
 * --------------------------------------------------------------------------------------------------- */

/* Bytes [begin, end) of a buffer; none when they are equal. */
struct lg_vk_span {
    uint64_t begin, end;
};

struct lg_vk_buffer {
    struct lg_buffer base;
    VkBuffer handle;
    struct lg_vk_range range;
    bool holds_grids; // some program reads indirect workgroup counts from it

    /* staging.c: what the copies of one segment, those without a barrier between them, touched */
    uint64_t segment;
    struct lg_vk_span read, written;
};

int lg_vk_buffer_create(struct lg_device *base, uint64_t size, enum lg_mem mem, struct lg_buffer **out);
int lg_vk_buffer_import(struct lg_device *base, const void *host, uint64_t size, struct lg_buffer **out);
void lg_vk_buffer_destroy(struct lg_buffer *base);

/** Makes a buffer without zeroing and counting it: the staging ring. */
int lg_vk_buffer_init(struct lg_vk_device *dev, struct lg_vk_buffer *buf, uint64_t size, enum lg_mem mem);
/** A zeroed or half-built buffer is allowed. */
void lg_vk_buffer_finish(struct lg_vk_device *dev, struct lg_vk_buffer *buf);
/** Whether the view lies inside its buffer. */
bool lg_vk_view_fits(const struct lg_view *view);

/* ---- staging.c
 * -------------------------------------------------------------------------------------------------- */

enum {
    LG_VK_CHUNKS = 4,
    LG_VK_CHUNK_SIZE = 4 << 20, // bytes
};

/* A quarter of the ring with the commands that copy out of it or into it. */
struct lg_vk_chunk {
    VkCommandBuffer cmd;
    uint64_t ticket; // of its last submission
};

/* Copies are gathered in the current chunk and submitted when it is full, or before anything else is
 * submitted. */
struct lg_vk_staging {
    VkCommandPool pool;
    struct lg_vk_buffer ring;
    struct lg_vk_chunk chunks[LG_VK_CHUNKS];
    uint32_t current;     // chunk
    bool recording;       // the current chunk's commands
    uint64_t used;        // bytes of the current chunk
    uint64_t segment;     // number of the current segment, ascending
    uint64_t last_ticket; // of the last submitted chunk
};

int lg_vk_staging_init(struct lg_vk_device *dev);
/** Half-built is allowed. */
void lg_vk_staging_finish(struct lg_vk_device *dev);
/** Zeroes a buffer. */
int lg_vk_staging_zero(struct lg_vk_device *dev, struct lg_vk_buffer *buf);
/** Submits what was gathered; nothing is not a failure. */
int lg_vk_staging_submit(struct lg_vk_device *dev);
int lg_vk_upload(struct lg_device *base, struct lg_view dst, const void *src);
int lg_vk_download(struct lg_device *base, struct lg_view src, void *dst);
int lg_vk_copy(struct lg_device *base, struct lg_view dst, struct lg_view src);
int lg_vk_flush(struct lg_device *base);

/* ---- pipeline.c, cache.c
 * ---------------------------------------------------------------------------------------- */

struct lg_vk_pipeline {
    enum lg_kernel kernel;
    uint32_t spec[LG_MAX_SPEC];
    VkPipeline handle;
};

/* The pipelines made so far and what they are made with. */
struct lg_vk_pipelines {
    VkDescriptorSetLayout set_layouts[LG_MAX_VIEWS + 1]; // by the number of bindings; made when first needed
    VkPipelineLayout layouts[LG_MAX_VIEWS + 1];
    struct lg_vk_pipeline *items;
    uint32_t n, cap;

    VkPipelineCache cache;
    char *cache_path;     // NULL without a cache file
    uint64_t cache_key;   // of the kernels and the driver
    uint64_t loaded_hash; // of the data that was read from the file, 0 when none was
};

/** The layouts for kernels with that many bindings. */
int lg_vk_layout_get(struct lg_vk_device *dev, uint32_t n_views, VkDescriptorSetLayout *set,
                     VkPipelineLayout *layout);
/** The pipeline of a kernel with these specialisation constants, compiled when it is not there yet. */
int lg_vk_pipeline_get(struct lg_vk_device *dev, enum lg_kernel kernel, const uint32_t spec[LG_MAX_SPEC],
                       VkPipeline *out);
/** Half-built is allowed. */
void lg_vk_pipelines_finish(struct lg_vk_device *dev);

/** Creates the pipeline cache, filled from the file in `dir` when there is a right one. NULL is no file. */
int lg_vk_cache_open(struct lg_vk_device *dev, const char *dir);
/** Writes the file when something new was compiled. A file that cannot be written is logged, no failure. */
void lg_vk_cache_save(struct lg_vk_device *dev);

/* ---- program.c, submit.c
 * ---------------------------------------------------------------------------------------- */

struct lg_vk_slice {
    uint32_t first_op, n_ops;
    uint32_t n_barriers;  // that the description asked for
    uint32_t first_query; // of the n_ops + 1 time stamps, when measured
};

struct lg_vk_program {
    struct lg_program base;
    VkDescriptorPool sets;
    VkCommandPool pool;
    VkCommandBuffer *cmds; // of each slice
    struct lg_vk_slice *slices;
    VkQueryPool queries; // null when not measured
    uint32_t n_queries;

    uint64_t last_ticket; // of its last submission, and the slices that were in it
    uint32_t last_first, last_n;
};

int lg_vk_program_create(struct lg_device *base, const struct lg_program_desc *desc, struct lg_program **out);
void lg_vk_program_destroy(struct lg_program *base);
int lg_vk_program_submit(struct lg_program *base, uint32_t first_slice, uint32_t n_slices, uint32_t repeat,
                         uint64_t *ticket);
int lg_vk_program_times(struct lg_program *base, uint64_t *ns);
int lg_vk_wait(struct lg_device *base, uint64_t ticket, uint64_t timeout_ns);
void lg_vk_cancel(struct lg_device *base);

/** Submits command buffers under the next ticket. */
int lg_vk_queue_submit(struct lg_vk_device *dev, const VkCommandBuffer *cmds, uint32_t n, uint64_t *ticket);
/** Ends a command buffer with the barrier that makes all it wrote visible to the host and to what follows. */
int lg_vk_cmd_end(struct lg_vk_device *dev, VkCommandBuffer cmd);

/* ---- device.c
 * --------------------------------------------------------------------------------------------------- */

struct lg_vk_device {
    struct lg_device base;
    struct lg_vk_instance inst;
    struct lg_vk_probe probe;
    VkPhysicalDevice physical;
    VkDevice handle;
    struct VolkDeviceTable vk;
    VkQueue queue;

    VkSemaphore timeline;
    uint64_t last_ticket; // submitted
    uint64_t done_ticket; // known to be finished
    atomic_bool cancelled;
    VkCommandBuffer *submit_list; // a program's slices, repeated; grows to the longest submission
    uint32_t submit_cap;

    struct lg_vk_block *blocks;
    uint32_t n_blocks;
    struct lg_vk_staging staging;
    struct lg_vk_pipelines pipelines;
};

static inline struct lg_vk_device *lg_vk_device(struct lg_device *base)
{
    return (struct lg_vk_device *)base;
}

static inline struct lg_vk_buffer *lg_vk_buffer(struct lg_buffer *base)
{
    return (struct lg_vk_buffer *)base;
}

static inline struct lg_vk_program *lg_vk_program(struct lg_program *base)
{
    return (struct lg_vk_program *)base;
}

#endif
