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
 * Entry points: those of a device are in lg_vk_device.vk, those of an instance in lg_vk_instance.fn, those of
 * the loader in lg_vk_loader. Nothing is shared between devices: neither with others of this library nor with
 * the host's.
 */
#ifndef LG_DEVICE_VULKAN_VK_H
#define LG_DEVICE_VULKAN_VK_H

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES // the names of the entry points may be somebody else's variables
#endif
#include <vulkan/vulkan_core.h>

#ifndef VK_KHR_cooperative_matrix // headers before 1.3.255
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)

typedef enum VkComponentTypeKHR {
    VK_COMPONENT_TYPE_FLOAT16_KHR = 0,
    VK_COMPONENT_TYPE_FLOAT32_KHR = 1,
    VK_COMPONENT_TYPE_MAX_ENUM_KHR = 0x7fffffff,
} VkComponentTypeKHR;

typedef enum VkScopeKHR {
    VK_SCOPE_SUBGROUP_KHR = 3,
    VK_SCOPE_MAX_ENUM_KHR = 0x7fffffff,
} VkScopeKHR;

typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    VkComponentTypeKHR AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;

typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;

typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice, uint32_t *, VkCooperativeMatrixPropertiesKHR *);
#endif

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

/* ---- loader.c
 * -------------------------------------------------------------------------------------------------- */

/* Functions in use. Each is a member of the struct of its kind, and a name that loader.c asks for. */
#define LG_VK_GLOBAL_FNS(X)                   \
    X(vkCreateInstance)                       \
    X(vkEnumerateInstanceExtensionProperties) \
    X(vkEnumerateInstanceVersion)

#define LG_VK_INSTANCE_FNS(X)                   \
    X(vkDestroyInstance)                        \
    X(vkEnumeratePhysicalDevices)               \
    X(vkEnumerateDeviceExtensionProperties)     \
    X(vkGetPhysicalDeviceFeatures2)             \
    X(vkGetPhysicalDeviceMemoryProperties2)     \
    X(vkGetPhysicalDeviceProperties2)           \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkCreateDevice)                           \
    X(vkGetDeviceProcAddr)

/* Of instances that know the extensions; null in others. */
#define LG_VK_OPTIONAL_FNS(X) X(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)

/* Of an instance that checks. */
#define LG_VK_DEBUG_FNS(X)            \
    X(vkCreateDebugUtilsMessengerEXT) \
    X(vkDestroyDebugUtilsMessengerEXT)

#define LG_VK_DEVICE_FNS(X)          \
    X(vkAllocateCommandBuffers)      \
    X(vkAllocateDescriptorSets)      \
    X(vkAllocateMemory)              \
    X(vkBeginCommandBuffer)          \
    X(vkBindBufferMemory)            \
    X(vkCmdBindDescriptorSets)       \
    X(vkCmdBindPipeline)             \
    X(vkCmdCopyBuffer)               \
    X(vkCmdDispatch)                 \
    X(vkCmdDispatchIndirect)         \
    X(vkCmdFillBuffer)               \
    X(vkCmdPipelineBarrier)          \
    X(vkCmdPushConstants)            \
    X(vkCmdResetQueryPool)           \
    X(vkCmdWriteTimestamp)           \
    X(vkCreateBuffer)                \
    X(vkCreateCommandPool)           \
    X(vkCreateComputePipelines)      \
    X(vkCreateDescriptorPool)        \
    X(vkCreateDescriptorSetLayout)   \
    X(vkCreatePipelineCache)         \
    X(vkCreatePipelineLayout)        \
    X(vkCreateQueryPool)             \
    X(vkCreateSemaphore)             \
    X(vkCreateShaderModule)          \
    X(vkDestroyBuffer)               \
    X(vkDestroyCommandPool)          \
    X(vkDestroyDescriptorPool)       \
    X(vkDestroyDescriptorSetLayout)  \
    X(vkDestroyDevice)               \
    X(vkDestroyPipeline)             \
    X(vkDestroyPipelineCache)        \
    X(vkDestroyPipelineLayout)       \
    X(vkDestroyQueryPool)            \
    X(vkDestroySemaphore)            \
    X(vkDestroyShaderModule)         \
    X(vkEndCommandBuffer)            \
    X(vkFreeMemory)                  \
    X(vkGetBufferMemoryRequirements) \
    X(vkGetDeviceQueue)              \
    X(vkGetPipelineCacheData)        \
    X(vkGetQueryPoolResults)         \
    X(vkMapMemory)                   \
    X(vkQueueSubmit)                 \
    X(vkUpdateDescriptorSets)        \
    X(vkWaitSemaphores)

#define LG_VK_MEMBER(name) PFN_##name name;

struct lg_vk_loader {
    void *library; // of the system, open as long as the instance is; NULL when somebody else's is used
    PFN_vkGetInstanceProcAddr get;
};

struct lg_vk_global_fns {
    LG_VK_GLOBAL_FNS(LG_VK_MEMBER)
};

struct lg_vk_instance_fns {
    LG_VK_INSTANCE_FNS(LG_VK_MEMBER)
    LG_VK_OPTIONAL_FNS(LG_VK_MEMBER)
    LG_VK_DEBUG_FNS(LG_VK_MEMBER)
};

struct lg_vk_device_fns {
    LG_VK_DEVICE_FNS(LG_VK_MEMBER)
};

#undef LG_VK_MEMBER

/** Takes `get`, or the system's loader when it is NULL; false when there is none. */
bool lg_vk_loader_open(struct lg_vk_loader *loader, PFN_vkGetInstanceProcAddr get);
/** A zeroed loader is allowed. Nothing of it may be called any more. */
void lg_vk_loader_close(struct lg_vk_loader *loader);

struct lg_vk_instance;
/** Fills the table of what needs no instance; false when the loader lacks some of it, as 1.0 does. */
bool lg_vk_load_globals(struct lg_vk_instance *inst);
/** Fills the instance's table. LLMGPU_E_DEVICE names a function that is missing. */
int lg_vk_load_instance(struct lg_vk_instance *inst);
/** The same for a device. */
int lg_vk_load_device(const struct lg_vk_instance *inst, VkDevice device, struct lg_vk_device_fns *fns);

/* ---- instance.c
 * ------------------------------------------------------------------------------------------------- */

struct lg_vk_instance {
    struct lg_env *env;
    struct lg_vk_loader loader;
    struct lg_vk_global_fns global;
    VkInstance handle;
    bool is_hosts;    // and so is not destroyed
    uint32_t version; // of the API that it was created for
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
 * @param get        in place of the system's loader; NULL: that
 * @param n_messages not NULL turns validation on and counts its messages; LLMGPU_E_UNSUPPORTED without the
 * layer
 */
int lg_vk_instance_init(struct lg_vk_instance *inst, struct lg_env *env, PFN_vkGetInstanceProcAddr get,
                        uint32_t *n_messages);
/** Makes the host's instance ours to use, without a list of physical devices. */
int lg_vk_instance_adopt(struct lg_vk_instance *inst, struct lg_env *env, const struct lg_vk_host *host);
/** A zeroed or half-built instance is allowed. */
void lg_vk_instance_finish(struct lg_vk_instance *inst);

/* ---- probe.c
 * ---------------------------------------------------------------------------------------------------- */

/* What a device can be created with or, of the host's, was. */
struct lg_vk_features {
    bool timeline_semaphore;
    bool subgroup_size_control;
    bool full_subgroups;
    bool cooperative_matrix;
    bool float16;
    bool memory_model; // with device scope
    bool int_dot;      // products of integers
};

/* What was found out of a physical device, before anything is created on it. */
struct lg_vk_probe {
    VkPhysicalDeviceProperties2 props;
    VkPhysicalDeviceVulkan11Properties props11;
    VkPhysicalDeviceVulkan12Properties props12;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroup_sizes;
    VkPhysicalDeviceMemoryProperties memory;
    uint64_t max_buffer_size;
    uint32_t version; // of the API that may be used: the instance's or the device's, whichever is older
    uint32_t queue_family;
    uint32_t timestamp_bits;
    bool has_memory_budget;       // VK_EXT_memory_budget
    bool global_priority_khr;     // VK_KHR_global_priority
    bool global_priority_ext;     // VK_EXT_global_priority, the same under an older name
    bool has_portability_subset;  // VK_KHR_portability_subset, which must be turned on where it exists
    bool feedback_extension;      // VK_EXT_pipeline_creation_feedback, where it is not part of the version
    bool subgroup_size_extension; // VK_EXT_subgroup_size_control, where it is not part of the version
    bool int_dot_extension;       // VK_KHR_shader_integer_dot_product, where it is not part of the version
    bool has_pci;                 // VK_EXT_pci_bus_info
    VkPhysicalDevicePCIBusInfoPropertiesEXT pci; // where the device is, if that is there
    bool int_dot;                 // four products of signed bytes
    bool fast_int_dot;            // in one instruction
    bool float16;                 // arithmetic
    bool pins_subgroup_size;      // the size varies and pipelines can require one
    bool full_subgroups;
    bool cooperative_matrix; // VK_KHR_cooperative_matrix with what its kernels need, and these are there
    uint32_t coop_m, coop_n, coop_k;
};

/**
 * Says why not with LLMGPU_E_UNSUPPORTED when this library cannot use the device.
 *
 * @param host not NULL: only what this device of the host has counts as being there
 */
int lg_vk_probe(const struct lg_vk_instance *inst, VkPhysicalDevice physical, const struct lg_vk_host *host,
                struct lg_vk_probe *probe);
/** All but the id. */
void lg_vk_describe(const struct lg_vk_probe *probe, struct lg_device_info *info);

/* ---- host.c
 * ---------------------------------------------------------------------------------------------------- */

/** Whether the host's device was created with the extension. */
bool lg_vk_host_has(const struct lg_vk_host *host, const char *extension);
/** What features it was created with, of those that matter here. */
void lg_vk_host_features(const struct lg_vk_host *host, struct lg_vk_features *features);

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
/** Whether what the host writes to the block's map is seen by all that is submitted later. */
bool lg_vk_is_coherent(const struct lg_vk_device *dev, const struct lg_vk_block *block);

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
    uint8_t *fill;    // its bytes, as long as the host may write them: nothing on the device has named it yet

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
    uint32_t current; // chunk
    enum lg_vk_staging_state {
        LG_VK_STAGING_EMPTY,
        LG_VK_STAGING_RECORDING, // the current chunk's commands
        LG_VK_STAGING_RECORDED,  // and they could not be submitted yet
    } state;
    uint64_t used;        // bytes of the current chunk
    uint64_t segment;     // number of the current segment, ascending
    uint64_t last_ticket; // of the last submitted chunk
};

int lg_vk_staging_init(struct lg_vk_device *dev);
/** Half-built is allowed. */
void lg_vk_staging_finish(struct lg_vk_device *dev);
/** Zeroes a buffer. */
int lg_vk_staging_zero(struct lg_vk_device *dev, struct lg_vk_buffer *buf);
/** Submits what was gathered; nothing is not a failure. After one it may be tried again. */
int lg_vk_staging_submit(struct lg_vk_device *dev);
/** As lg_vk_settle(), for what was gathered. */
void lg_vk_staging_settle(struct lg_vk_device *dev);
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
/** Compiles what a program needs and is not there yet, on several threads. */
int lg_vk_pipelines_make(struct lg_vk_device *dev, const struct lg_program_desc *desc);
/** The pipeline of a kernel with these specialisation constants, which was made. */
VkPipeline lg_vk_pipeline_get(const struct lg_vk_device *dev, enum lg_kernel kernel,
                              const uint32_t spec[LG_MAX_SPEC]);
/** Half-built is allowed. */
void lg_vk_pipelines_finish(struct lg_vk_device *dev);

/** Creates the pipeline cache, filled from its file in the cache_dir when there is a right one. Without a cache_dir there
 * is no file. */
int lg_vk_cache_open(struct lg_vk_device *dev, const struct lg_device_options *options);
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
int lg_vk_submit(struct lg_device *base, const struct lg_piece *pieces, uint32_t n_pieces, uint64_t *ticket);
int lg_vk_program_times(struct lg_program *base, uint64_t *ns);
int lg_vk_wait(struct lg_device *base, uint64_t ticket, uint64_t timeout_ns);

/** Submits command buffers under the next ticket. */
int lg_vk_queue_submit(struct lg_vk_device *dev, const VkCommandBuffer *cmds, uint32_t n, uint64_t *ticket);
/**
 * Waits for a submission whatever fails on the way, because something is then destroyed that it uses; a
 * device that cannot be waited for is lost. The sentence of an earlier failure stays.
 */
void lg_vk_settle(struct lg_vk_device *dev, uint64_t ticket);
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
    struct lg_vk_device_fns vk;
    VkQueue queue;
    bool is_hosts;                  // it and the queue, which others use as well:
    void (*lock_queue)(void *user); // NULL when nobody does while we do
    void (*unlock_queue)(void *user);
    void *queue_user;

    VkSemaphore timeline;
    uint64_t last_ticket; // submitted
    uint64_t done_ticket; // known to be finished
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
