/* SPDX-License-Identifier: MIT
 *
 * The adapters of a model on its device: the numbers of all of them in one buffer, the part of each layer in
 * one view, and a table that says where each begins. So which adapter a row has is data: passes are recorded
 * once for all of them.
 *
 * Each has a seat, a number from 1 that stays while it is there. Its numbers are taken from its file whenever
 * they have to be put in place, so the adapter must outlive its seat.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LG_RUNTIME_ADAPTERS_H
#define LG_RUNTIME_ADAPTERS_H

#include "graph/graph.h"
#include "model/lora.h"

enum { LG_MAX_SEATS = 64 };

/** Zeroed but for env and model to begin with. */
struct lg_bank {
    struct lg_env *env;
    const struct lg_model *model;
    struct lg_adapters adapters; // zeroed while there are none
    uint32_t n_seats;            // that the table has room for
    uint64_t n_seatings;
    struct {
        const struct lg_lora *lora; // NULL: free
        uint64_t at;                // where it begins in the part of each layer
        uint64_t seating;           // a number that no other has had
    } seats[LG_MAX_SEATS];
};

/** Frees everything; a zeroed bank is allowed. */
void lg_bank_finish(struct lg_bank *bank);
/** Takes all off the device, but for the seats; lg_bank_put() puts it on the model's device again. */
void lg_bank_drop(struct lg_bank *bank);
int lg_bank_put(struct lg_bank *bank);

/** Whether an adapter finds room in the buffers as they are: passes recorded over them stay as they are. */
bool lg_bank_has_room(const struct lg_bank *bank, const struct lg_lora *lora);
/**
 * Gives an adapter a seat. Without room for it the buffers are made anew, and passes recorded over the old
 * ones must be gone. On failure all is as before.
 *
 * @return the seat; LLMGPU_E_NOMEM; LLMGPU_E_LIMIT when all seats are taken; LLMGPU_E_UNSUPPORTED beyond the
 * device's limits; a device failure
 */
int lg_bank_add(struct lg_bank *bank, const struct lg_lora *lora);
/** Takes the seat away; with the last one go the buffers, and passes recorded over them must be gone. */
void lg_bank_remove(struct lg_bank *bank, uint32_t seat);
/** How many seats are taken. */
uint32_t lg_bank_count(const struct lg_bank *bank);
/** Bytes of an adapter on a device. */
uint64_t lg_bank_bytes(const struct lg_lora *lora);

#endif
