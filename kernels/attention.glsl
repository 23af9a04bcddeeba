// SPDX-License-Identifier: MIT
//
// What the attention kernels share whose workgroup takes the heads that share keys together. The kernel declares the push
// constants `p` and the constant HEADS, how many of them it takes at most.

// Heads [begin, end) of workgroup x, which share the keys of kv_head.
struct Heads {
    uint kv_head, begin, end;
};

Heads heads_of(uint x)
{
    uint sharing = p.n_heads / p.n_kv, parts = (sharing + HEADS - 1) / HEADS;
    uint kv_head = x / parts, begin = x % parts * HEADS;
    return Heads(kv_head, kv_head * sharing + begin, kv_head * sharing + min(begin + HEADS, sharing));
}
