// SPDX-License-Identifier: MIT
//
// What the two kernels of adapters share: which adapter a row of the batch has, and its numbers, four at a time.
//
// Before the inclusion: common.glsl, and the push constants p.

layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Slots { lg_slot_lora slots[]; };
layout(binding = 2) readonly buffer Pairs { lg_lora_pair pairs[]; };
layout(binding = 3) readonly buffer Weights2 { uvec2 w2[]; };
layout(binding = 3) readonly buffer Weights4 { uvec4 w4[]; };

// Of rank 0 when the row has no adapter, or one that leaves matrix m alone.
lg_lora_pair pair_of(uint seat, uint m)
{
    lg_lora_pair none = lg_lora_pair(0, 0, 0, 0, 0);
    if (seat == 0)
        return none;
    return pairs[(seat - 1) * p.n_targets + p.target[m]];
}

// where row r of matrix m begins in t
uint t_at(uint r, uint m)
{
    return (r * LG_LORA_MATRICES + m) * p.t_stride;
}

// Numbers 4 * unit and on of a matrix that begins at `at`. half_size is a constant: drivers on a CPU do both halves of a
// condition, so loops are inside of it.
vec4 load4(uint at, uint unit, const bool half_size)
{
    if (!half_size)
        return uintBitsToFloat(w4[at / 2 + unit]);
    uvec2 v = w2[at + unit];
    return vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
}
