/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The context: a device with its queues, pools and caches. Everything else is created on one.
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
 * Models and sessions keep their context alive: handles may be freed in any order, and the device is closed when the
 * last of them is gone.
 *
 * @par Thread-safety: functions on one context may be called from any thread; work on its device is taken in turns
 */
typedef struct llmgpu_context llmgpu_context;

/** How much a log line matters. */
enum llmgpu_log_level {
    LLMGPU_LOG_ERROR = 0, /**< something failed */
    LLMGPU_LOG_WARN = 1,  /**< something is not as it should be, and the library goes on */
    LLMGPU_LOG_INFO = 2,  /**< what was opened and chosen */
    LLMGPU_LOG_DEBUG = 3, /**< for who looks for a fault */
};

/**
 * Receives log lines.
 *
 * @param user  as given in the parameters
 * @param level an llmgpu_log_level
 * @param text  one formatted line without a newline, valid during the call
 * @par Thread-safety: called from whatever thread the library works on, at times from two at once; it must not call the
 *      library
 */
typedef void (*llmgpu_log_fn)(void *user, int level, const char *text);

/** How urgent the work of a context is beside that of others on the same device. */
enum llmgpu_priority {
    LLMGPU_PRIORITY_DEFAULT = 0,  /**< what the driver does by itself */
    LLMGPU_PRIORITY_LOW = 1,      /**< behind a game's own rendering */
    LLMGPU_PRIORITY_MEDIUM = 2,   /**< the usual */
    LLMGPU_PRIORITY_HIGH = 3,     /**< before others; drivers may ask for a privilege */
    LLMGPU_PRIORITY_REALTIME = 4, /**< before everything; drivers ask for a privilege */
};

/**
 * A Vulkan device of the host, which the library then works on beside the host. Handles are the host's own Vulkan handles,
 * cast to pointers; nothing of them is destroyed. The device must have been created with the feature `timelineSemaphore`
 * and outlive the context and all models and sessions on it.
 *
 * Set `size` to sizeof(llmgpu_vulkan_device) and everything else that is not used to zero.
 */
typedef struct llmgpu_vulkan_device {
    uint32_t size;              /**< sizeof(llmgpu_vulkan_device) */
    uint32_t queue_family;      /**< of `queue`; it must support compute */
    void *get_instance_proc_addr; /**< the host's PFN_vkGetInstanceProcAddr; NULL: the system's loader */
    void *instance;             /**< VkInstance, of API version 1.2 or newer */
    void *physical_device;      /**< VkPhysicalDevice */
    void *device;               /**< VkDevice */
    void *queue;                /**< VkQueue */
    const char *const *extensions; /**< names of the enabled device extensions; may be NULL when n_extensions is 0 */
    uint32_t n_extensions;      /**< how many */
    uint32_t api_version;       /**< of the instance, as VK_MAKE_API_VERSION; 0: 1.2 */
    const void *features;       /**< the VkPhysicalDeviceFeatures2 chain that `device` was created with; NULL: only
                                     timelineSemaphore is counted on */
    void (*lock_queue)(void *user);   /**< called before the queue is used, on any thread; NULL: the host never uses the
                                           queue while a call of the library runs */
    void (*unlock_queue)(void *user); /**< called after; both or neither */
    void *queue_user;           /**< passed to both */
} llmgpu_vulkan_device;

/**
 * In what activations meet weights, where a device has the choice. The CPU device with AVX2 or better: 8 bits, rounded in
 * blocks of 32 with a scale each, for quantised weights; it is several times as fast, and logits change by less than a
 * hundredth of their range. Vulkan devices with an instruction for four products of bytes: the same. Vulkan devices with
 * 16-bit arithmetic: 16-bit floats, for prompts and scores. Where a device has several, the fastest is taken
 * (llmgpu_tune). Weights in F32 always meet float32.
 */
typedef enum llmgpu_precision {
    LLMGPU_PRECISION_AUTO = 0,    /**< fewer bits for prompts and generation, float32 for scores and
                                        embeddings; what adapters add is always float32 */
    LLMGPU_PRECISION_FAST = 1,    /**< fewer bits for all of them */
    LLMGPU_PRECISION_FLOAT32 = 2, /**< float32 for all of them */
} llmgpu_precision;

/**
 * In what the keys and values of sessions are kept. What is read is the same for everybody, so results stay those of a
 * session alone; fewer bits make them less exact, and less memory is read for each token of a long context.
 */
typedef enum llmgpu_kv_type {
    LLMGPU_KV_F32 = 0,  /**< float32 */
    LLMGPU_KV_F16 = 1,  /**< float16: half the memory */
    LLMGPU_KV_Q8_0 = 2, /**< 8 bits and a factor for each 32: 27% of it; head sizes that are multiples of 32 */
    LLMGPU_KV_Q4_0 = 3, /**< 4 bits, the same: 14% of it */
} llmgpu_kv_type;

/**
 * Whether the sizes of a GPU's work are chosen by measuring, when a model's first token is computed or prepared by
 * llmgpu_session_warm_up(): for about 300 ms, once for each kind of model. What was found is kept in the folder
 * llmgpu_context_params::cache_dir; without one nothing is measured. Sizes change the speed and no result. In how
 * many bits activations meet weights is measured too where the precision leaves a choice; LLMGPU_PRECISION_FLOAT32 leaves none.
 */
typedef enum llmgpu_tune {
    LLMGPU_TUNE_AUTO = 0,   /**< on GPUs */
    LLMGPU_TUNE_NEVER = 1,  /**< on none: sizes that suit most */
    LLMGPU_TUNE_ALWAYS = 2, /**< also on Vulkan drivers that compute on the CPU, for which it takes longer */
} llmgpu_tune;

/**
 * Parameters of llmgpu_context_create(). Filled by llmgpu_context_params_init(); then single members are changed. They,
 * and all pointers in them but the callbacks and their `user`, need only live until the call returns.
 *
 * The limits hold for all sessions of the context; each is off when it is 0. What would pass one answers LLMGPU_E_LIMIT
 * with its name in the sentence.
 */
typedef struct llmgpu_context_params {
    uint32_t size;         /**< set by llmgpu_context_params_init() */
    uint32_t n_threads;    /**< threads of the CPU device; 0 (default): the processors this process may use. Threads that
                                call on it work too, and need 512 KiB of stack */
    const char *device;    /**< "auto" (default, also NULL), "cpu", "vulkan", "vulkan:N"; see llmgpu_device_list_create() */
    const char *cache_dir; /**< folder of the pipeline cache and of what was measured, created when missing; NULL
                                (default): none */
    llmgpu_log_fn log;     /**< NULL (default): no log */
    void *log_user;        /**< passed to `log` */
    void *(*alloc)(void *user, size_t size); /**< host memory, aligned as malloc() does; NULL when there is none. Default:
                                                  malloc(). All three or none; called from any thread */
    void *(*resize)(void *user, void *ptr, size_t size); /**< as realloc(); `ptr` may be NULL */
    void (*release)(void *user, void *ptr);  /**< as free(); `ptr` is never NULL */
    void *alloc_user;      /**< passed to the three */
    const llmgpu_vulkan_device *vulkan; /**< the host's device, in place of `device`; NULL (default): none */
    int32_t priority;      /**< an llmgpu_priority of the queue; what a driver refuses is logged, and the default taken */
    uint32_t check;        /**< 1: debug mode that checks every dispatch and turns on Vulkan validation; default 0 */
    uint32_t max_sessions; /**< sessions at the same time */
    uint32_t max_prompt_tokens;    /**< tokens that may be fed to a session until it is reset */
    uint32_t max_generated_tokens; /**< tokens that a session may generate until it is reset */
    uint32_t max_time_ms;  /**< milliseconds of work on the device for a session until it is reset */
    uint64_t max_memory;   /**< bytes of device memory for models, caches and all */
    char *error;           /**< where creation writes the sentence of its failure; NULL (default): nowhere */
    size_t error_size;     /**< bytes at `error` */
    int32_t precision;     /**< an llmgpu_precision; default LLMGPU_PRECISION_AUTO */
    int32_t tune;          /**< an llmgpu_tune; default LLMGPU_TUNE_AUTO */
    uint64_t max_kv_memory; /**< bytes of device memory for the keys and values of a model's sessions; 0 (default): as
                                 much as their contexts may come to need. When it is full, sessions that nobody waits
                                 for are moved to host memory and come back when they are worked on; then others take
                                 turns in the same way */
    int32_t kv_type;       /**< an llmgpu_kv_type; default LLMGPU_KV_F32. A model whose heads do not fit it is
                                LLMGPU_E_UNSUPPORTED */
    uint32_t reserved;     /**< 0 */
} llmgpu_context_params;

/**
 * Fills the parameters with their defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_context_params) as the caller was compiled; a library that is older than its caller knows
 *               less of the struct, and a newer one more, and either works
 * @return 0, or LLMGPU_E_INVALID for NULL or a size that no version has had
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_params_init(llmgpu_context_params *params, size_t size);

/**
 * Opens a device. "auto" is a real GPU through Vulkan, else the CPU; a software Vulkan driver (Mesa's lavapipe) is used
 * only when it is named.
 *
 * @param out    the context, to be freed with llmgpu_context_free(); NULL on failure
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_NO_DEVICE, the sentence naming those that exist; LLMGPU_E_DEVICE; LLMGPU_E_UNSUPPORTED for a
 *         device of the host that lacks what is needed, or members of `params` that a newer header has and this library
 *         does not know; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_create(llmgpu_context **out, const llmgpu_context_params *params);

/**
 * Frees a context; a running background thread is stopped.
 *
 * @param ctx NULL is allowed
 * @par Thread-safety: nothing else may use the handle; its models and sessions may be in use
 */
LLMGPU_API void llmgpu_context_free(llmgpu_context *ctx);

/**
 * The sentence of the last failed call on this context (device and model functions).
 *
 * @param ctx NULL is allowed
 * @return "" when there was none; valid until the next call on the context
 * @par Thread-safety: only while no other thread calls on the context
 */
LLMGPU_API const char *llmgpu_context_error(const llmgpu_context *ctx);

/* ---- running sessions -------------------------------------------------------------------------------------------- */

/**
 * Works on the context's sessions for a limited time: prompts that were fed and answers that are wanted, in turns. It
 * stops between two slices of a pass, inside a token or a long prompt, when the next slice would not fit into what is left
 * of the budget, by the times that slices took before; the next step goes on there. At least one slice is done when there
 * is work, so a budget smaller than the smallest slice is overrun.
 *
 * Trainers whose step was started (llmgpu/train.h) have what sessions leave of the budget, or the share that they were promised.
 *
 * A session has work while tokens that it was fed are not computed, also when no answer is wanted yet, and while
 * llmgpu_session_next() would answer LLMGPU_AGAIN; what fails on a session is told by its own next call.
 *
 * @param ctx       whose sessions
 * @param budget_us microseconds; 0 does nothing; UINT32_MAX works until nothing is left to do
 * @return microseconds used, at least 1 when anything was done (INT32_MAX at the most), 0 when there was nothing to do;
 *         LLMGPU_E_DEVICE_LOST or another failure of the device; LLMGPU_E_CANCELLED after llmgpu_context_cancel();
 *         LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_step(llmgpu_context *ctx, uint32_t budget_us);

/**
 * Starts a background thread that works on the context's sessions, and steps of trainers that were started, whenever there is
 * work. Answers are then taken with
 * llmgpu_session_next(); llmgpu_session_fd() and llmgpu_session_set_notify() tell when.
 *
 * @param ctx whose sessions
 * @return 0; LLMGPU_E_INVALID when it is running; LLMGPU_E_NOMEM when the system gives no thread
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_start(llmgpu_context *ctx);

/**
 * Stops the background thread and waits for it; sessions stay as they are, between two slices. Without one nothing is done.
 *
 * @param ctx whose thread
 * @return 0; LLMGPU_E_BUSY from within a callback; LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_stop(llmgpu_context *ctx);

/**
 * Cancels what runs on the context now: as llmgpu_session_cancel() on each of its sessions, a model that is being loaded
 * answers LLMGPU_E_CANCELLED, and so does a trainer's step that was started.
 *
 * @param ctx NULL is allowed
 * @par Thread-safety: safe, but not in a signal handler
 */
LLMGPU_API void llmgpu_context_cancel(llmgpu_context *ctx);

/**
 * Opens the device anew after it was lost: weights are loaded again from where they came from, and sessions compute their
 * history again when they are next worked on, so that they go on where they were. Also allowed on a device in good
 * health, which is then left and opened anew in the same way.
 *
 * @param ctx    whose device; its models and sessions stay
 * @param vulkan the host's new device where the context runs on one of the host's, whose old one must still be there
 *               until the call returns; NULL otherwise
 * @return 0; LLMGPU_E_IO and others of llmgpu_model_load(); a device failure: the context is lost as before, and the call
 *         may be made again
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_recover(llmgpu_context *ctx, const llmgpu_vulkan_device *vulkan);

/* ---- devices ----------------------------------------------------------------------------------------------------- */

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

/**
 * Counts the devices.
 *
 * @param list NULL is allowed
 * @return how many there are
 */
LLMGPU_API uint32_t llmgpu_device_list_count(const llmgpu_device_list *list);

/**
 * Copies a device's description.
 *
 * @param list  to read
 * @param index 0 .. llmgpu_device_list_count() - 1
 * @param out   receives at most `size` bytes, of the members that the caller's header has
 * @param size  sizeof(llmgpu_device_info)
 * @return 0; LLMGPU_E_INVALID, also beyond the end
 */
LLMGPU_API int llmgpu_device_list_get(const llmgpu_device_list *list, uint32_t index, llmgpu_device_info *out,
                                      size_t size);

/**
 * Frees a list.
 *
 * @param list NULL is allowed
 */
LLMGPU_API void llmgpu_device_list_free(llmgpu_device_list *list);

/**
 * The device that a context runs on.
 *
 * @param ctx  to read
 * @param out  to fill
 * @param size sizeof(llmgpu_device_info)
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_get_device(const llmgpu_context *ctx, llmgpu_device_info *out, size_t size);

/** How long something took: microseconds, up to 1/32 too many. */
typedef struct llmgpu_latency {
    uint64_t n;      /**< of how many */
    uint64_t p50_us; /**< half of them took no longer */
    uint64_t p95_us; /**< 95 of 100 took no longer */
    uint64_t p99_us; /**< 99 of 100 took no longer */
    uint64_t max_us; /**< none took longer */
} llmgpu_latency;

/** Counters of a context since it was created. */
typedef struct llmgpu_context_stats {
    uint64_t submits;         /**< submissions to the device */
    uint64_t dispatches;      /**< kernel dispatches in them */
    uint64_t barriers;        /**< barriers in them */
    uint64_t device_bytes;    /**< bytes of device buffers now */
    uint64_t device_peak;     /**< the most so far */
    uint64_t heap_allocs;     /**< allocations of host memory by the library */
    uint64_t check_messages;  /**< findings of the debug mode (llmgpu_context_params::check) */
    uint64_t steps;           /**< calls of llmgpu_context_step() that did something */
    uint64_t step_overrun_max_us; /**< by how many microseconds the worst of them passed its budget */
    uint64_t slice_us;        /**< microseconds of the longest slice that steps ran last: what a budget may be overrun by */
    uint32_t n_models;        /**< loaded now */
    uint32_t n_sessions;      /**< open now */
    uint32_t lost;            /**< 1: the device is lost until llmgpu_context_recover() */
    uint32_t reserved;        /**< 0 */
    uint64_t busy_us;         /**< microseconds in which the device worked on sessions, from submitting to the end */
    uint64_t passes;          /**< passes begun for sessions; one computes rows of as many as have something to do */
    uint64_t longest_wait;    /**< passes of others that a session with something to do has waited for, at the most */
    uint64_t prompt_tokens;   /**< tokens of prompts that were computed */
    uint64_t shared_tokens;   /**< tokens of prompts that were not, as another session had computed the same beginning */
    uint64_t pages_out;       /**< key/value pages moved to host memory */
    uint64_t pages_in;        /**< and back */
    uint32_t n_prefilling;    /**< sessions now that have tokens of prompts to compute */
    uint32_t n_decoding;      /**< and that are owed a token */
    uint32_t n_running;       /**< of both, those whose rows are in what the device works on */
    uint32_t n_idle;          /**< sessions that want nothing now */
    uint64_t kv_pages;        /**< key/value pages, of 32 tokens each, that models have now */
    uint64_t kv_pages_used;   /**< of these, how many sessions have; what others hold may be taken over or overwritten */
    uint64_t kv_bytes;        /**< bytes that all of them take of the device */
    uint64_t shared_hits;     /**< times that a session took over pages that another had computed */
    llmgpu_latency first_token;    /**< from feeding a prompt to the first token after it, over all answers */
    llmgpu_latency between_tokens; /**< from one token to the next, without the time in which a session had none to compute
                                        as its caller had not taken the last one */
} llmgpu_context_stats;

/**
 * Reads the counters.
 *
 * @param ctx  to read
 * @param out  to fill
 * @param size sizeof(llmgpu_context_stats)
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_get_stats(const llmgpu_context *ctx, llmgpu_context_stats *out, size_t size);

/**
 * Measures how fast the device reads its memory, by summing a buffer larger than its caches for about 0.3 s.
 *
 * @param ctx              whose device
 * @param bytes_per_second the best of the passes
 * @return 0, LLMGPU_E_NOMEM, or a device failure
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_context_measure_bandwidth(llmgpu_context *ctx, double *bytes_per_second);

#ifdef __cplusplus
}
#endif

#endif
