/* SPDX-License-Identifier: MIT
 *
 * A model: hyper-parameters and immutable weights on a device, and the vocabulary. One file per architecture
 * family says which metadata and tensors it has (llama.c, gpt2.c); what it computes is graph/forward.c.
 *
 * Thread-safety: immutable once loaded, but for where its weights are.
 */
#ifndef LG_MODEL_MODEL_H
#define LG_MODEL_MODEL_H

#include "device/device.h"
#include "gguf/gguf.h"
#include "text/vocab.h"

enum lg_norm_kind { LG_NORM_RMS, LG_NORM_LAYER };
enum lg_ffn_kind {
    LG_FFN_SILU_GATED, // down(silu(gate(x)) * up(x))
    LG_FFN_GELU,       // down(gelu(up(x)))
};
enum lg_rope_kind { LG_ROPE_NONE, LG_ROPE_PAIRS, LG_ROPE_HALVES };

struct lg_hparams {
    uint32_t n_layers;    // L
    uint32_t n_embd;      // C
    uint32_t n_heads;     // H
    uint32_t n_kv;        // key/value heads, a divisor of n_heads
    uint32_t head_dim;    // D
    uint32_t n_ff;        // F
    uint32_t n_vocab;     // V
    uint32_t n_ctx_train; // positions
    enum lg_norm_kind norm;
    float norm_eps;
    enum lg_ffn_kind ffn;
    enum lg_rope_kind rope;
    uint32_t n_rot;   // rotated elements of a head
    float rope_base;  // theta
    float rope_scale; // positions are multiplied by this (1 / the linear scaling factor)
};

/** The matrices of a layer that an adapter may add to. */
enum lg_target {
    LG_TARGET_Q,
    LG_TARGET_K,
    LG_TARGET_V,
    LG_TARGET_O,
    LG_TARGET_GATE,
    LG_TARGET_UP,
    LG_TARGET_DOWN,
    LG_N_TARGETS
};

/** A matrix [rows, cols] in some weight type, or a vector (rows = 1, F32). `view.buf` is NULL when the model
 * has none. */
struct lg_weight {
    struct lg_view view;
    enum lg_type type;
    uint32_t rows, cols;
    uint32_t row_bytes;
    uint32_t target; // 1 + layer * LG_N_TARGETS + enum lg_target; 0: no adapter adds to it
};

struct lg_layer {
    struct lg_weight attn_norm, attn_norm_b; // (C)
    struct lg_weight wq, wk, wv;             // (H*D, C), (n_kv*D, C), (n_kv*D, C)
    struct lg_weight bq, bk, bv;             // their biases, optional
    struct lg_weight wo, bo;                 // (C, H*D), bias optional
    struct lg_weight ffn_norm, ffn_norm_b;   // (C)
    struct lg_weight gate, gate_b;           // (F, C), gated kinds only
    struct lg_weight up, up_b;               // (F, C)
    struct lg_weight down, down_b;           // (C, F)
};

struct lg_weights {
    struct lg_weight tok_embd;             // (V, C)
    struct lg_weight pos_embd;             // (n_ctx_train, C), models with learned positions
    struct lg_layer *layers;               // n_layers
    struct lg_weight out_norm, out_norm_b; // (C)
    struct lg_weight output;               // (V, C); tok_embd when the model ties them
    const float *rope_freqs; // (n_rot/2) divisors of the rotation frequencies, NULL when the model has none
};

struct lg_arch;

/** Who takes what a tensor of the file becomes: rows [first, first + rows) of a matrix, or of a vector, with cols 0, so many of its
 * numbers. */
struct lg_weight_taker {
    int (*take)(void *user, const struct lg_gguf_tensor *t, uint32_t first, uint32_t rows, uint32_t cols,
                struct lg_weight *out);
    void *user;
};

struct lg_model {
    struct lg_env *env;
    struct lg_device *dev; // where the weights are; NULL when they are nowhere
    struct lg_gguf *gguf;
    struct lg_vocab *vocab;
    bool vocab_only;
    bool fused_qkv; // q, k and v of a layer are one tensor of the file
    char arch[64];
    const struct lg_arch *family;
    struct lg_hparams hp;
    struct lg_weights w;
    struct lg_buffer *file_buf; // the mapped file, where the device can read it in place
    struct lg_buffer **bufs;    // the others
    uint32_t n_bufs, cap_bufs;
    struct lg_buffer *together; // what the next n_together matrices share, from together_at on, while loading
    uint64_t together_at;
    uint32_t n_together;
    void *piece;                // of a weight on its way to the device, while loading
    float *rope_freqs;
    uint64_t n_params, weight_bytes;
    uint64_t bytes_per_token; // weight bytes that decoding one token reads
    bool counted;             // the three above are, and stay as they are
    const struct lg_weight_taker *taker; // whom weights are given while they are bound anew; NULL: the device
};

/**
 * Makes a model of a file, without its weights: all that needs no device. Takes the file over, also when it fails;
 * `env` must outlive the model. LLMGPU_E_FORMAT, _UNSUPPORTED, _NOMEM, with the tensor or key in the sentence; here
 * and below LLMGPU_E_CANCELLED when env->watch says so.
 */
int lg_model_open(struct lg_env *env, struct lg_gguf *gguf, bool vocab_only, struct lg_model **out);
/**
 * Puts the weights on a device, which must outlive them; on failure none is there. For a vocabulary alone nothing is done.
 * LLMGPU_E_IO, _FORMAT, _UNSUPPORTED, _NOMEM or a device failure, whose sentence is in the device's env.
 */
int lg_model_put_weights(struct lg_model *model, struct lg_device *dev);
/**
 * Takes the weights off their device, whether it is lost or not; lg_model_put_weights() brings them back from the same
 * file. No engine may use them any more. Without weights nothing is done.
 */
void lg_model_drop_weights(struct lg_model *model);

/**
 * Begins to read the weights of a file, in the order in which they are first used, while the rest of a model is made of
 * it; only a hint.
 *
 * @param in_place the device will use them where they are mapped
 */
void lg_model_read_ahead(struct lg_gguf *gguf, bool in_place);

/** The two after opening a file. */
int lg_model_load(struct lg_env *env, struct lg_device *dev, const char *path, bool vocab_only,
                  struct lg_model **out);
/** The same of a file that is open already; takes it over, also when it fails. */
int lg_model_load_gguf(struct lg_env *env, struct lg_device *dev, struct lg_gguf *gguf, bool vocab_only,
                       struct lg_model **out);
/**
 * Makes another model of the same hyper-parameters, whose weights are what `taker` makes of the tensors. It shares all else with
 * `model`, which must outlive it.
 *
 * @param out of which layers are to be freed with env
 */
int lg_model_rebind(const struct lg_model *model, struct lg_env *env, const struct lg_weight_taker *taker, struct lg_model *out);
/**
 * A number that tells models apart: of the hyper-parameters, the table of tensors, and some bytes of each. Models that
 * compute the same have the same, whatever they are called. Reads the file: LLMGPU_E_IO.
 */
int lg_model_fingerprint(const struct lg_model *model, struct lg_env *env, uint64_t *out);
/** NULL is allowed. */
void lg_model_destroy(struct lg_model *model);

/** A layer's matrix; its view.buf is NULL when the model has none. */
const struct lg_weight *lg_layer_target(const struct lg_layer *layer, enum lg_target target);

#endif
