/* SPDX-License-Identifier: MIT
 * What hot_i8_tile.c is written in besides, with NEON and its dot product of bytes. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_TILE_NEON_H
#define LG_DEVICE_CPU_I8_TILE_NEON_H

enum { TILE_X = 2 }; // rows of x that sixteen rows of weights meet in registers

INLINE bytes as_bytes(floats v)
{
    ALL(bytes, vreinterpretq_u8_f32(v.part[i]));
}

/* Products are of signed bytes: nothing needs a bias. */
INLINE bytes for_tile(enum lg_type type, bytes chunk)
{
    ALL(bytes, vsubq_u8(chunk.part[i], vdupq_n_u8((uint8_t)bias_of(type))));
}

INLINE ints first_products(enum lg_type type, const void *p)
{
    (void)type;
    (void)p;
    ALL(ints, vdupq_n_s32(0));
}

INLINE floats same_float(const void *p)
{
    float32x4_t v = vld1q_dup_f32(p);
    return (floats){{v, v, v, v}};
}

/* Words i of four registers become register i. */
INLINE void transpose_4(const uint8x16_t *from, uint8x16_t *to)
{
    uint32x4_t a = (uint32x4_t)from[0], b = (uint32x4_t)from[1], c = (uint32x4_t)from[2], d = (uint32x4_t)from[3];
    uint64x2_t ab[2] = {(uint64x2_t)vtrn1q_u32(a, b), (uint64x2_t)vtrn2q_u32(a, b)};
    uint64x2_t cd[2] = {(uint64x2_t)vtrn1q_u32(c, d), (uint64x2_t)vtrn2q_u32(c, d)};
    for (int i = 0; i < 2; i++) {
        to[i] = (uint8x16_t)vtrn1q_u64(ab[i], cd[i]);
        to[2 + i] = (uint8x16_t)vtrn2q_u64(ab[i], cd[i]);
    }
}

INLINE void transpose(bytes *rows)
{
    bytes out[16];
    for (int side = 0; side < 4; side++) {
        for (int part = 0; part < 4; part++) {
            uint8x16_t from[4], to[4];
            for (int i = 0; i < 4; i++)
                from[i] = rows[4 * side + i].part[part];
            transpose_4(from, to);
            for (int i = 0; i < 4; i++)
                out[4 * part + i].part[side] = to[i];
        }
    }
    memcpy(rows, out, sizeof(out));
}

INLINE void add_dots(enum lg_type type, int n_quads, const uint8_t *w, const uint8_t *const *x, int n_x, size_t k, ints *sum)
{
    (void)type;
    for (int i = 0; i < n_quads; i += 4) {
        int8x16_t xs[TILE_X];
        UNROLL for (int t = 0; t < n_x; t++)
            xs[t] = vreinterpretq_s8_u8(vld1q_u8(x[t] + k + 4 * (size_t)i));
#define ADD_QUAD(lane)                                                                                             \
    do {                                                                                                           \
        bytes weights = load_chunk(w + 64 * (i + (lane)));                                                         \
        UNROLL for (int t = 0; t < n_x; t++) {                                                                     \
            UNROLL for (int part = 0; part < 4; part++)                                                            \
                sum[t].part[part] =                                                                                \
                    vdotq_laneq_s32(sum[t].part[part], vreinterpretq_s8_u8(weights.part[part]), xs[t], lane);      \
        }                                                                                                          \
    } while (0)
        ADD_QUAD(0);
        ADD_QUAD(1);
        ADD_QUAD(2);
        ADD_QUAD(3);
#undef ADD_QUAD
    }
}

#endif
