/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The context: a device with its queues, pools and caches. Everything else is created on one.
 *
 * Parameter structs (`*_params`) are filled by their init function, which is given the version the caller was compiled
 * with; then single members are changed. They, and all pointers in them, need only live until the call returns.
 */
#ifndef LLMGPU_CONTEXT_H
#define LLMGPU_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "llmgpu/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A device and what belongs to it. Create as many as needed; they do not see each other.
 *
 * @par Thread-safety: functions on one context may be called from any thread; work on its device is taken in turns
 */
typedef struct llmgpu_context llmgpu_context;

/** How much a log line matters. */
enum llmgpu_log_level {
    LLMGPU_LOG_ERROR = 0,
    LLMGPU_LOG_WARN = 1,
    LLMGPU_LOG_INFO = 2,
    LLMGPU_LOG_DEBUG = 3,
};

/**
 * Receives log lines.
 *
 * @param user  as given in the parameters
 * @param level an llmgpu_log_level
 * @param text  one formatted line without a newline, valid during the call
 * @par Thread-safety: called from whatever thread the library works on, at times from two at once
 */
typedef void (*llmgpu_log_fn)(void *user, int level, const char *text);

/** Layout of the structs of this header that the caller was compiled with. */
#define LLMGPU_CONTEXT_PARAMS_VERSION 1

/** Parameters of llmgpu_context_create(). */
typedef struct llmgpu_context_params {
    uint32_t version;      /**< set by llmgpu_context_params_init() */
    uint32_t n_threads;    /**< threads of the CPU device; 0 (default): the processors this process may use */
    const char *device;    /**< "auto" (default, also NULL), "cpu", "vulkan", "vulkan:N"; see llmgpu_device_list_create() */
    const char *cache_dir; /**< folder of the pipeline cache, created when missing; NULL (default): none */
    llmgpu_log_fn log;     /**< NULL (default): no log */
    void *log_user;        /**< passed to `log` */
    uint32_t check;        /**< 1: debug mode that checks every dispatch and turns on Vulkan validation; default 0 */
    char *error;           /**< where creation writes the sentence of its failure; NULL (default): nowhere */
    size_t error_size;     /**< bytes at `error` */
} llmgpu_context_params;

/**
 * Fills the parameters with their defaults.
 *
 * @param params  to fill
 * @param version LLMGPU_CONTEXT_PARAMS_VERSION
 * @return 0, or LLMGPU_E_INVALID for NULL or a version this library does not know
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_params_init(llmgpu_context_params *params, uint32_t version);

/**
 * Opens a device. "auto" is a real GPU through Vulkan, else the CPU; a software Vulkan driver (Mesa's lavapipe) is used
 * only when it is named.
 *
 * @param out    the context, to be freed with llmgpu_context_free(); NULL on failure
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_NO_DEVICE, the sentence naming those that exist; LLMGPU_E_DEVICE; LLMGPU_E_NOMEM;
 *         LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_create(llmgpu_context **out, const llmgpu_context_params *params);

/**
 * Frees a context whose models and sessions are freed. NULL is allowed.
 *
 * @par Thread-safety: nothing else may use the context
 */
LLMGPU_API void llmgpu_context_free(llmgpu_context *ctx);

/**
 * The sentence of the last failed call on this context (device and model functions), "" when there was none.
 *
 * @return valid until the next call on the context
 * @par Thread-safety: only while no other thread calls on the context
 */
LLMGPU_API const char *llmgpu_context_error(const llmgpu_context *ctx);

/** What a device is. */
enum llmgpu_device_kind {
    LLMGPU_DEVICE_CPU = 0,        /**< the CPU device of this library */
    LLMGPU_DEVICE_DISCRETE = 1,   /**< a GPU with memory of its own, through Vulkan */
    LLMGPU_DEVICE_INTEGRATED = 2, /**< a GPU that shares the host's memory, through Vulkan */
    LLMGPU_DEVICE_VIRTUAL = 3,    /**< a GPU passed into a virtual machine, through Vulkan */
    LLMGPU_DEVICE_SOFTWARE = 4,   /**< a Vulkan driver that computes on the CPU */
    LLMGPU_DEVICE_OTHER = 5,      /**< a Vulkan device that does not say */
};

/** A device of this machine. */
typedef struct llmgpu_device_info {
    char id[32];       /**< what to name in llmgpu_context_params::device, e.g. "vulkan:0" */
    char name[256];    /**< as the driver calls it */
    char driver[256];  /**< driver name and version; "" when unknown */
    int32_t kind;      /**< an llmgpu_device_kind */
    uint32_t threads;  /**< of the CPU device; 0 elsewhere */
    uint64_t memory;   /**< bytes of its memory; 0 when unknown */
} llmgpu_device_info;

/**
 * A list of this machine's devices.
 *
 * @par Thread-safety: immutable once created
 */
typedef struct llmgpu_device_list llmgpu_device_list;

/**
 * Lists the devices, the CPU first. A machine without Vulkan has one.
 *
 * @param out to be freed with llmgpu_device_list_free(); NULL on failure
 * @return 0, LLMGPU_E_NOMEM or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_device_list_create(llmgpu_device_list **out);

/** Number of devices; 0 for NULL. */
LLMGPU_API uint32_t llmgpu_device_list_count(const llmgpu_device_list *list);

/** Copies entry `index`; LLMGPU_E_INVALID beyond the end. */
LLMGPU_API int llmgpu_device_list_get(const llmgpu_device_list *list, uint32_t index, llmgpu_device_info *out);

/** NULL is allowed. */
LLMGPU_API void llmgpu_device_list_free(llmgpu_device_list *list);

/**
 * The device that a context runs on.
 *
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_device(const llmgpu_context *ctx, llmgpu_device_info *out);

/** Counters of a context since it was created. */
typedef struct llmgpu_context_stats {
    uint64_t submits;         /**< submissions to the device */
    uint64_t dispatches;      /**< kernel dispatches in them */
    uint64_t barriers;        /**< barriers in them */
    uint64_t device_bytes;    /**< bytes of device buffers now */
    uint64_t device_peak;     /**< the most so far */
    uint64_t heap_allocs;     /**< allocations of host memory by the library */
    uint64_t check_messages;  /**< findings of the debug mode (llmgpu_context_params::check) */
} llmgpu_context_stats;

/** Reads the counters. LLMGPU_E_INVALID for NULL. */
LLMGPU_API int llmgpu_context_get_stats(const llmgpu_context *ctx, llmgpu_context_stats *out);

/**
 * Measures how fast the device reads its memory, by summing a buffer larger than its caches for about 0.3 s.
 *
 * @param bytes_per_second the best of the passes
 * @return 0, LLMGPU_E_NOMEM, or a device failure
 */
LLMGPU_API int llmgpu_context_measure_bandwidth(llmgpu_context *ctx, double *bytes_per_second);

#ifdef __cplusplus
}
#endif

#endif
