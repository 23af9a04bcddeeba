// SPDX-License-Identifier: MIT
//
// The norm of a row of x, for kernels that normalise x as they load it: what rms_norm.comp and layer_norm.comp compute.
// Every subgroup finds it for itself, which is cheaper than to wait for another kernel's.
//
// RMSNorm's factor is common to the whole row. So x is only weighted as it is loaded, its squares are added on the way, and
// the factor goes to the sums of products in the end; x is read once. LayerNorm reads x three times.
//
// Before the inclusion: activations.glsl and NORM_BINDING, that of the weights; the next is the biases', which only LayerNorm
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

float norm_mean, norm_scale; // of LayerNorm
float norm_squares = 0;      // of what a lane has loaded
float norm_factor;           // of the sums of products

// the sum of (x - mean), or of its squares
float norm_sum(uint x_at, uint n_cols, bool squares, uint lanes)
{
    float sum = 0;
#ifdef HAS_TAIL
    for (uint i = gl_SubgroupInvocationID; i < n_cols; i += lanes) {
        float d = x_buf[x_at + i] - norm_mean;
        sum += squares ? d * d : d;
    }
#else
    for (uint i = gl_SubgroupInvocationID; i < n_cols / 4; i += lanes) {
        vec4 d = x_buf[x_at / 4 + i] - norm_mean;
        sum += squares ? dot(d, d) : (d.x + d.y) + (d.z + d.w);
    }
#endif
    return subgroupAdd(sum);
}

// Before any element is loaded.
void norm_begin(uint x_at, uint n_cols, float eps, uint lanes)
{
    norm_mean = 0;
    if (!LAYER_NORM)
        return;
    norm_mean = norm_sum(x_at, n_cols, false, lanes) / float(n_cols);
    norm_scale = inversesqrt(norm_sum(x_at, n_cols, true, lanes) / float(n_cols) + eps);
}

// After all have been.
void norm_end(uint n_cols, float eps)
{
    norm_factor = LAYER_NORM ? 1 : inversesqrt(subgroupAdd(norm_squares) / float(n_cols) + eps);
}

#ifdef HAS_TAIL
float normalised(float x, uint k)
{
    return LAYER_NORM ? (x - norm_mean) * norm_scale * norm_weight[k] + norm_bias[k] : x * norm_weight[k];
}
#endif

// 32 elements from k on; their squares count once, `counts` says which time
void normalise(uint k, bool counts, inout vec4 v[8])
{
    vec4 squares = vec4(0);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        squares += v[i] * v[i];
#ifdef HAS_TAIL
        [[unroll]] for (uint j = 0; j < 4; j++)
            v[i][j] = normalised(v[i][j], k + i * 4 + j);
#else
        vec4 weight = norm_weight[k / 4 + i];
        v[i] = LAYER_NORM ? (v[i] - norm_mean) * norm_scale * weight + norm_bias[k / 4 + i] : v[i] * weight;
#endif
    }
    norm_squares += counts ? (squares.x + squares.y) + (squares.z + squares.w) : 0;
}
