// SPDX-License-Identifier: MIT
//
// The norm of a row of x, for kernels that normalise x as they load it: what rms_norm.comp and layer_norm.comp compute.
// Every subgroup finds it for itself, which is cheaper than to wait for another kernel's.
//
// RMSNorm's factor is common to the whole row. So x is only weighted as it is loaded, its squares are added on the way, and
// the factor goes to the sums of products in the end; x is read once. LayerNorm reads x three times.
//
// Before the inclusion: activations.glsl, COLS and NORM_BINDING, that of the weights; the next is the biases', which only LayerNorm
// reads.
layout(constant_id = 3) const uint FORM = 0; // LG_FUSED_*

#ifdef HAS_TAIL
layout(binding = NORM_BINDING) readonly buffer NormWeight { float norm_weight[]; };
layout(binding = NORM_BINDING + 1) readonly buffer NormBias { float norm_bias[]; };
#else
layout(binding = NORM_BINDING) readonly buffer NormWeight { vec4 norm_weight[]; };
layout(binding = NORM_BINDING + 1) readonly buffer NormBias { vec4 norm_bias[]; };
#endif

const bool LAYER_NORM = (FORM & LG_FUSED_LAYER_NORM) != 0;

// Of each of COLS rows of x:
float norm_mean[COLS], norm_scale[COLS]; // of LayerNorm
float norm_squares[COLS];                // of what a lane has loaded
float norm_factor[COLS];                 // of the sums of products

// the sum of (x - mean), or of its squares
float norm_sum(uint x_at, uint n_cols, float mean, bool squares, uint lanes)
{
    float sum = 0;
#ifdef HAS_TAIL
    for (uint i = gl_SubgroupInvocationID; i < n_cols; i += lanes) {
        float d = x_buf[x_at + i] - mean;
        sum = squares ? fma(d, d, sum) : sum + d;
    }
#else
    for (uint i = gl_SubgroupInvocationID; i < n_cols / 4; i += lanes) {
        vec4 d = x_buf[x_at / 4 + i] - mean;
        sum += squares ? fma(d.x, d.x, fma(d.y, d.y, fma(d.z, d.z, d.w * d.w))) : (d.x + d.y) + (d.z + d.w);
    }
#endif
    return subgroupAdd(sum);
}

// Before any element is loaded.
void norm_begin(uint j, uint x_at, uint n_cols, float eps, uint lanes)
{
    norm_mean[j] = norm_squares[j] = 0;
    if (!LAYER_NORM)
        return;
    norm_mean[j] = norm_sum(x_at, n_cols, 0, false, lanes) / float(n_cols);
    norm_scale[j] = inversesqrt(norm_sum(x_at, n_cols, norm_mean[j], true, lanes) / float(n_cols) + eps);
}

// After all have been.
void norm_end(uint j, uint n_cols, float eps)
{
    norm_factor[j] = LAYER_NORM ? 1 : inversesqrt(subgroupAdd(norm_squares[j]) / float(n_cols) + eps);
}

#ifdef HAS_TAIL
float normalised(uint j, float x, uint k)
{
    return LAYER_NORM ? fma((x - norm_mean[j]) * norm_scale[j], norm_weight[k], norm_bias[k]) : x * norm_weight[k];
}
#endif

// 32 elements of row j from k on; their squares count once, `counts` says which time
void normalise(uint j, uint k, bool counts, inout vec4 v[8])
{
    vec4 squares = vec4(0);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        squares = fma(v[i], v[i], squares);
#ifdef HAS_TAIL
        [[unroll]] for (uint c = 0; c < 4; c++)
            v[i][c] = normalised(j, v[i][c], k + i * 4 + c);
#else
        vec4 weight = norm_weight[k / 4 + i];
        v[i] = LAYER_NORM ? fma((v[i] - norm_mean[j]) * norm_scale[j], weight, norm_bias[k / 4 + i]) : v[i] * weight;
#endif
    }
    norm_squares[j] += counts ? (squares.x + squares.y) + (squares.z + squares.w) : 0;
}
