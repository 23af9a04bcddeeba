/* SPDX-License-Identifier: MIT
 *
 * The one interface to what computes: a Vulkan device (device/vulkan/) or the CPU (device/cpu/). A device owns buffers
 * and programs; a program is a list of kernel dispatches compiled once (recorded command buffers, or an array to walk)
 * and submitted any number of times.
 *
 * Thread-safety: a device may be used by one thread at a time (its owner, the context, holds a lock). What `stop` points at
 * may be set from any thread, and from a signal handler.
 */
#ifndef LG_DEVICE_DEVICE_H
#define LG_DEVICE_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kernels_gen.h" // enum lg_kernel: LG_K_<NAME>, LG_K_COUNT
#include "util/env.h"

enum {
    LG_MAX_VIEWS = 16,
    LG_MAX_SPEC = 8,
    LG_MAX_PUSH = 64, // bytes
};

/* ---- kernels ---------------------------------------------------------------------------------------------------- */

enum lg_access { LG_READ = 1, LG_WRITE = 2 };

/** What is known of a kernel at build time; the same on every device. */
struct lg_kernel_info {
    const char *name;
    uint8_t n_views;              // bindings
    uint8_t access[LG_MAX_VIEWS]; // lg_access of each binding
};

extern const struct lg_kernel_info lg_kernel_infos[LG_K_COUNT];

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

enum lg_mem {
    LG_MEM_DEVICE,   // fastest for kernels; the host reaches it by upload and download only
    LG_MEM_FILLED,   // the same, and not zeroed: who creates it uploads all that counts before anything else uses it
    LG_MEM_SHARED,   // small: the host writes it through `map` between submits, kernels read and write it
    LG_MEM_READBACK, // kernels write it, the host reads it through `map` (cached for the host where possible)
};

/** Whether the host has such memory at hand, as lg_buffer::map. */
static inline bool lg_mem_is_mapped(enum lg_mem mem)
{
    return mem == LG_MEM_SHARED || mem == LG_MEM_READBACK;
}

struct lg_device;

/** A device's buffer; backends put this at the head of their own. */
struct lg_buffer {
    struct lg_device *dev;
    uint64_t size; // bytes
    enum lg_mem mem;
    void *map; // for SHARED and READBACK (and on the CPU for all): the bytes; NULL otherwise
};

/** A range of a buffer. Offsets are multiples of info.view_align, sizes at most info.max_view_size. */
struct lg_view {
    struct lg_buffer *buf;
    uint64_t offset, size; // bytes
};

static inline struct lg_view lg_view_all(struct lg_buffer *buf)
{
    return (struct lg_view){.buf = buf, .offset = 0, .size = buf->size};
}

/** Whether some byte lies in both; each must be inside its buffer. */
static inline bool lg_views_overlap(const struct lg_view *a, const struct lg_view *b)
{
    return a->buf == b->buf && a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

/* ---- programs --------------------------------------------------------------------------------------------------- */

/** One kernel over buffer views. */
struct lg_dispatch {
    enum lg_kernel kernel;
    struct lg_view views[LG_MAX_VIEWS]; // as many as the kernel has bindings, in their order
    uint32_t spec[LG_MAX_SPEC];         // specialisation constants 0..7; spec[0] is the workgroup size
    uint32_t grid[3];                   // workgroups; ignored when `indirect.buf` is set
    struct lg_view indirect;            // three uint32 workgroup counts on the device, read when the dispatch starts
    uint8_t push[LG_MAX_PUSH];
    uint8_t push_size;    // bytes, a multiple of 4
    uint32_t choice;      // of the dispatches that share a number other than 0 one runs, the others' grids are empty
    bool barrier;         // everything before must be finished and visible first (the chain derives it)
};

struct lg_program_desc {
    const struct lg_dispatch *ops;
    uint32_t n_ops;
    const uint32_t *cuts; // ascending indices of ops that begin a new slice (0 and n_ops not listed)
    uint32_t n_cuts;      // the program has n_cuts + 1 slices
    bool timestamps;      // measure each dispatch
};

/** A compiled program; backends put this at the head of their own. It keeps no pointer into its description. */
struct lg_program {
    struct lg_device *dev;
    uint32_t n_ops, n_slices;
};

/** Slices [first, first + n) of a program, `repeat` times one after another. */
struct lg_piece {
    struct lg_program *program;
    uint32_t first, n, repeat;
};

/* ---- devices ---------------------------------------------------------------------------------------------------- */

enum lg_device_kind {
    LG_DEVICE_CPU,          // the CPU device of this library
    LG_DEVICE_DISCRETE,     // Vulkan
    LG_DEVICE_INTEGRATED,   // Vulkan
    LG_DEVICE_VIRTUAL,      // Vulkan
    LG_DEVICE_SOFTWARE,     // Vulkan on a CPU, such as Mesa's lavapipe
    LG_DEVICE_OTHER,        // Vulkan
};

/** Where a device is on the PCI bus. */
struct lg_pci {
    bool known;
    uint32_t domain, bus, device, function;
};

enum { LG_PCI_TEXT = 24 }; // bytes of it as text

/** "0000:01:00.0", in hexadecimal digits; false when it is something else. */
bool lg_pci_parse(const char *text, struct lg_pci *out);
void lg_pci_format(const struct lg_pci *pci, char out[LG_PCI_TEXT]);
bool lg_pci_same(const struct lg_pci *a, const struct lg_pci *b);

/** What passes have activations in fewer bits than 32 where they meet weights, which is fast and rounds. */
enum lg_int8 {
    LG_INT8_NONE,       // nothing: the device has no such kernels or is not to use them
    LG_INT8_GENERATION, // prefill and decode
    LG_INT8_ALL,        // scores and embeddings too
};

struct lg_device_info {
    char id[32];               // what selects it: "cpu", "vulkan:0"; "vulkan:host" for one of the host's
    char name[256];            // "llvmpipe (LLVM 15.0.6, 256 bits)"
    char driver[256];          // driver name and version, "" when unknown
    enum lg_device_kind kind;
    uint32_t vendor;           // its number on PCI; 0 when unknown
    struct lg_pci pci;
    uint64_t memory;           // bytes of the largest device-local heap (CPU: of the machine); 0 when unknown
    uint64_t max_view_size;    // bytes that one view may span
    uint64_t max_buffer_size;  // bytes that one buffer may have
    uint32_t view_align;       // bytes, a power of two
    uint32_t max_views;        // that a kernel may have
    uint32_t subgroup_size;    // invocations; 1 on the CPU
    uint32_t max_workgroup;    // invocations of a workgroup
    uint32_t shared_memory;    // bytes of a workgroup's shared memory
    uint32_t n_threads;        // of the CPU device; 0 elsewhere
    bool timestamps;           // lg_program_times() works
    bool imports_host;         // lg_buffer_import() works for any mapped file
    uint8_t int8;              // lg_int8: for what the kernels quantize, matvec_i8_* and matmul_i8_* are to be used
    uint8_t half;              // lg_int8: for what the kernels halve, matmul_half_* and matmul_coop_* are to be used
    bool int_dot;              // kernels *_i8_* run
    bool fast_int_dot;         // and have an instruction for four products; elsewhere they are used if asked for by name
    bool int8_prefill;         // of these only those for many rows are worth it: matvec_i8_* are not
    bool float16;              // kernels matmul_half_* run
    uint32_t coop_m, coop_n, coop_k; // float16 matrices m x k * k x n that a subgroup adds to float32; 0: none
};

/** Live numbers, for tests and statistics; written by the backends. */
struct lg_device_stats {
    _Atomic uint64_t submits;      // queue submissions (CPU: walks of a program)
    _Atomic uint64_t dispatches;   // dispatches in them, those with an empty grid included
    _Atomic uint64_t barriers;     // barriers in them
    _Atomic uint64_t memory_used;  // bytes of buffers now
    _Atomic uint64_t memory_peak;  // bytes of buffers at the most
    _Atomic uint64_t pipelines;    // compiled so far
    _Atomic uint64_t pipelines_found; // of these the driver found in its cache, where it says so
};

/** How urgent a device's work is beside that of others; the numbers are those of enum llmgpu_priority. */
enum lg_priority {
    LG_PRIORITY_DEFAULT = 0,
    LG_PRIORITY_LOW = 1,
    LG_PRIORITY_MEDIUM = 2,
    LG_PRIORITY_HIGH = 3,
    LG_PRIORITY_REALTIME = 4,
};

/**
 * A Vulkan device of the host, as llmgpu_vulkan_device describes it: handles are Vulkan's own, which only the backend
 * names. What is pointed to is read while the device is opened; the handles and the lock must outlive the device.
 */
struct lg_vk_host {
    void *get_instance_proc_addr;   // NULL: the system's loader
    void *instance, *physical_device, *device, *queue;
    uint32_t queue_family;          // of the queue; it must support compute
    uint32_t api_version;           // of the instance; 0: 1.2
    const char *const *extensions;  // enabled on the device; nothing else is used
    uint32_t n_extensions;
    const void *features;           // VkPhysicalDeviceFeatures2 chain of the device; NULL: timelineSemaphore alone
    void (*lock_queue)(void *user); // around every use of the queue; NULL, with the other: not needed
    void (*unlock_queue)(void *user);
    void *queue_user;
};

/** Whether sizes of kernels are chosen by measuring; the numbers are those of enum llmgpu_tune. */
enum lg_tune {
    LG_TUNE_AUTO = 0, // on GPUs
    LG_TUNE_NEVER = 1,
    LG_TUNE_ALWAYS = 2, // also on software drivers
};

struct lg_device_options {
    const char *name;              // "auto", "cpu", "vulkan", "vulkan:N"; NULL is "auto"
    const struct lg_vk_host *host; // the device to open in place of a named one; NULL: none
    uint32_t n_threads;    // CPU device; 0 = the number of processors this process may use
    const char *cache_dir; // folder of the pipeline cache, created when missing; NULL = no cache file
    int priority;          // an lg_priority; what the driver does not grant is logged. No matter on the CPU
    int precision;         // an llmgpu_precision: which lg_int8 a device that has the kernels says
    int tune;              // an lg_tune; needs a cache_dir. No matter on the CPU
    bool check;            // debug mode: the CPU device isolates each dispatch and runs unordered ones backwards;
                           // the Vulkan device turns validation with synchronisation checks on and counts messages
    void *get_instance_proc_addr; // for tests: vkGetInstanceProcAddr in place of the loader's; NULL: that
};

/** A backend's functions. The inline wrappers below are what other modules call. */
struct lg_device_ops {
    void (*destroy)(struct lg_device *dev);
    int (*buffer_create)(struct lg_device *dev, uint64_t size, enum lg_mem mem, struct lg_buffer **out);
    int (*buffer_import)(struct lg_device *dev, const void *host, uint64_t size, struct lg_buffer **out);
    void (*buffer_destroy)(struct lg_buffer *buf);
    int (*upload)(struct lg_device *dev, struct lg_view dst, const void *src);
    int (*download)(struct lg_device *dev, struct lg_view src, void *dst);
    int (*copy)(struct lg_device *dev, struct lg_view dst, struct lg_view src);
    int (*flush)(struct lg_device *dev);
    int (*program_create)(struct lg_device *dev, const struct lg_program_desc *desc, struct lg_program **out);
    void (*program_destroy)(struct lg_program *prog);
    int (*submit)(struct lg_device *dev, const struct lg_piece *pieces, uint32_t n_pieces, uint64_t *ticket);
    int (*wait)(struct lg_device *dev, uint64_t ticket, uint64_t timeout_ns);
    int (*program_times)(struct lg_program *prog, uint64_t *ns);
    int (*memory_budget)(struct lg_device *dev, uint64_t *available);
};

struct lg_device {
    const struct lg_device_ops *ops;
    struct lg_env *env; // allocator, log and error sentence; outlives the device
    struct lg_device_info info;
    struct lg_device_stats stats;
    _Atomic int lost;            // LLMGPU_E_DEVICE_LOST once the device is gone, 0 before: sticky
    const _Atomic int *stop; // a submission ends, or does not begin, while this is nonzero; NULL: nothing stops one
    uint64_t memory_limit;   // bytes that buffers may take together; 0: no limit but the device's own
    char *tuning_path;       // file in which measured sizes are kept; NULL: none are measured
    uint64_t tuning_key;     // of the kernels, the device and its driver: measured under another, they mean nothing
    bool check;              // the debug mode is on
    uint32_t check_messages; // validation messages and check failures so far (options.check)
};

/**
 * Finds and opens a device. "auto" is a real GPU through Vulkan (discrete before integrated before virtual), else the
 * CPU device; a software Vulkan driver is opened only by its name. "vulkan" is the best Vulkan device of any kind.
 *
 * @return 0; LLMGPU_E_NO_DEVICE with the names that exist, when there is none of that name; LLMGPU_E_DEVICE when the
 *         driver fails; LLMGPU_E_UNSUPPORTED when the host's device lacks what is needed; LLMGPU_E_INVALID when its
 *         description is incomplete, or for a priority that there is not; LLMGPU_E_NOMEM
 */
int lg_device_open(struct lg_env *env, const struct lg_device_options *options, struct lg_device **out);
/**
 * Waits for the device's work and frees it; its buffers and programs must be gone. A lost device is waited for no longer
 * than its driver needs to say so. NULL is allowed.
 */
void lg_device_close(struct lg_device *dev);

/**
 * Opens a device that counts what buffers would take on one with these properties, without limit, and does nothing: its
 * stats.memory_used is what the other's would be. Programs can be created and not submitted.
 */
int lg_dry_device_open(struct lg_env *env, const struct lg_device_info *like, struct lg_device **out);

/**
 * Lists the devices of this machine, the CPU first and Vulkan's in the driver's order.
 *
 * @param infos array allocated with env, freed by the caller with lg_free()
 * @return 0 or a failure; a machine without Vulkan has one device
 */
int lg_device_list(struct lg_env *env, struct lg_device_info **infos, uint32_t *n_infos);

/** Describes the device that lg_device_open() would open by that name; NULL is "auto". LLMGPU_E_NO_DEVICE. */
int lg_device_find(struct lg_env *env, const char *name, struct lg_device_info *out);

/**
 * Creates a buffer, zeroed but for LG_MEM_FILLED. LLMGPU_E_NOMEM names the size and what is available, LLMGPU_E_LIMIT the host's limit.
 * SHARED and READBACK buffers have `map` set.
 */
static inline int lg_buffer_create(struct lg_device *dev, uint64_t size, enum lg_mem mem, struct lg_buffer **out)
{
    uint64_t used = dev->stats.memory_used, limit = dev->memory_limit;
    if (limit && (size > limit || used > limit - size))
        return lg_fail(dev->env, LLMGPU_E_LIMIT, "limit max_memory: %llu bytes on %llu are more than %llu",
                       (unsigned long long)size, (unsigned long long)used, (unsigned long long)limit);
    return dev->ops->buffer_create(dev, size, mem, out);
}

/**
 * Makes host memory a buffer that kernels may read, without a copy; the memory must stay as it is and outlive the
 * buffer. Only where info.imports_host is set, LLMGPU_E_UNSUPPORTED elsewhere.
 */
static inline int lg_buffer_import(struct lg_device *dev, const void *host, uint64_t size, struct lg_buffer **out)
{
    return dev->ops->buffer_import(dev, host, size, out);
}

/** NULL is allowed. No submitted program may use it any more. */
static inline void lg_buffer_destroy(struct lg_buffer *buf)
{
    if (buf)
        buf->dev->ops->buffer_destroy(buf);
}

/**
 * Copies dst.size bytes from the host. They are in place before any later submit; `src` may be reused on return. Copies
 * may be gathered in a staging ring: lg_device_flush() pushes them out.
 */
static inline int lg_upload(struct lg_device *dev, struct lg_view dst, const void *src)
{
    return dev->ops->upload(dev, dst, src);
}

/** Copies src.size bytes to the host, after all submitted work. */
static inline int lg_download(struct lg_device *dev, struct lg_view src, void *dst)
{
    return dev->ops->download(dev, src, dst);
}

/**
 * Copies dst.size bytes from the beginning of `src`, on the device: after all earlier submits and copies, and in place
 * before any later one. The two must not overlap. It may be gathered as uploads are, so the host leaves mapped bytes of
 * either alone until lg_device_flush(), or until it has waited for a later submission.
 */
static inline int lg_buffer_copy(struct lg_device *dev, struct lg_view dst, struct lg_view src)
{
    return dev->ops->copy(dev, dst, src);
}

/** Waits until every upload and copy has arrived. */
static inline int lg_device_flush(struct lg_device *dev)
{
    return dev->ops->flush(dev);
}

/** Compiles the kernels and records the program. */
static inline int lg_program_create(struct lg_device *dev, const struct lg_program_desc *desc, struct lg_program **out)
{
    return dev->ops->program_create(dev, desc, out);
}

/** NULL is allowed. Waits for the program's submits. */
static inline void lg_program_destroy(struct lg_program *prog)
{
    if (prog)
        prog->dev->ops->program_destroy(prog);
}

/**
 * Starts pieces of programs of the device, at least one, in ONE submission to it: each sees what those before it wrote, and
 * what earlier submissions did. What the host wrote to SHARED buffers before is visible to it. Several submissions may be
 * in flight; the host leaves alone what they read and write.
 *
 * While *dev->stop is nonzero it answers LLMGPU_E_CANCELLED: the CPU device also in the middle, soon, with what the program
 * writes half written; a Vulkan device only before it begins, so there the caller submits slices.
 *
 * @param ticket names the submission for lg_device_wait(); tickets ascend
 */
static inline int lg_device_submit(struct lg_device *dev, const struct lg_piece *pieces, uint32_t n_pieces,
                                   uint64_t *ticket)
{
    return dev->ops->submit(dev, pieces, n_pieces, ticket);
}

/** One piece. */
static inline int lg_program_submit(struct lg_program *prog, uint32_t first_slice, uint32_t n_slices, uint32_t repeat,
                                    uint64_t *ticket)
{
    const struct lg_piece piece = {prog, first_slice, n_slices, repeat};
    return lg_device_submit(prog->dev, &piece, 1, ticket);
}

/**
 * Sleeps until a submission is finished; then SHARED and READBACK buffers hold what it wrote.
 *
 * @param timeout_ns UINT64_MAX waits for ever
 * @return 0, LLMGPU_E_TIMEOUT (it goes on), LLMGPU_E_CANCELLED, LLMGPU_E_DEVICE_LOST
 */
static inline int lg_device_wait(struct lg_device *dev, uint64_t ticket, uint64_t timeout_ns)
{
    return dev->ops->wait(dev, ticket, timeout_ns);
}

/**
 * Durations of the dispatches of the last finished submission, in nanoseconds: n_ops values, 0 for slices that were not
 * submitted. LLMGPU_E_UNSUPPORTED when the program was created without timestamps.
 */
static inline int lg_program_times(struct lg_program *prog, uint64_t *ns)
{
    return prog->dev->ops->program_times(prog, ns);
}

/** Bytes that can still be allocated, as the driver or system estimates; LLMGPU_E_UNSUPPORTED when it does not say. */
static inline int lg_device_memory_budget(struct lg_device *dev, uint64_t *available)
{
    return dev->ops->memory_budget(dev, available);
}

/** The same where only a bound is wanted: what the device has where it does not say, UINT64_MAX when nothing is known. */
uint64_t lg_device_room(struct lg_device *dev);

#endif
