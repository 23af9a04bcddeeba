/* SPDX-License-Identifier: MIT */
#include "runtime/adapters.h"

#include <assert.h>
#include <string.h>

#include "util/checked.h"

/** Bytes that an adapter takes of each layer's part, all of them aligned for views: no device asks for more. */
static uint64_t seat_bytes(const struct lg_lora *lora)
{
    enum { ALIGN = 256 };
    return (lora->layer_bytes + ALIGN - 1) / ALIGN * ALIGN; // of what was in a file, so no overflow
}

uint64_t lg_bank_bytes(const struct lg_lora *lora)
{
    return seat_bytes(lora) * lora->model->hp.n_layers;
}

uint32_t lg_bank_count(const struct lg_bank *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LG_MAX_SEATS; i++)
        n += b->seats[i].lora != NULL;
    return n;
}

static void free_buffers(struct lg_adapters *a)
{
    lg_buffer_destroy(a->pairs);
    lg_buffer_destroy(a->weights);
    memset(a, 0, sizeof(*a));
}

void lg_bank_finish(struct lg_bank *b)
{
    free_buffers(&b->adapters);
    memset(b, 0, sizeof(*b));
}

void lg_bank_drop(struct lg_bank *b)
{
    free_buffers(&b->adapters);
    b->n_seats = 0;
}

/* ---- places ------------------------------------------------------------------------------------------ */

static uint32_t free_seat(const struct lg_bank *b)
{
    uint32_t i = 0;
    while (i < LG_MAX_SEATS && b->seats[i].lora)
        i++;
    return i;
}

static bool is_free(const struct lg_bank *b, uint64_t at, uint64_t size)
{
    for (uint32_t i = 0; i < LG_MAX_SEATS; i++) {
        const struct lg_lora *lora = b->seats[i].lora;
        if (lora && at < b->seats[i].at + seat_bytes(lora) && b->seats[i].at < at + size)
            return false;
    }
    return at + size <= b->adapters.layer_bytes;
}

/** The first gap, which begins at 0 or behind an adapter; UINT64_MAX when there is none. */
static uint64_t find_gap(const struct lg_bank *b, uint64_t size)
{
    uint64_t best = is_free(b, 0, size) ? 0 : UINT64_MAX;
    for (uint32_t i = 0; i < LG_MAX_SEATS; i++) {
        const struct lg_lora *lora = b->seats[i].lora;
        uint64_t at = lora ? b->seats[i].at + seat_bytes(lora) : UINT64_MAX;
        if (at < best && is_free(b, at, size))
            best = at;
    }
    return best;
}

bool lg_bank_has_room(const struct lg_bank *b, const struct lg_lora *lora)
{
    return free_seat(b) < b->n_seats && lora->rank <= b->adapters.max_rank &&
           find_gap(b, seat_bytes(lora)) != UINT64_MAX;
}

/* ---- filling ----------------------------------------------------------------------------------------- */

/** Puts an adapter's numbers and its row of the table in place. */
static int fill(struct lg_bank *b, const struct lg_lora *lora, uint32_t seat, uint64_t at)
{
    const struct lg_adapters *to = &b->adapters;
    struct lg_device *dev = b->model->dev;
    uint32_t n_layers = b->model->hp.n_layers;
    uint64_t size = seat_bytes(lora);
    size_t row = sizeof(struct lg_lora_pair) * LG_N_TARGETS * n_layers;
    uint8_t *numbers = lg_alloc(b->env, size);
    struct lg_lora_pair *pairs = lg_alloc(b->env, row);
    int rc = numbers && pairs ? 0 : lg_fail_nomem(b->env, "placing an adapter", size + row);
    for (uint32_t i = 0; rc == 0 && i < n_layers; i++) {
        memset(numbers, 0, size);
        lg_lora_write(lora, i, numbers, at, pairs + (size_t)i * LG_N_TARGETS);
        rc = lg_upload(dev, (struct lg_view){to->weights, i * to->layer_bytes + at, size}, numbers);
    }
    if (rc == 0)
        rc = lg_upload(dev, (struct lg_view){to->pairs, seat * row, row}, pairs);
    lg_free(b->env, numbers);
    lg_free(b->env, pairs);
    return rc < 0 ? rc : lg_device_flush(dev);
}

/** Buffers for parts of layer_bytes and a table of n_seats. */
static int create_buffers(struct lg_bank *b)
{
    struct lg_adapters *a = &b->adapters;
    struct lg_device *dev = b->model->dev;
    uint32_t n_layers = b->model->hp.n_layers;
    uint64_t all, available = lg_device_room(dev);
    if (a->layer_bytes > dev->info.max_view_size || a->layer_bytes / 8 > UINT32_MAX)
        return lg_fail(b->env, LLMGPU_E_UNSUPPORTED,
                       "adapters of %llu bytes in a layer: device '%s' binds at most %llu at once",
                       (unsigned long long)a->layer_bytes, dev->info.id,
                       (unsigned long long)dev->info.max_view_size);
    if (!lg_mul_u64(a->layer_bytes, n_layers, &all) || all > available)
        return lg_fail(b->env, LLMGPU_E_NOMEM, "the adapters take %llu MiB, device '%s' has %llu MiB left",
                       (unsigned long long)(a->layer_bytes * n_layers >> 20), dev->info.id,
                       (unsigned long long)(available >> 20));
    LG_TRY(lg_buffer_create(dev, all, LG_MEM_DEVICE, &a->weights));
    return lg_buffer_create(dev, sizeof(struct lg_lora_pair) * LG_N_TARGETS * n_layers * b->n_seats,
                            LG_MEM_DEVICE, &a->pairs);
}

/** Makes buffers that hold all that have a seat, side by side. */
static int place_all(struct lg_bank *b)
{
    struct lg_adapters *a = &b->adapters;
    memset(a, 0, sizeof(*a));
    for (uint32_t i = 0; i < LG_MAX_SEATS; i++) {
        const struct lg_lora *lora = b->seats[i].lora;
        if (!lora)
            continue;
        b->seats[i].at = a->layer_bytes;
        b->n_seats = i + 1;
        a->layer_bytes += seat_bytes(lora);
        a->max_rank = lg_max_u32(a->max_rank, lora->rank);
    }
    LG_TRY(create_buffers(b));
    for (uint32_t i = 0; i < b->n_seats; i++)
        if (b->seats[i].lora)
            LG_TRY(fill(b, b->seats[i].lora, i, b->seats[i].at));
    return 0;
}

int lg_bank_put(struct lg_bank *b)
{
    int rc = lg_bank_count(b) ? place_all(b) : 0;
    if (rc < 0)
        lg_bank_drop(b);
    return rc;
}

int lg_bank_add(struct lg_bank *b, const struct lg_lora *lora)
{
    uint32_t seat = free_seat(b);
    if (seat == LG_MAX_SEATS)
        return lg_fail(b->env, LLMGPU_E_LIMIT, "all %d adapters of this model are in use", LG_MAX_SEATS);
    if (lg_bank_has_room(b, lora)) {
        uint64_t at = find_gap(b, seat_bytes(lora));
        LG_TRY(fill(b, lora, seat, at));
        b->seats[seat].lora = lora;
        b->seats[seat].at = at;
        b->seats[seat].seating = ++b->n_seatings;
        return (int)seat + 1;
    }
    struct lg_bank grown = *b;
    grown.seats[seat].lora = lora;
    int rc = place_all(&grown);
    if (rc < 0) {
        free_buffers(&grown.adapters);
        return rc;
    }
    free_buffers(&b->adapters);
    *b = grown;
    b->seats[seat].seating = ++b->n_seatings;
    return (int)seat + 1;
}

void lg_bank_remove(struct lg_bank *b, uint32_t seat)
{
    assert(seat >= 1 && seat <= LG_MAX_SEATS);
    b->seats[seat - 1].lora = NULL;
    if (lg_bank_count(b) == 0)
        lg_bank_drop(b);
}
