/* SPDX-License-Identifier: MIT
 *
 * Buffers get ranges of large blocks, because drivers allow only some thousand allocations and take long for
 * each. A block keeps a list of what is free in it; the first range that fits is taken.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/vulkan/vk.h"

static const uint64_t device_block_size = 64 << 20;
static const uint64_t host_block_size = 4 << 20;

/* Memory whose types need a feature turned on, or that no buffer can use. */
static const VkMemoryPropertyFlags never =
    VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
    VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;

#define DEVICE_LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define HOST (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define HOST_CACHED (HOST | VK_MEMORY_PROPERTY_HOST_CACHED_BIT)

enum { N_CHOICES = 2 };

/* What each kind of memory wants, the best first; 0 ends the list. */
static const VkMemoryPropertyFlags choices[][N_CHOICES] = {
    [LG_MEM_DEVICE] = {DEVICE_LOCAL},
    [LG_MEM_FILLED] = {DEVICE_LOCAL | HOST, DEVICE_LOCAL},
    [LG_MEM_SHARED] = {DEVICE_LOCAL | HOST, HOST},
    [LG_MEM_READBACK] = {HOST_CACHED, HOST},
};

/* ---- ranges of a block
 * ------------------------------------------------------------------------------------------ */

static int reserve_free(struct lg_env *env, struct lg_vk_block *block)
{
    if (block->free_cap > block->n_used + 2)
        return 0;
    uint32_t cap = block->free_cap ? 2 * block->free_cap : 16;
    void *grown = lg_resize(env, block->free, cap * sizeof(*block->free));
    if (!grown)
        return lg_fail_nomem(env, "the memory list of the Vulkan device", cap * sizeof(*block->free));
    block->free = grown;
    block->free_cap = cap;
    return 0;
}

static void remove_free(struct lg_vk_block *block, uint32_t i)
{
    block->n_free--;
    memmove(&block->free[i], &block->free[i + 1], (block->n_free - i) * sizeof(*block->free));
}

static void insert_free(struct lg_vk_block *block, uint32_t i, uint64_t offset, uint64_t size)
{
    memmove(&block->free[i + 1], &block->free[i], (block->n_free - i) * sizeof(*block->free));
    block->free[i] = (struct lg_vk_free_range){offset, size};
    block->n_free++;
}

/* Takes the first free range with room; false when there is none. */
static bool take(struct lg_vk_block *block, uint64_t size, uint64_t align, struct lg_vk_range *out)
{
    for (uint32_t i = 0; i < block->n_free; i++) {
        struct lg_vk_free_range *range = &block->free[i];
        uint64_t end = range->offset + range->size;
        uint64_t offset = (range->offset + align - 1) & ~(align - 1);
        if (offset > end || end - offset < size)
            continue;
        uint64_t before = offset - range->offset, after = end - offset - size;
        if (before)
            range->size = before;
        else if (after)
            *range = (struct lg_vk_free_range){offset + size, after};
        else
            remove_free(block, i);
        if (before && after)
            insert_free(block, i + 1, offset + size, after);
        block->n_used++;
        *out = (struct lg_vk_range){block, offset, size};
        return true;
    }
    return false;
}

static void give_back(struct lg_vk_block *block, uint64_t offset, uint64_t size)
{
    uint32_t i = 0;
    while (i < block->n_free && block->free[i].offset < offset)
        i++;
    struct lg_vk_free_range *prev = i > 0 ? &block->free[i - 1] : NULL;
    struct lg_vk_free_range *next = i < block->n_free ? &block->free[i] : NULL;
    bool joins_prev = prev && prev->offset + prev->size == offset;
    bool joins_next = next && offset + size == next->offset;
    if (joins_prev && joins_next) {
        prev->size += size + next->size;
        remove_free(block, i);
    } else if (joins_prev) {
        prev->size += size;
    } else if (joins_next) {
        next->offset = offset;
        next->size += size;
    } else {
        insert_free(block, i, offset, size);
    }
    block->n_used--;
}

/* ---- blocks
 * ----------------------------------------------------------------------------------------------------- */

static void destroy_block(struct lg_vk_device *dev, struct lg_vk_block *block)
{
    if (block->memory) {
        dev->vk.vkFreeMemory(dev->handle, block->memory, NULL); // which unmaps it
        dev->n_blocks--;
    }
    lg_free(dev->base.env, block->free);
    lg_free(dev->base.env, block);
}

static int init_block(struct lg_vk_device *dev, struct lg_vk_block *block, uint32_t type, uint64_t size)
{
    const VkPhysicalDeviceLimits *limits = &dev->probe.props.properties.limits;
    uint64_t max_size = dev->probe.props11.maxMemoryAllocationSize;
    if (size > max_size)
        return lg_fail(dev->base.env, LLMGPU_E_NOMEM, "the driver allocates at most %" PRIu64 " bytes",
                       max_size);
    if (dev->n_blocks >= limits->maxMemoryAllocationCount)
        return lg_fail(dev->base.env, LLMGPU_E_NOMEM, "the driver allows no more than %u allocations",
                       dev->n_blocks);
    LG_TRY(reserve_free(dev->base.env, block));
    block->type = type;
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = size,
        .memoryTypeIndex = type,
    };
    VK_CREATE(dev, vkAllocateMemory, &info, &block->memory);
    dev->n_blocks++;
    insert_free(block, 0, 0, size);
    if (!(dev->probe.memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT))
        return 0;
    void *map = NULL;
    VK(dev, vkMapMemory, dev->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &map);
    block->map = map;
    return 0;
}

static int create_block(struct lg_vk_device *dev, uint32_t type, uint64_t size, struct lg_vk_block **out)
{
    struct lg_env *env = dev->base.env;
    struct lg_vk_block *block = lg_alloc(env, sizeof(*block));
    if (!block)
        return lg_fail_nomem(env, "a block of the Vulkan device's memory", sizeof(*block));
    int rc = init_block(dev, block, type, size);
    if (rc < 0) {
        destroy_block(dev, block);
        return rc;
    }
    *out = block;
    return 0;
}

static void unlink_block(struct lg_vk_device *dev, struct lg_vk_block *block)
{
    struct lg_vk_block **link = &dev->blocks;
    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
}

static bool suits(const struct lg_vk_device *dev, uint32_t type, uint32_t type_bits, enum lg_mem mem,
                  VkMemoryPropertyFlags wanted)
{
    const VkPhysicalDeviceMemoryProperties *memory = &dev->probe.memory;
    VkMemoryPropertyFlags flags = memory->memoryTypes[type].propertyFlags;
    // Where the host reaches only a window of the device's memory, large buffers would soon fill it.
    bool is_window = memory->memoryHeaps[memory->memoryTypes[type].heapIndex].size < dev->base.info.memory;
    return (type_bits >> type & 1) && (flags & wanted) == wanted && !(flags & never) &&
           !(mem == LG_MEM_FILLED && is_window);
}

/* The size of a new block: requests above a quarter of the usual size get one of their own. */
static uint64_t block_size_for(const struct lg_vk_device *dev, uint32_t type, uint64_t size, enum lg_mem mem)
{
    const VkPhysicalDeviceMemoryProperties *memory = &dev->probe.memory;
    uint64_t usual = lg_mem_is_mapped(mem) ? host_block_size : device_block_size;
    uint64_t heap = memory->memoryHeaps[memory->memoryTypes[type].heapIndex].size;
    return size > usual / 4 || usual > heap / 16 ? size : usual;
}

/* A range of memory of that type, of a block that is there or a new one. */
static int alloc_of_type(struct lg_vk_device *dev, uint32_t type, const VkMemoryRequirements *req,
                         enum lg_mem mem, struct lg_vk_range *out)
{
    for (struct lg_vk_block *block = dev->blocks; block; block = block->next) {
        if (block->type != type)
            continue;
        LG_TRY(reserve_free(dev->base.env, block));
        if (take(block, req->size, req->alignment, out))
            return 0;
    }
    struct lg_vk_block *block;
    uint64_t size = block_size_for(dev, type, req->size, mem);
    int rc = create_block(dev, type, size, &block);
    if (rc == LLMGPU_E_NOMEM && size > req->size)
        rc = create_block(dev, type, req->size, &block);
    LG_TRY(rc);
    block->next = dev->blocks;
    dev->blocks = block;
    take(block, req->size, req->alignment, out); // a new block begins aligned and has the room
    return 0;
}

int lg_vk_range_alloc(struct lg_vk_device *dev, const VkMemoryRequirements *req, enum lg_mem mem,
                      struct lg_vk_range *out)
{
    struct lg_env *env = dev->base.env;
    for (uint32_t c = 0; c < N_CHOICES && choices[mem][c]; c++) {
        for (uint32_t type = 0; type < dev->probe.memory.memoryTypeCount; type++) {
            if (!suits(dev, type, req->memoryTypeBits, mem, choices[mem][c]))
                continue;
            int rc = alloc_of_type(dev, type, req, mem, out);
            if (rc != LLMGPU_E_NOMEM)
                return rc;
        }
    }
    uint64_t available;
    char note[64] = "the driver does not say how much is free";
    if (lg_vk_memory_budget(&dev->base, &available) == 0)
        snprintf(note, sizeof(note), "%" PRIu64 " bytes are available", available);
    return lg_fail(env, LLMGPU_E_NOMEM, "out of memory on %s: a buffer of %" PRIu64 " bytes is wanted, %s",
                   dev->base.info.id, (uint64_t)req->size, note);
}

bool lg_vk_is_coherent(const struct lg_vk_device *dev, const struct lg_vk_block *block)
{
    return block->map && (dev->probe.memory.memoryTypes[block->type].propertyFlags & HOST) == HOST;
}

void lg_vk_range_free(struct lg_vk_device *dev, struct lg_vk_range *range)
{
    struct lg_vk_block *block = range->block;
    if (!block)
        return;
    give_back(block, range->offset, range->size);
    if (block->n_used == 0) {
        unlink_block(dev, block);
        destroy_block(dev, block);
    }
    memset(range, 0, sizeof(*range));
}

int lg_vk_memory_budget(struct lg_device *base, uint64_t *available)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    *available = 0;
    if (!dev->probe.has_memory_budget)
        return lg_fail(base->env, LLMGPU_E_UNSUPPORTED, "%s does not say how much memory is free",
                       base->info.id);
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT,
    };
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = &budget,
    };
    dev->inst.fn.vkGetPhysicalDeviceMemoryProperties2(dev->physical, &memory);
    uint32_t best = 0;
    uint64_t best_size = 0;
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
        if (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && heap->size > best_size) {
            best = i;
            best_size = heap->size;
        }
    }
    uint64_t limit = budget.heapBudget[best], used = budget.heapUsage[best];
    *available = limit > used ? limit - used : 0;
    for (const struct lg_vk_block *block = dev->blocks; block; block = block->next)
        if (memory.memoryProperties.memoryTypes[block->type].heapIndex == best)
            for (uint32_t i = 0; i < block->n_free; i++)
                *available += block->free[i].size;
    return 0;
}
