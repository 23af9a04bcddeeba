/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <unistd.h>

#include "device/vulkan/spirv.h"
#include "device/vulkan/vk.h"
#include "util/checked.h"
#include "util/thread.h"

static int create_layout(struct lg_vk_device *dev, uint32_t n_views)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    VkDescriptorSetLayoutBinding bindings[LG_MAX_VIEWS];
    for (uint32_t i = 0; i < n_views; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = n_views,
        .pBindings = bindings,
    };
    if (!p->set_layouts[n_views])
        VK_CREATE(dev, vkCreateDescriptorSetLayout, &set, &p->set_layouts[n_views]);
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &p->set_layouts[n_views],
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &(VkPushConstantRange){VK_SHADER_STAGE_COMPUTE_BIT, 0, LG_MAX_PUSH},
    };
    VK_CREATE(dev, vkCreatePipelineLayout, &layout, &p->layouts[n_views]);
    return 0;
}

int lg_vk_layout_get(struct lg_vk_device *dev, uint32_t n_views, VkDescriptorSetLayout *set,
                     VkPipelineLayout *layout)
{
    if (!dev->pipelines.layouts[n_views])
        LG_TRY(create_layout(dev, n_views));
    *set = dev->pipelines.set_layouts[n_views];
    *layout = dev->pipelines.layouts[n_views];
    return 0;
}

/* A pipeline on its way. */
struct job {
    struct lg_vk_pipeline item;
    VkPipelineLayout layout;
    VkResult result;
    const char *what; // the call that gave it
    bool found;       // in the driver's cache
};

/* Several threads take jobs one by one. What they call, Vulkan allows on several threads, cache included. */
struct work {
    struct lg_vk_device *dev;
    struct job *jobs;
    uint32_t n;
    _Atomic uint32_t next;
};

static VkResult compile(struct lg_vk_device *dev, struct job *job, VkShaderModule module)
{
    const struct lg_vk_pipeline *item = &job->item;
    VkSpecializationMapEntry entries[LG_MAX_SPEC];
    for (uint32_t i = 0; i < LG_MAX_SPEC; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * sizeof(uint32_t), sizeof(uint32_t)};
    VkSpecializationInfo spec = {LG_MAX_SPEC, entries, sizeof(item->spec), item->spec};
    uint32_t subgroup_size = dev->base.info.subgroup_size;
    bool full = dev->probe.full_subgroups && item->spec[0] % subgroup_size == 0;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo required = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup_size,
    };
    VkPipelineCreationFeedback feedback = {0};
    VkPipelineCreationFeedbackCreateInfo tell = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO,
        .pPipelineCreationFeedback = &feedback,
    };
    bool tells = dev->probe.feedback_extension || dev->probe.version >= VK_API_VERSION_1_3;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .pNext = tells ? &tell : NULL,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = dev->probe.pins_subgroup_size ? &required : NULL,
                .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &spec,
            },
        .layout = job->layout,
    };
    job->what = "vkCreateComputePipelines";
    VkResult result = dev->vk.vkCreateComputePipelines(dev->handle, dev->pipelines.cache, 1, &info, NULL,
                                                       &job->item.handle);
    const VkPipelineCreationFeedbackFlags hit = VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT |
                                                VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT;
    job->found = (feedback.flags & hit) == hit;
    return result;
}

static VkResult create_module(struct lg_vk_device *dev, enum lg_kernel kernel, VkShaderModule *out)
{
    const struct lg_spirv *packed = &lg_spirv_modules[kernel];
    uint32_t *words = lg_alloc_array(dev->base.env, packed->n_words, sizeof(*words));
    if (!words)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    lg_spirv_unpack(packed, words, packed->n_words);
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = packed->n_words * sizeof(*words),
        .pCode = words,
    };
    VkResult result = dev->vk.vkCreateShaderModule(dev->handle, &info, NULL, out);
    lg_free(dev->base.env, words);
    return result;
}

static VkResult create_pipeline(struct lg_vk_device *dev, struct job *job)
{
    VkShaderModule module;
    job->what = "vkCreateShaderModule";
    VkResult result = create_module(dev, job->item.kernel, &module);
    if (result < 0)
        return result;
    result = compile(dev, job, module);
    dev->vk.vkDestroyShaderModule(dev->handle, module, NULL);
    return result;
}

static void *take_jobs(void *user)
{
    struct work *work = user;
    for (uint32_t i; (i = atomic_fetch_add(&work->next, 1)) < work->n;)
        work->jobs[i].result = create_pipeline(work->dev, &work->jobs[i]);
    return NULL;
}

static void run_jobs(struct work *work)
{
    enum { MAX_THREADS = 8 };
    pthread_t threads[MAX_THREADS];
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t n = 0, most = processors > 1 ? lg_min_u32((uint32_t)processors, MAX_THREADS) - 1 : 0;
    while (n < most && n + 1 < work->n && lg_thread_start(&threads[n], take_jobs, work))
        n++;
    take_jobs(work);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* Keeps what was made, whatever else failed. */
static int keep(struct lg_vk_device *dev, const struct work *work)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    int rc = 0;
    for (uint32_t i = 0; i < work->n; i++) {
        const struct job *job = &work->jobs[i];
        if (job->result < 0) {
            rc = rc < 0 ? rc : lg_vk_device_result(dev, job->result, job->what);
            continue;
        }
        p->items[p->n++] = job->item;
        atomic_fetch_add_explicit(&dev->base.stats.pipelines, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&dev->base.stats.pipelines_found, job->found, memory_order_relaxed);
    }
    return rc;
}

static bool is_same(const struct lg_vk_pipeline *item, enum lg_kernel kernel, const uint32_t spec[LG_MAX_SPEC])
{
    return item->kernel == kernel && memcmp(item->spec, spec, sizeof(item->spec)) == 0;
}

VkPipeline lg_vk_pipeline_get(const struct lg_vk_device *dev, enum lg_kernel kernel,
                              const uint32_t spec[LG_MAX_SPEC])
{
    const struct lg_vk_pipelines *p = &dev->pipelines;
    for (uint32_t i = 0; i < p->n; i++)
        if (is_same(&p->items[i], kernel, spec))
            return p->items[i].handle;
    return VK_NULL_HANDLE;
}

/* Lists the pipelines that are missing, each once. */
static void list_jobs(const struct lg_vk_device *dev, const struct lg_program_desc *desc, struct work *work)
{
    for (uint32_t i = 0; i < desc->n_ops; i++) {
        const struct lg_dispatch *op = &desc->ops[i];
        bool known = lg_vk_pipeline_get(dev, op->kernel, op->spec) != VK_NULL_HANDLE;
        for (uint32_t k = 0; k < work->n && !known; k++)
            known = is_same(&work->jobs[k].item, op->kernel, op->spec);
        if (known)
            continue;
        struct lg_vk_pipeline *item = &work->jobs[work->n++].item;
        item->kernel = op->kernel;
        memcpy(item->spec, op->spec, sizeof(item->spec));
    }
}

static int make_room(struct lg_vk_device *dev, uint32_t n)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    uint32_t cap = p->cap ? p->cap : 32;
    while (cap - p->n < n)
        cap *= 2;
    if (cap == p->cap)
        return 0;
    void *grown = lg_resize(dev->base.env, p->items, cap * sizeof(*p->items));
    if (!grown)
        return lg_fail_nomem(dev->base.env, "the list of pipelines", cap * sizeof(*p->items));
    p->items = grown;
    p->cap = cap;
    return 0;
}

static int make(struct lg_vk_device *dev, struct work *work)
{
    VkDescriptorSetLayout set;
    LG_TRY(make_room(dev, work->n));
    for (uint32_t i = 0; i < work->n; i++)
        LG_TRY(lg_vk_layout_get(dev, lg_kernel_infos[work->jobs[i].item.kernel].n_views, &set, &work->jobs[i].layout));
    run_jobs(work);
    return keep(dev, work);
}

int lg_vk_pipelines_make(struct lg_vk_device *dev, const struct lg_program_desc *desc)
{
    struct work work = {.dev = dev, .jobs = lg_alloc_array(dev->base.env, desc->n_ops, sizeof(*work.jobs))};
    if (!work.jobs)
        return lg_fail_nomem(dev->base.env, "pipelines", desc->n_ops * sizeof(*work.jobs));
    list_jobs(dev, desc, &work);
    int rc = work.n ? make(dev, &work) : 0;
    lg_free(dev->base.env, work.jobs);
    return rc;
}

void lg_vk_pipelines_finish(struct lg_vk_device *dev)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    for (uint32_t i = 0; i < p->n; i++)
        dev->vk.vkDestroyPipeline(dev->handle, p->items[i].handle, NULL);
    for (uint32_t i = 0; i <= LG_MAX_VIEWS; i++) {
        dev->vk.vkDestroyPipelineLayout(dev->handle, p->layouts[i], NULL);
        dev->vk.vkDestroyDescriptorSetLayout(dev->handle, p->set_layouts[i], NULL);
    }
    dev->vk.vkDestroyPipelineCache(dev->handle, p->cache, NULL);
    lg_free(dev->base.env, p->items);
    lg_free(dev->base.env, p->cache_path);
    memset(p, 0, sizeof(*p));
}
