/* SPDX-License-Identifier: MIT
 *
 * Vulkan calls that fail, one after another, with what drivers fail with: on the way of a device from opening
 * to closing, the library's own and the host's, and on the way of a model from loading to a score. Each
 * failure is a code and a sentence, or did not matter; every object is destroyed; and the device then either
 * works or is lost, in which case it says so, can be closed, and another one opened. With the argument "all"
 * each call fails in each way, otherwise the ways take turns.
 */
#include <dirent.h>
#include <unistd.h>

#include "heap.h"
#include "model_use.h"
#include "push.h"
#include "vulkan_hook.h"

enum { N_OUT = 6, COLS = 256 };

static const VkResult ways[] = {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY,
                                VK_ERROR_DEVICE_LOST, VK_ERROR_INITIALIZATION_FAILED};
enum { N_WAYS = sizeof(ways) / sizeof(ways[0]) };

static bool all_ways;
static struct model_build m;
static int32_t expected[N_OUT];
static char cache_dir[] = "/tmp/lg-faults-XXXXXX";

static int open_device(struct lg_env *env, const struct lg_vk_host *host, struct lg_device **out)
{
    struct lg_device_options options = {
        .name = "vulkan",
        .host = host,
        .cache_dir = cache_dir,
        .get_instance_proc_addr = (void *)hook_vkGetInstanceProcAddr,
    };
    return lg_device_open(env, &options, out);
}

/** A failure has a code that fits it and a sentence. */
static void require_told(const struct lg_env *env, int rc)
{
    bool told = rc == LLMGPU_E_NOMEM || rc == LLMGPU_E_DEVICE || rc == LLMGPU_E_DEVICE_LOST ||
                rc == LLMGPU_E_NO_DEVICE;
    if (!told || !*env->error)
        fprintf(stderr, "%s failed: %d '%s'\n", hook.failed, rc, env->error);
    REQUIRE(told && *env->error);
}

/** A lost device says so, and does not wait for what will never come. */
static void require_lost(struct lg_device *dev)
{
    struct lg_buffer *buf;
    uint64_t n_lost = hook.n_lost;
    REQUIRE_INT(dev->lost, ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(lg_buffer_create(dev, 64, LG_MEM_DEVICE, &buf), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE(strstr(dev->env->error, "lost"));
    REQUIRE_INT(lg_device_flush(dev), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(lg_device_wait(dev, 0, UINT64_MAX), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(hook.n_lost, ==, n_lost);
}

/* ---- a device
 * ---------------------------------------------------------------------------------------------------- */

struct small {
    struct lg_buffer *x, *b, *out;
    struct lg_program *prog;
};

static int create_small(struct lg_device *dev, struct small *s)
{
    const uint64_t size = COLS * sizeof(float);
    LG_TRY(lg_buffer_create(dev, size, LG_MEM_DEVICE, &s->x));
    LG_TRY(lg_buffer_create(dev, size, LG_MEM_SHARED, &s->b));
    LG_TRY(lg_buffer_create(dev, size, LG_MEM_READBACK, &s->out));
    struct lg_dispatch ops[2];
    for (int i = 0; i < 2; i++) {
        ops[i] = (struct lg_dispatch){
            .kernel = LG_K_ADD,
            .views = {lg_view_all(i ? s->out : s->x), lg_view_all(i ? s->x : s->b)},
            .spec = {64},
            .grid = {COLS / 64, 1, 1},
            .push_size = sizeof(struct lg_add_push),
            .barrier = true,
        };
        struct lg_add_push push = {.n_cols = COLS, .b_stride = COLS};
        memcpy(ops[i].push, &push, sizeof(push));
    }
    struct lg_program_desc desc = {.ops = ops, .n_ops = 2, .timestamps = dev->info.timestamps};
    return lg_program_create(dev, &desc, &s->prog);
}

/** What the elements of x become: 2 is uploaded to the first half and copied to the third quarter, 1 is added
 * to all. */
static void require_sums(const float *found)
{
    for (int i = 0; i < COLS; i++)
        REQUIRE(found[i] == (i < COLS / 4 * 3 ? 3 : 1));
}

/* A call that failed on a device that is not lost can be made again, and nothing from before is missing. */
#define AGAIN(call)                            \
    do {                                       \
        int again_rc_ = (call);                \
        if (again_rc_ < 0 && !dev->lost) {     \
            require_told(dev->env, again_rc_); \
            again_rc_ = (call);                \
        }                                      \
        LG_TRY(again_rc_);                     \
    } while (0)

/** Everything that a device does with what was created, once. */
static int use_small(struct lg_device *dev, struct small *s)
{
    const uint64_t quarter = COLS / 4 * sizeof(float);
    float values[COLS];
    uint64_t ticket, ns[2], available;
    for (int i = 0; i < COLS; i++) {
        values[i] = 2;
        ((float *)s->b->map)[i] = 1;
    }
    struct lg_view half = {s->x, 0, 2 * quarter}, third = {s->x, 2 * quarter, quarter};
    AGAIN(lg_upload(dev, half, values));
    AGAIN(lg_buffer_copy(dev, third, half));
    AGAIN(lg_program_submit(s->prog, 0, 1, 1, &ticket));
    AGAIN(lg_device_wait(dev, ticket, UINT64_MAX));
    require_sums(s->out->map);
    AGAIN(lg_download(dev, lg_view_all(s->x), values));
    require_sums(values);
    if (dev->info.timestamps)
        AGAIN(lg_program_times(s->prog, ns));
    int rc = lg_device_memory_budget(dev, &available);
    return rc == LLMGPU_E_UNSUPPORTED ? 0 : rc;
}

static int run_small(struct lg_device *dev)
{
    struct small s = {0};
    int rc = create_small(dev, &s);
    if (rc == 0)
        rc = use_small(dev, &s);
    if (dev->lost)
        require_lost(dev);
    lg_program_destroy(s.prog);
    lg_buffer_destroy(s.out);
    lg_buffer_destroy(s.b);
    lg_buffer_destroy(s.x);
    return rc;
}

/** From opening to closing with the n-th call failing, or all from then on; false when there were fewer. */
static bool fail_device(const struct lg_vk_host *host, uint64_t n, VkResult way, bool forever)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_device *dev = NULL;
    test_heap_env(&env, &heap, 0);
    hook_fail(n, way);
    hook.forever = forever;
    int rc = open_device(&env, host, &dev);
    REQUIRE((rc < 0) == !dev);
    if (rc == 0)
        rc = run_small(dev);
    if (rc < 0)
        require_told(&env, rc);
    if (dev && !dev->lost && hook.failed && !forever) {
        REQUIRE_INT(run_small(dev), ==, 0);
        REQUIRE_INT(dev->stats.memory_used, ==, 0);
    }
    lg_device_close(dev);
    hook_require_none();
    REQUIRE_INT(heap.live, ==, 0);
    hook.lost = false; // a host would make a new device; this one only seemed to be lost
    hook.fail_at = 0;
    hook.forever = false;
    return hook.failed;
}

static uint64_t sweep_device(const struct lg_vk_host *host)
{
    uint64_t n = 0;
    for (bool failed = true; failed;) {
        n++;
        for (int way = 0; way < 2 * N_WAYS; way++)
            failed = fail_device(host, n, ways[way % N_WAYS], way >= N_WAYS);
    }
    return n - 1;
}

/** Functions that are not there: a sentence names them, and nothing is left behind. */
static void check_missing(void)
{
    static const struct {
        const char *name;
        bool is_global; // then it is a loader of Vulkan 1.0, and there are no devices
    } functions[] = {
#define GLOBAL(name) {#name, true},
#define OTHER(name) {#name, false},
        LG_VK_GLOBAL_FNS(GLOBAL) LG_VK_INSTANCE_FNS(OTHER) LG_VK_DEVICE_FNS(OTHER)
#undef GLOBAL
#undef OTHER
    };
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        struct test_heap heap;
        struct lg_env env;
        struct lg_device *dev;
        const char *name = functions[i].name;
        bool destroys = strcmp(name, "vkDestroyInstance") == 0 || strcmp(name, "vkDestroyDevice") == 0;
        test_heap_env(&env, &heap, 0);
        hook.missing = name;
        int rc = open_device(&env, NULL, &dev);
        REQUIRE_INT(rc, ==, functions[i].is_global ? LLMGPU_E_NO_DEVICE : LLMGPU_E_DEVICE);
        REQUIRE(functions[i].is_global || strstr(env.error, name));
        REQUIRE_INT(heap.live, ==, 0);
        if (destroys) // then it cannot be
            memset(hook.live, 0, sizeof(hook.live));
        hook_require_none();
    }
    hook.missing = NULL;
}

/* ---- a host's device
 * --------------------------------------------------------------------------------------------- */

static void lock(void *user)
{
    REQUIRE(user == &hook && !hook.locked);
    hook.locked = true;
}

static void unlock(void *user)
{
    REQUIRE(user == &hook && hook.locked);
    hook.locked = false;
}

#define REAL(instance, name) ((PFN_##name)hook.real((instance), #name))

/** An instance and a device on the first physical device there is. */
static void create_host(struct lg_vk_host *host)
{
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t n = 1;
    VkInstanceCreateInfo instance_info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &(VkApplicationInfo){.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                                 .apiVersion = VK_API_VERSION_1_2},
    };
    REQUIRE_INT(REAL(NULL, vkCreateInstance)(&instance_info, NULL, &instance), ==, VK_SUCCESS);
    REQUIRE(REAL(instance, vkEnumeratePhysicalDevices)(instance, &n, &physical) >= 0 && n == 1);
    static VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore = VK_TRUE,
    };
    static VkPhysicalDeviceFeatures2 chain = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &features,
    };
    VkDeviceCreateInfo device_info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &chain,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos =
            &(VkDeviceQueueCreateInfo){
                .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                .queueCount = 1,
                .pQueuePriorities = (const float[]){1},
            },
    };
    REQUIRE_INT(REAL(instance, vkCreateDevice)(physical, &device_info, NULL, &device), ==, VK_SUCCESS);
    REAL(instance, vkGetDeviceQueue)(device, 0, 0, &queue);
    hook.device = device;
    hook.needs_lock = true;
    *host = (struct lg_vk_host){
        .get_instance_proc_addr = (void *)hook_vkGetInstanceProcAddr,
        .instance = instance,
        .physical_device = physical,
        .device = device,
        .queue = queue,
        .api_version = VK_API_VERSION_1_2,
        .features = &chain,
        .lock_queue = lock,
        .unlock_queue = unlock,
        .queue_user = &hook,
    };
}

static void destroy_host(struct lg_vk_host *host)
{
    REAL(host->instance, vkDestroyDevice)(host->device, NULL);
    REAL(host->instance, vkDestroyInstance)(host->instance, NULL);
    hook.device = VK_NULL_HANDLE;
    hook.needs_lock = false;
}

static void require_refused(const struct lg_vk_host *host, int code, const char *part)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_device *dev;
    test_heap_env(&env, &heap, 0);
    int rc = open_device(&env, host, &dev);
    if (rc != code || !strstr(env.error, part))
        fprintf(stderr, "%d '%s' is not %d with '%s'\n", rc, env.error, code, part);
    REQUIRE(rc == code && strstr(env.error, part) && !dev);
    REQUIRE_INT(heap.live, ==, 0);
    hook_require_none();
}

/** Descriptions of a host's device that cannot be. */
static void check_host_refusals(const struct lg_vk_host *right)
{
    struct lg_vk_host host;
    VkPhysicalDeviceFeatures2 nothing = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    const char *no_name = NULL;
#define REFUSED(change, code, part)         \
    do {                                    \
        host = *right;                      \
        change;                             \
        require_refused(&host, code, part); \
    } while (0)
    REFUSED(host.instance = NULL, LLMGPU_E_INVALID, "no instance");
    REFUSED(host.physical_device = NULL, LLMGPU_E_INVALID, "no physical device");
    REFUSED(host.device = NULL, LLMGPU_E_INVALID, "no device");
    REFUSED(host.queue = NULL, LLMGPU_E_INVALID, "no queue");
    REFUSED(host.unlock_queue = NULL, LLMGPU_E_INVALID, "unlock_queue");
    REFUSED(host.lock_queue = NULL, LLMGPU_E_INVALID, "lock_queue");
    REFUSED(host.n_extensions = 1, LLMGPU_E_INVALID, "1 extensions without a list");
    REFUSED((host.n_extensions = 1, host.extensions = &no_name), LLMGPU_E_INVALID, "extension 0");
    REFUSED(host.queue_family = 77, LLMGPU_E_INVALID, "family 77");
    REFUSED(host.api_version = VK_API_VERSION_1_1, LLMGPU_E_UNSUPPORTED, "has Vulkan 1.1, 1.2 is needed");
    REFUSED(host.features = &nothing, LLMGPU_E_UNSUPPORTED, "timelineSemaphore");
#undef REFUSED
}

/** What counts as being there is what the host says, however it says it. */
static void check_host_features(const struct lg_vk_host *right)
{
    struct lg_vk_host host = *right;
    struct lg_vk_features f;
    const char *const names[] = {"VK_KHR_a", "VK_EXT_memory_budget"};
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
        .timelineSemaphore = VK_TRUE,
    };
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext = &timeline,
        .subgroupSizeControl = VK_TRUE,
    };
    VkPhysicalDeviceVulkan13Features features13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
        .computeFullSubgroups = VK_TRUE,
    };
    lg_vk_host_features(&host, &f);
    REQUIRE(f.timeline_semaphore && !f.subgroup_size_control && !f.full_subgroups);
    host.features = NULL;
    lg_vk_host_features(&host, &f);
    REQUIRE(f.timeline_semaphore && !f.subgroup_size_control && !f.full_subgroups);
    host.features = &sizes;
    lg_vk_host_features(&host, &f);
    REQUIRE(f.timeline_semaphore && f.subgroup_size_control && !f.full_subgroups);
    host.features = &features13;
    lg_vk_host_features(&host, &f);
    REQUIRE(!f.timeline_semaphore && !f.subgroup_size_control && f.full_subgroups);

    REQUIRE(!lg_vk_host_has(&host, "VK_EXT_memory_budget"));
    host.extensions = names;
    host.n_extensions = 2;
    REQUIRE(lg_vk_host_has(&host, "VK_EXT_memory_budget") && !lg_vk_host_has(&host, "VK_KHR_b"));
}

/** Opened, the host's device is used, under its lock, and nothing of it is created or destroyed. */
static uint64_t check_host(void)
{
    static const enum hook_function never[] = {HOOK_vkCreateInstance, HOOK_vkDestroyInstance,
                                               HOOK_vkCreateDevice, HOOK_vkDestroyDevice};
    struct lg_vk_host host;
    struct lg_env env;
    struct lg_device *dev;
    uint64_t available;
    lg_env_init(&env);
    create_host(&host);
    check_host_refusals(&host);
    check_host_features(&host);
    memset(hook.calls, 0, sizeof(hook.calls));

    int rc = open_device(&env, &host, &dev);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_STR(dev->info.id, "vulkan:host");
    REQUIRE_INT(run_small(dev), ==, 0);
    REQUIRE_INT(lg_device_memory_budget(dev, &available), ==,
                LLMGPU_E_UNSUPPORTED); // its extension is not on
    lg_device_close(dev);
    hook_require_none();
    uint64_t n = sweep_device(&host);
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        REQUIRE_INT(hook.calls[never[i]], ==, 0);
    REQUIRE_INT(hook.calls[HOOK_vkQueueSubmit], >, 0);
    destroy_host(&host);
    return n;
}

/* ---- priorities
 * -------------------------------------------------------------------------------------------------- */

static int n_warnings;

static void count_warnings(void *user, int level, const char *text)
{
    (void)user;
    (void)text;
    n_warnings += level == LG_LOG_WARN;
}

/** Opens with a priority on a driver that answers so, and returns what it was asked for in the end. */
static VkQueueGlobalPriorityKHR priority_of(int priority, const char *extension, VkResult answer,
                                            int warnings)
{
    struct lg_env env;
    struct lg_device *dev;
    struct lg_device_options options = {
        .name = "vulkan",
        .priority = priority,
        .get_instance_proc_addr = (void *)hook_vkGetInstanceProcAddr,
    };
    lg_env_init(&env);
    env.log = count_warnings;
    hook.extension = extension;
    hook.priority_result = answer;
    hook.priority = 0;
    n_warnings = 0;
    REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
    REQUIRE_INT(run_small(dev), ==, 0);
    lg_device_close(dev);
    hook_require_none();
    hook.extension = NULL;
    REQUIRE_INT(n_warnings, ==, warnings);
    return hook.priority;
}

static void check_priorities(void)
{
    static const VkQueueGlobalPriorityKHR globals[] = {
        [LG_PRIORITY_DEFAULT] = 0,
        [LG_PRIORITY_LOW] = VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR,
        [LG_PRIORITY_MEDIUM] = VK_QUEUE_GLOBAL_PRIORITY_MEDIUM_KHR,
        [LG_PRIORITY_HIGH] = VK_QUEUE_GLOBAL_PRIORITY_HIGH_KHR,
        [LG_PRIORITY_REALTIME] = VK_QUEUE_GLOBAL_PRIORITY_REALTIME_KHR,
    };
    static const char *const extensions[] = {VK_KHR_GLOBAL_PRIORITY_EXTENSION_NAME,
                                             VK_EXT_GLOBAL_PRIORITY_EXTENSION_NAME};
    for (int p = LG_PRIORITY_DEFAULT; p <= LG_PRIORITY_REALTIME; p++) {
        bool wanted = p != LG_PRIORITY_DEFAULT;
        for (int i = 0; i < 2; i++)
            REQUIRE_INT(priority_of(p, extensions[i], VK_SUCCESS, 0), ==, globals[p]);
        REQUIRE_INT(priority_of(p, extensions[0], VK_ERROR_NOT_PERMITTED_KHR, wanted), ==, 0);
        REQUIRE_INT(priority_of(p, extensions[0], VK_ERROR_INITIALIZATION_FAILED, wanted), ==, 0);
    }
    struct lg_env env;
    struct lg_device *dev;
    lg_env_init(&env);
    for (int p = -1; p <= 5; p += 6) {
        struct lg_device_options options = {.name = "vulkan", .priority = p};
        REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, LLMGPU_E_INVALID);
        REQUIRE(strstr(env.error, "priority"));
    }
}

/* ---- a model
 * ----------------------------------------------------------------------------------------------------- */

static int run_model(struct use *u, int32_t out[N_OUT])
{
    float log_probs[4], logits[5 * 512];
    LG_TRY(use_load(u, m.file.data, m.file.size));
    LG_TRY(use_start(u, 32, true));
    LG_TRY(use_generate(&u->session, 3, 6, out, N_OUT));
    struct lg_scores scores = {.log_probs = log_probs, .logits = logits};
    return lg_session_score(&u->session, (const int32_t[]){7, 8, 9, 10, 11}, 5, &scores);
}

/** Loads, answers and scores on a new device with the n-th call failing; false when there were fewer. */
static bool fail_model(uint64_t n, VkResult way)
{
    struct test_heap heap;
    struct lg_env env;
    struct use u = {.env = &env};
    int32_t out[N_OUT];
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(open_device(&env, NULL, &u.dev), ==, 0);
    hook_fail(n, way);
    int rc = run_model(&u, out);
    if (rc < 0)
        require_told(&env, rc);
    else
        REQUIRE(memcmp(out, expected, sizeof(out)) == 0);
    if (u.dev->lost)
        require_lost(u.dev);
    use_end(&u);
    REQUIRE_INT(u.dev->stats.memory_used, ==, 0);
    bool failed = hook.failed;
    hook.fail_at = 0;
    if (failed && !u.dev->lost) {
        REQUIRE_INT(run_model(&u, out), ==, 0);
        REQUIRE(memcmp(out, expected, sizeof(out)) == 0);
        use_end(&u);
    }
    lg_device_close(u.dev);
    hook_require_none();
    REQUIRE_INT(heap.live, ==, 0);
    return failed;
}

enum { EVERY = 5 }; // call of a model fails where not all do; no multiple of N_WAYS

static uint64_t sweep_model(void)
{
    uint64_t n = 0;
    for (bool failed = true; failed;) {
        n += all_ways ? 1 : EVERY;
        for (uint64_t way = 0; way < (all_ways ? N_WAYS : 1); way++)
            failed = fail_model(n, ways[(n + way) % N_WAYS]);
    }
    return n;
}

/** The answer when nothing fails; leaves the pipelines in the cache file. */
static void make_expected(void)
{
    struct lg_env env;
    struct use u = {.env = &env};
    struct model_shape shape = model_tiny("qwen2");
    model_init(&m, &shape);
    model_write(&m);
    lg_env_init(&env);
    int rc = hook_init() ? open_device(&env, NULL, &u.dev) : LLMGPU_E_NO_DEVICE;
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", env.error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_INT(run_model(&u, expected), ==, 0);
    use_end(&u);
    REQUIRE(u.dev->stats.pipelines > 0 && u.dev->stats.pipelines_found == 0);
    REQUIRE(hook.cache_bytes == 0 && hook.n_uncached == 0);
    lg_device_close(u.dev);
    hook_require_none();
}

/** A second start gives the driver back what the first one compiled, and all pipelines come from there. */
static void check_second_start(void)
{
    struct lg_env env;
    struct use u = {.env = &env};
    int32_t out[N_OUT];
    lg_env_init(&env);
    REQUIRE_INT(open_device(&env, NULL, &u.dev), ==, 0);
    REQUIRE_INT(run_model(&u, out), ==, 0);
    REQUIRE(memcmp(out, expected, sizeof(out)) == 0);
    use_end(&u);
    REQUIRE(hook.cache_bytes > 0 && hook.n_uncached == 0);
    const struct lg_vk_probe *probe = &lg_vk_device(u.dev)->probe;
    if (probe->feedback_extension || probe->version >= VK_API_VERSION_1_3)
        REQUIRE_INT(u.dev->stats.pipelines_found, ==, u.dev->stats.pipelines);
    lg_device_close(u.dev);
    hook_require_none();
}

static void remove_cache(void)
{
    char path[512];
    DIR *dir = opendir(cache_dir);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof(path), "%s/%s", cache_dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(cache_dir);
}

/** Where a device is on the bus is asked of drivers that know, and of no other. */
static void check_place(void)
{
    struct lg_env env;
    struct lg_device *dev;
    lg_env_init(&env);
    hook.n_asked_pci = 0;
    REQUIRE_INT(open_device(&env, NULL, &dev), ==, 0);
    bool knows = dev->info.pci.known;
    REQUIRE_INT(hook.n_asked_pci > 0, ==, knows);
    lg_device_close(dev);
    if (knows)
        return;
    hook.extension = VK_EXT_PCI_BUS_INFO_EXTENSION_NAME;
    REQUIRE_INT(open_device(&env, NULL, &dev), ==, 0);
    const struct lg_pci *pci = &dev->info.pci;
    REQUIRE(pci->known && pci->domain == 1 && pci->bus == 2 && pci->device == 3 && pci->function == 4);
    REQUIRE_INT(dev->info.vendor, !=, 0);
    lg_device_close(dev);
    hook.extension = NULL;
    hook_require_none();
}

int main(int argc, char **argv)
{
    all_ways = argc > 1 && strcmp(argv[1], "all") == 0;
    REQUIRE(mkdtemp(cache_dir));
    make_expected();
    check_second_start();
    check_missing();
    check_priorities();
    check_place();
    uint64_t n_own = sweep_device(NULL), n_host = check_host(), n_model = sweep_model();
    printf("%llu calls fail on the way of a device, %llu of a host's, %llu of a model\n",
           (unsigned long long)n_own, (unsigned long long)n_host, (unsigned long long)n_model);
    REQUIRE(n_own > 40 && n_host > 30 && n_model > 200);
    remove_cache();
    return 0;
}
