/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Several models in one context: found in folders, loaded when they are asked for, kept within a budget of bytes. Experimental.
 *
 *     llmgpu_model_cache_create(&cache, ctx, &params);
 *     llmgpu_model_cache_scan(cache, "/models");
 *     llmgpu_model_cache_acquire(cache, "tavern-3.7m-q8_0", &model);
 *     ... sessions ...
 *     llmgpu_model_free(model);
 */
#ifndef LLMGPU_CACHE_H
#define LLMGPU_CACHE_H

#include "llmgpu/model.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Models of a context by name. It keeps the context alive.
 *
 * @par Thread-safety: any thread may use it; while one loads a model the others go on, but for those that wait for the same
 *      model
 */
typedef struct llmgpu_model_cache llmgpu_model_cache;

/** Parameters of llmgpu_model_cache_create(). */
typedef struct llmgpu_model_cache_params {
    uint32_t size;       /**< set by llmgpu_model_cache_params_init() */
    uint32_t max_models; /**< loaded at the same time; 0 (default): any number */
    uint64_t max_bytes;  /**< of the loaded models' files; 0 (default): any number */
} llmgpu_model_cache_params;

/** A model that the cache knows. */
typedef struct llmgpu_model_cache_entry {
    char name[128];      /**< of the file, without folder and ".gguf" */
    char path[1024];     /**< of the file */
    uint64_t file_bytes; /**< as it was scanned or loaded last */
    uint64_t n_acquired; /**< times that it was asked for */
    uint32_t loaded;     /**< 1: it is */
    uint32_t in_use;     /**< 1: somebody beside the cache has it */
    uint32_t pinned;     /**< 1: it is not evicted */
    uint32_t reserved;   /**< 0 */
} llmgpu_model_cache_entry;

/** Counters of a cache. */
typedef struct llmgpu_model_cache_stats {
    uint64_t hits;         /**< models asked for that were loaded already */
    uint64_t misses;       /**< models that had to be loaded */
    uint64_t swaps;        /**< of these, how many replaced an older file of the same name */
    uint64_t evictions;    /**< models that went to make room */
    uint64_t loaded_bytes; /**< of the files of those that are loaded */
    uint32_t n_models;     /**< known */
    uint32_t n_loaded;     /**< loaded */
} llmgpu_model_cache_stats;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_model_cache_params)
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_params_init(llmgpu_model_cache_params *params, size_t size);

/**
 * Makes an empty cache.
 *
 * @param out    to be freed with llmgpu_model_cache_free(); NULL on failure
 * @param ctx    where models are loaded
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_NOMEM. The sentence is llmgpu_context_error(), also below.
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_create(llmgpu_model_cache **out, llmgpu_context *ctx,
                                                      const llmgpu_model_cache_params *params);

/**
 * Lets go of all its models; those in use stay until their users free them.
 *
 * @param cache NULL is allowed; no other call on it may be running
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_model_cache_free(llmgpu_model_cache *cache);

/**
 * Looks for files that end in ".gguf" and begin as GGUF files do, in a folder and not below it. Names that are known already
 * now mean the new path; what is loaded stays loaded.
 *
 * @param cache  where they are noted
 * @param folder to look into
 * @return how many were found; LLMGPU_E_IO; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_scan(llmgpu_model_cache *cache, const char *folder);

/**
 * Describes a model that is known.
 *
 * @param cache to read
 * @param index from 0 in the order in which they were found; names do not change their place
 * @param out   to fill
 * @param size  sizeof(llmgpu_model_cache_entry)
 * @return 0; LLMGPU_E_INVALID, also behind the last one
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_get(llmgpu_model_cache *cache, uint32_t index, llmgpu_model_cache_entry *out,
                                                   size_t size);

/**
 * Gives a model, which is loaded when it is not. Where that would be too much, models that nobody uses and that are not
 * pinned are evicted, the one that was asked for longest ago first. When the file has changed since it was loaded, the new
 * one is loaded: who has the old one goes on with it, and who asks meanwhile is given the old one.
 *
 * @param cache which
 * @param name  of a model that is known
 * @param out   to be freed with llmgpu_model_free(); NULL on failure
 * @return 0; LLMGPU_E_INVALID for a name that is not known; LLMGPU_E_LIMIT when what is in use leaves no room; as
 *         llmgpu_model_load()
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_acquire(llmgpu_model_cache *cache, const char *name, llmgpu_model **out);

/**
 * Says whether a model may be evicted. It need not be loaded.
 *
 * @param cache  which
 * @param name   of a model that is known
 * @param pinned 1: it may not
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_pin(llmgpu_model_cache *cache, const char *name, int pinned);

/**
 * Reads the counters.
 *
 * @param cache to read
 * @param out   to fill
 * @param size  sizeof(llmgpu_model_cache_stats)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_model_cache_get_stats(llmgpu_model_cache *cache, llmgpu_model_cache_stats *out,
                                                         size_t size);

#ifdef __cplusplus
}
#endif

#endif

#endif
