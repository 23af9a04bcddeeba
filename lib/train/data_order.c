/* SPDX-License-Identifier: MIT
 *
 * Shuffling without memory: a Feistel network over the smallest even number of bits that holds n - 1 is a
 * permutation of a power of 4; from a place outside 0 .. n - 1 the walk goes on until it is inside again,
 * which is a permutation of these. The power is below 4 n, so a walk has less than 4 steps in the mean. What
 * stands at a place depends on (n, seed, round, place) alone, so a place in a data set is a number.
 */
#include <assert.h>

#include "random.h"
#include "train/data_parts.h"

struct lg_order lg_order_make(uint64_t n, uint64_t seed, uint64_t round)
{
    struct lg_order order = {.n = n, .half = 1};
    assert(n <= UINT64_C(1) << 62);
    while (n > UINT64_C(1) << 2 * order.half)
        order.half++;
    uint32_t key = lg_random_draw((uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)round);
    key ^= lg_random_mix((uint32_t)(round >> 32));
    for (uint32_t i = 0; i < LG_ORDER_ROUNDS; i++)
        order.keys[i] = key = lg_random_mix(key + i);
    return order;
}

uint64_t lg_order_at(const struct lg_order *order, uint64_t place)
{
    uint64_t mask = (UINT64_C(1) << order->half) - 1;
    assert(place < order->n);
    do {
        uint64_t left = place >> order->half, right = place & mask;
        for (uint32_t i = 0; i < LG_ORDER_ROUNDS; i++) {
            // High bits are mixed best.
            uint32_t f = lg_random_mix(lg_random_mix((uint32_t)right) ^ order->keys[i]) >> (32 - order->half);
            uint64_t next = left ^ f;
            left = right;
            right = next;
        }
        place = left << order->half | right;
    } while (place >= order->n);
    return place;
}
