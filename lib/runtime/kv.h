/* SPDX-License-Identifier: MIT
 * Keys and values between a slot's pages and the host. */
#ifndef LG_RUNTIME_KV_H
#define LG_RUNTIME_KV_H

#include "runtime/engine.h"

/** Floats of a position's keys, and as many of its values. */
uint32_t lg_kv_cols(const struct lg_engine *engine);

/**
 * A page of a slot in all layers as it lies there, to the host or from it.
 *
 * @param bytes lg_engine_cache_bytes() of a page
 */
int lg_engine_move_page(struct lg_engine *engine, uint32_t slot, uint32_t index, uint8_t *bytes, bool to_host);
/**
 * Copies the keys and the values of positions [first, first + n) of a layer to the host: [n, lg_kv_cols()]
 * floats each. The slot must have pages there. Either may be NULL: not wanted.
 */
int lg_engine_read_kv(struct lg_engine *engine, uint32_t slot, uint32_t layer, uint32_t first, uint32_t n,
                      float *k, float *v);
/**
 * The other way round; what was read comes to lie there again bit for bit; `k` and `v` need no alignment. The pages must be the slot's own. On failure some of
 * the rows may have been written.
 */
int lg_engine_write_kv(struct lg_engine *engine, uint32_t slot, uint32_t layer, uint32_t first, uint32_t n,
                       const void *k, const void *v);

#endif
