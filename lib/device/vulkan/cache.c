/* SPDX-License-Identifier: MIT
 *
 * The pipeline cache file. Its name holds a key of the kernels, the device and the driver's version, so that
 * each driver has a file of its own; its head repeats the key and holds a hash of the data, because not every
 * driver survives a damaged cache.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "device/vulkan/spirv.h"
#include "device/vulkan/vk.h"
#include "util/filemap.h"
#include "util/newfile.h"

struct file_head {
    char magic[8];
    uint64_t key;
    uint64_t size; // bytes of the data behind the head
    uint64_t hash; // of the data
};

static const char magic[8] = "lgpipe\0\1";

static uint64_t cache_key(const struct lg_vk_device *dev)
{
    const VkPhysicalDeviceProperties *p = &dev->probe.props.properties;
    const VkPhysicalDeviceVulkan11Properties *p11 = &dev->probe.props11;
    uint64_t key = 0;
    for (uint32_t i = 0; i < LG_K_COUNT; i++)
        key = XXH3_64bits_withSeed(lg_spirv_modules[i].packed, lg_spirv_modules[i].size, key);
    key = XXH3_64bits_withSeed(p11->driverUUID, sizeof(p11->driverUUID), key);
    key = XXH3_64bits_withSeed(p11->deviceUUID, sizeof(p11->deviceUUID), key);
    key = XXH3_64bits_withSeed(p->pipelineCacheUUID, sizeof(p->pipelineCacheUUID), key);
    return XXH3_64bits_withSeed(&p->driverVersion, sizeof(p->driverVersion), key);
}

/* The data of a right file, NULL else. */
static const void *data_of(const struct lg_filemap *map, uint64_t key, struct file_head *head)
{
    if (map->size < sizeof(*head))
        return NULL;
    memcpy(head, map->data, sizeof(*head));
    const uint8_t *data = map->data + sizeof(*head);
    bool right = memcmp(head->magic, magic, sizeof(magic)) == 0 && head->key == key &&
                 head->size == map->size - sizeof(*head) && head->hash == XXH3_64bits(data, head->size);
    return right ? data : NULL;
}

/* Without a cache pipelines are only compiled more often, so that only a lost device is a failure. */
static int create_cache(struct lg_vk_device *dev, const void *data, uint64_t size)
{
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = data ? size : 0,
        .pInitialData = data,
    };
    VkPipelineCache *cache = &dev->pipelines.cache;
    VkResult result = dev->vk.vkCreatePipelineCache(dev->handle, &info, NULL, cache);
    if (result >= 0)
        return 0;
    *cache = VK_NULL_HANDLE;
    int rc = lg_vk_device_result(dev, result, "vkCreatePipelineCache");
    if (dev->base.lost)
        return rc;
    lg_log(dev->base.env, LG_LOG_WARN, "no pipeline cache: %s", dev->base.env->error);
    return 0;
}

/* A file of this device in the folder of caches. */
static int make_path(struct lg_vk_device *dev, const char *dir, const char *kind, char **out)
{
    size_t size = strlen(dir) + strlen(kind) + sizeof("/-0123456789abcdef.bin");
    *out = lg_alloc(dev->base.env, size);
    if (!*out)
        return lg_fail_nomem(dev->base.env, "the path of a cache", size);
    snprintf(*out, size, "%s/%s-%016" PRIx64 ".bin", dir, kind, dev->pipelines.cache_key);
    return 0;
}

/* Software drivers are measured only for who asks for it: they take seconds for what a GPU does in a moment. */
static bool is_tuned(const struct lg_vk_device *dev, int tune)
{
    return tune == LG_TUNE_ALWAYS || (tune == LG_TUNE_AUTO && dev->base.info.kind != LG_DEVICE_SOFTWARE);
}

int lg_vk_cache_open(struct lg_vk_device *dev, const struct lg_device_options *options)
{
    struct lg_env *env = dev->base.env;
    struct lg_vk_pipelines *p = &dev->pipelines;
    const char *dir = options->cache_dir;
    if (!dir)
        return create_cache(dev, NULL, 0);
    p->cache_key = dev->base.tuning_key = cache_key(dev);
    LG_TRY(make_path(dev, dir, "pipelines", &p->cache_path));
    if (is_tuned(dev, options->tune))
        LG_TRY(make_path(dev, dir, "tuning", &dev->base.tuning_path));

    struct lg_filemap map = {0};
    if (access(p->cache_path, R_OK) == 0 && lg_filemap_open(env, p->cache_path, &map) < 0)
        lg_log(env, LG_LOG_WARN, "pipeline cache: %s", env->error);
    struct file_head head;
    const void *data = data_of(&map, p->cache_key, &head);
    if (map.size && !data)
        lg_log(env, LG_LOG_WARN, "pipeline cache '%s' is damaged and was ignored", p->cache_path);
    int rc = create_cache(dev, data, data ? head.size : 0);
    p->loaded_hash = data ? head.hash : 0;
    lg_filemap_close(&map);
    return rc;
}

/* Writes beside the file and renames, so that a reader sees the old file or the new one and nothing between.
 */
static bool write_file(const char *path, char *temp, const struct file_head *head, const void *data)
{
    int fd = mkstemp(temp);
    if (fd < 0)
        return false;
    FILE *file = fdopen(fd, "wb");
    if (!file) {
        close(fd);
        goto fail;
    }
    bool written = fwrite(head, sizeof(*head), 1, file) == 1 && fwrite(data, head->size, 1, file) == 1;
    if (fclose(file) != 0 || !written || rename(temp, path) != 0)
        goto fail;
    return true;

fail:;
    int reason = errno;
    unlink(temp);
    errno = reason;
    return false;
}

static void save_data(struct lg_vk_device *dev, const void *data, size_t size)
{
    struct lg_env *env = dev->base.env;
    struct lg_vk_pipelines *p = &dev->pipelines;
    struct file_head head = {.key = p->cache_key, .size = size, .hash = XXH3_64bits(data, size)};
    memcpy(head.magic, magic, sizeof(magic));
    if (head.hash == p->loaded_hash)
        return;
    size_t temp_size = strlen(p->cache_path) + sizeof(".XXXXXX");
    char *temp = lg_alloc(env, temp_size);
    if (!temp) {
        lg_log(env, LG_LOG_WARN, "pipeline cache '%s' was not written: out of memory", p->cache_path);
        return;
    }
    snprintf(temp, temp_size, "%s.XXXXXX", p->cache_path);
    lg_newfile_folders(p->cache_path);
    if (!write_file(p->cache_path, temp, &head, data))
        lg_log(env, LG_LOG_WARN, "pipeline cache '%s' was not written: %s", p->cache_path, strerror(errno));
    lg_free(env, temp);
}

void lg_vk_cache_save(struct lg_vk_device *dev)
{
    struct lg_env *env = dev->base.env;
    struct lg_vk_pipelines *p = &dev->pipelines;
    if (!p->cache_path || !p->cache || !p->n || dev->base.lost)
        return;
    size_t size = 0;
    if (dev->vk.vkGetPipelineCacheData(dev->handle, p->cache, &size, NULL) < 0 || size == 0)
        return;
    void *data = lg_alloc(env, size);
    if (!data)
        lg_log(env, LG_LOG_WARN, "pipeline cache '%s' was not written: out of memory", p->cache_path);
    else if (dev->vk.vkGetPipelineCacheData(dev->handle, p->cache, &size, data) == VK_SUCCESS)
        save_data(dev, data, size);
    lg_free(env, data);
}
