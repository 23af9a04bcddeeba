/* SPDX-License-Identifier: MIT
 *
 * What C and GLSL share: push constants of every kernel and the records that kernels and host both read. Plain 32-bit
 * members only, so that both languages lay them out alike.
 */
#ifndef LG_KERNELS_PUSH_H
#define LG_KERNELS_PUSH_H

#ifdef GL_core_profile
#define lg_uint uint
#define lg_int int
#else
#include <stdint.h>
#define lg_uint uint32_t
#define lg_int int32_t
#endif

/* One row of a batch: a token of a sequence. GLSL reads it as uvec4. */
struct lg_row {
    lg_uint token; /* id; what the embedding looks up */
    lg_uint pos;   /* position in the sequence, from 0 */
    lg_uint slot;  /* sequence: index of its page table, sampler and history */
    lg_uint draft; /* 0; of a row whose sample may be thrown away, 1 + how many guessed tokens of the sequence are before it */
};

/* Sizes of a pass that change from submit to submit; index of the `dims` buffer. */
#define LG_DIM_ROWS 0   /* rows of the batch */
#define LG_DIM_OUT 1    /* rows whose logits are wanted */
#define LG_DIM_SAMPLE 2 /* of these, how many are sampled: 0 or LG_DIM_OUT */
#define LG_DIM_SCORE 3  /* of these, how many are scored against a target: 0 or LG_DIM_OUT */
#define LG_DIM_TOP 4    /* of these, how many are told with candidates after a score: 0 or LG_DIM_OUT */
#define LG_N_DIMS 8

/* How a dispatch's grid depends on a dim: grid[axis] = ceil(dims[dim] / per_group), and 0 where the dim is outside the
 * range (above, up_to]: of dispatches that do the same for different sizes one runs. Read by the kernel `plan`. */
struct lg_grid_rule {
    lg_uint grid[3];
    lg_uint dim; /* LG_DIM_*, or LG_DIM_NONE for a grid that does not change */
    lg_uint axis;
    lg_uint per_group;
    lg_uint above;
    lg_uint up_to; /* 0: no bound */
};
#define LG_DIM_NONE 0xffffffffu

#define LG_HISTORY 256  /* tokens of history kept for each slot, a ring: position p is at p % LG_HISTORY */
#define LG_MAX_END 16   /* end tokens of a sampler */
#define LG_MAX_BIAS 256 /* tokens of a slot whose logits are changed by a sum of their own */
#define LG_RING 1024    /* sampled tokens kept for each slot until the host has read them: number i is at i % LG_RING */

/* Sampling parameters and state of one slot. */
struct lg_sampler {
    float temperature;      /* <= 0: greedy */
    float top_p;            /* in (0, 1]; 1: off */
    float min_p;            /* in [0, 1]; 0: off */
    float repeat_penalty;   /* > 0; 1: off */
    float frequency_penalty; /* 0: off */
    float presence_penalty; /* 0: off */
    lg_uint top_k;          /* 0: off */
    lg_uint penalty_last_n; /* 0 .. LG_HISTORY tokens that the penalties look at */
    lg_uint seed_lo, seed_hi;
    lg_uint n_history;   /* tokens ever put into the slot's history */
    lg_uint n_sampled;   /* tokens ever sampled into the slot's ring */
    lg_uint n_remaining; /* tokens that may still be sampled before the slot goes to sleep */
    lg_uint ended;       /* 1 once an end token was sampled or n_remaining came to 0 */
    lg_uint n_end;
    lg_uint n_bias; /* 0 .. LG_MAX_BIAS */
    lg_uint masked; /* 1: the slot's mask says which tokens may be drawn; 0: all may */
    lg_uint end[LG_MAX_END];
};

/* What is added to the logit of a token. */
struct lg_bias {
    lg_uint token;
    float bias; /* -infinity: it is never drawn */
};

/* Words of a slot's mask: bit i % 32 of word i / 32 is 1 where token i may be drawn. */
#define LG_MASK_WORDS(n_vocab) (((n_vocab) + 31u) / 32u)

/* The adapter of one slot. */
struct lg_slot_lora {
    lg_uint seat; /* 0: none; adapter number seat - 1 */
    float scale;  /* of its owner */
};

/*
 * What an adapter adds to one matrix: scale * factor * B (A x). Both are stored with a row of numbers for each rank,
 * A as it is and B transposed; rows are padded to four numbers.
 */
struct lg_lora_pair {
    lg_uint a_at, b_at; /* where they begin in the weights of their layer, in units of 8 bytes; even */
    lg_uint rank;       /* 0: nothing is added */
    lg_uint half_size;  /* 1: float16; 0: float32 */
    float factor;       /* alpha / rank */
};

struct lg_plan_push {
    lg_uint n_rules;
};

/* rows of a table of n_cols weights; the table may be a part of a larger one: rows [row_begin, row_end) */
struct lg_embed_push {
    lg_uint n_cols;
    lg_uint row_bytes;  /* of a table row */
    lg_uint row_begin;  /* index of the view's first row */
    lg_uint row_end;    /* ids outside [row_begin, row_end) leave their output row as it is */
    lg_uint id_stride;  /* the id of output row r is ids[r * id_stride + id_offset] */
    lg_uint id_offset;
};

struct lg_norm_push {
    lg_uint n_cols;
    float eps;
};

struct lg_rope_push {
    lg_uint n_heads;
    lg_uint head_dim;
    lg_uint n_rot;  /* rotated elements at the beginning of each head, even */
    lg_uint halves; /* 1: pairs (i, i + n_rot/2); 0: pairs (2i, 2i + 1) */
};

/*
 * In what the caches hold keys and values, a specialisation constant of what writes and reads them. A row of a cache is what a
 * token has of all heads, n numbers: float32; float16; or numbers of 8 or 4 bits, laid out as in GGUF's blocks of 32, and
 * behind all of them the factor of each block in float16, so that loads are of whole words.
 */
#define LG_KV_F32 0u
#define LG_KV_F16 1u
#define LG_KV_Q8_0 2u
#define LG_KV_Q4_0 3u
#define LG_N_KV_TYPES 4u
#define LG_KV_SCALES_AT(type, n) ((n) / ((type) == LG_KV_Q8_0 ? 4u : 8u)) /* words before the factors */
#define LG_KV_ROW_WORDS(type, n)                  \
    ((type) == LG_KV_F32   ? (n)                   \
     : (type) == LG_KV_F16 ? ((n) + 1u) / 2u       \
                           : LG_KV_SCALES_AT(type, n) + ((n) / 32u + 1u) / 2u)
/* What an invocation of kv_write takes. Workgroups are whole blocks, and an even number of them. */
#define LG_KV_UNIT(type) ((type) == LG_KV_F32 ? 1u : (type) == LG_KV_F16 ? 2u : 4u)

struct lg_kv_write_push {
    lg_uint n_cols;    /* n_kv * head_dim */
    lg_uint page_size; /* tokens of a page */
    lg_uint max_pages; /* of a page table */
};

struct lg_attention_push {
    lg_uint n_heads;
    lg_uint n_kv;
    lg_uint head_dim;
    lg_uint page_size;
    lg_uint max_pages;
    float scale; /* of q . k, 1 / sqrt(head_dim) */
    lg_uint dim; /* LG_DIM_* that holds the number of rows; only attention_tile asks */
};

/* Specialisation constant 3 of a product with many rows that the CPU device sums by blocks of K, as it does in training. */
#define LG_MATMUL_FORM_BLOCKS 3u

/* y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows */
struct lg_matmul_push {
    lg_uint n_cols;    /* K */
    lg_uint n_rows;    /* M, rows of the view */
    lg_uint row_bytes; /* of a weight row */
    lg_uint y_stride;  /* elements of a row of y */
    lg_uint row_begin; /* where the view's rows begin in y */
    lg_uint dim;       /* LG_DIM_* that holds the number of rows of x, T */
};

/* What a fused kernel does besides its products: its specialisation constant 3. */
#define LG_FUSED_LAYER_NORM 1u /* x is normalised by LayerNorm; otherwise by RMSNorm */
#define LG_FUSED_GATED 2u      /* silu(gate) * up */
#define LG_FUSED_GELU 4u       /* gelu(up) */

/* Bits of lg_qkv_push.flags. */
#define LG_QKV_HALVES 8u  /* rotated pairs are (i, i + n_rot/2); otherwise (2i, 2i + 1) */
#define LG_QKV_BIAS(m) (1u << (m)) /* matrix m = 0, 1, 2 has a bias */
#define LG_QKV_APART 16u  /* k and v are rows like q's, which kv_write puts into the caches */
#define LG_QKV_EACH 32u   /* each row of x has biases of its own */

struct lg_qkv_push {
    lg_uint n_cols;
    lg_uint row_bytes;
    float eps;         /* of the norm */
    lg_uint n_rows[3]; /* of q, k and v; 0: another dispatch makes it */
    lg_uint at[3];     /* bytes of the view before their weights */
    lg_uint head_dim;
    lg_uint n_rot;     /* rotated elements at the beginning of each head of q and k, even; 0: none */
    lg_uint flags;     /* LG_QKV_* */
    lg_uint page_size; /* tokens of a page */
    lg_uint max_pages; /* of a page table */
};

struct lg_ffn_push {
    lg_uint n_cols;
    lg_uint n_rows;    /* of each matrix */
    lg_uint row_bytes;
    float eps;         /* of the norm */
    lg_uint gate_at;   /* bytes of the view before the weights of the gate */
    lg_uint up_at;
    lg_uint gate_bias; /* 1: there is one; 2: each row of x has its own */
    lg_uint up_bias;
};

struct lg_project_push {
    lg_uint n_cols;
    lg_uint n_rows;
    lg_uint row_bytes;
    lg_uint bias; /* 1: there is one */
};

/*
 * A row of x of n elements in 8 bits (lib/device/cpu/i8.h): int8[padded], float[padded / 16], float[padded / 16], 128 bytes for
 * each 256 elements, 16 bytes for each 32, and a line of a cache, which keeps rows of powers of two from falling on the same
 * ones.
 */
#define LG_I8_PADDED(n) (((n) + 255u) / 256u * 256u)
#define LG_I8_ROW_BYTES(n) (LG_I8_PADDED(n) / 2u * 5u + 64u)

/* A row of x of n elements in float16: a float, the power of two that it is to be multiplied by again, in 16 bytes, then
 * float16[padded] with zeros at the end. */
#define LG_HALF_PADDED(n) (((n) + 31u) / 32u * 32u)
#define LG_HALF_ROW_BYTES(n) (16u + 2u * LG_HALF_PADDED(n))

#define LG_LORA_MATRICES 3u /* most that share x */

/* Bits of lg_lora_push.flags. */
#define LG_LORA_BIAS(m) (1u << (m)) /* matrix m = 0, 1, 2 has a bias */
#define LG_LORA_WHOLE 8u /* y becomes what is added to products: the bias and the adapter's; otherwise the latter is added to y */

/* What adapters add to up to three matrices that share x. */
struct lg_lora_push {
    lg_uint first, n;  /* matrices [first, first + n) of them */
    lg_uint n_cols;    /* of x */
    lg_uint n_rows[3]; /* of each matrix, and columns of its y */
    lg_uint y_at[3];   /* elements of the view before its y */
    lg_uint target[3]; /* which matrix of the model it is */
    lg_uint n_targets; /* pairs of an adapter */
    lg_uint t_stride;  /* elements of a row of t for each matrix: the largest rank */
    lg_uint flags;     /* LG_LORA_* */
};

struct lg_add_push {
    lg_uint n_cols;
    lg_uint b_stride; /* n_cols: b has a row for each of x; 0: one row for all (a bias) */
};

struct lg_rowwise_push {
    lg_uint n_cols;
};

/* Workgroup g sums its share of n_words 32-bit words (16-byte loads: a multiple of 4). */
struct lg_read_sum_push {
    lg_uint n_words;
};

struct lg_sample_push {
    lg_uint n_vocab;
};

#define LG_MAX_CANDIDATES 32 /* most probable tokens of a row that are told */

/* A token of a row of logits and how probable it is. */
struct lg_candidate {
    lg_uint token;
    float log_prob; /* of the softmax of the row; -infinity for a NaN */
};

struct lg_candidates_push {
    lg_uint n_cols;
    lg_uint n;         /* 1 .. LG_MAX_CANDIDATES */
    lg_uint id_stride; /* the token that is asked for of row r is ids[r * id_stride + id_offset] */
    lg_uint id_offset;
};

/* ---- training ---------------------------------------------------------------------------------------------------- */

/* What differs from micro-batch to micro-batch and from step to step; the host writes it, kernels have it as a view. */
struct lg_train_step {
    float lr;
    float correct1, correct2; /* 1 / (1 - beta^t) of AdamW's moments, t from 1 */
    float loss_scale;         /* of each row's gradient: 1 / the number of targets that the mean is over */
    float clip;               /* the largest norm of all gradients together; 0: any */
    lg_uint seed_lo, seed_hi; /* of dropout and of what adamw8 rounds */
    lg_uint draw;             /* micro-batches so far, so that each has a dropout of its own */
};

/* What grad_norm leaves for the optimizers. */
struct lg_train_norm {
    float norm;
    float factor; /* of all gradients */
};

/* dx[t][k] = or += sum over m of dy[t][row_begin + m] * w[m][k], m < n_rows */
struct lg_matmul_back_push {
    lg_uint n_cols;    /* K */
    lg_uint n_rows;    /* M, rows of the view */
    lg_uint row_bytes; /* of a weight row */
    lg_uint y_stride;  /* elements of a row of dy */
    lg_uint row_begin; /* where the view's rows begin in dy */
    lg_uint dim;       /* LG_DIM_* that holds the number of rows of dy, T */
    lg_uint add;       /* 1: += */
};

/* dw[m][k] += scale * sum over t of dy[t][row_begin + m] * x[t][k], m < n_rows */
struct lg_weight_back_push {
    lg_uint n_cols;    /* K */
    lg_uint n_rows;    /* M, rows of the view */
    lg_uint y_stride;  /* elements of a row of dy */
    lg_uint row_begin; /* where the view's rows begin in dy */
    lg_uint dim;       /* LG_DIM_* that holds the number of rows, T */
    float scale;
};

/* Sums over all rows of a batch, one for each column. */
struct lg_column_push {
    lg_uint n_cols;
    lg_uint dim; /* LG_DIM_* that holds the number of rows */
};

struct lg_scale_add_push {
    lg_uint n_cols;
    float scale;
};

struct lg_attention_train_push {
    lg_uint n_heads;
    lg_uint n_kv;
    lg_uint head_dim; /* at most LG_MAX_HEAD_DIM */
    lg_uint dim;      /* LG_DIM_* that holds the number of rows */
    float scale;      /* of q . k, 1 / sqrt(head_dim) */
};
#define LG_MAX_HEAD_DIM 256

/* What loss_part keeps of a row between the parts of the vocabulary. */
struct lg_loss_state {
    float top;   /* the largest logit so far */
    float sum;   /* of exp(logit - top) */
    float logit; /* the target's */
    float unused;
};
#define LG_NO_TARGET 0xffffffffu /* of a row that is not counted */

/* logits (T, n_cols) are those of tokens first, first + 1, ... */
struct lg_loss_push {
    lg_uint n_cols;
    lg_uint first; /* 0: the state begins anew */
};

/* Rows of dx that belong to the same id are added to the id's row of de, a view of rows [row_begin, row_end). */
struct lg_embed_back_push {
    lg_uint n_cols;
    lg_uint row_begin;
    lg_uint row_end;
    lg_uint id_stride; /* the id of row r is ids[r * id_stride + id_offset] */
    lg_uint id_offset;
    lg_uint dim; /* LG_DIM_* that holds the number of rows */
};

struct lg_dropout_push {
    lg_uint n_cols;
    lg_uint drop;  /* what is left out: a part of drop / 2^32 */
    lg_uint site;  /* which dropout of the model: each has its own */
    float scale;   /* 1 / (1 - p) */
};

/* Optimizers take n elements; a workgroup takes per_group of them. */
struct lg_sum_squares_push {
    lg_uint n;
    lg_uint per_group;
    lg_uint first; /* of the partial sums, one for each workgroup */
};

struct lg_grad_norm_push {
    lg_uint n; /* partial sums */
};

struct lg_adamw_push {
    lg_uint n;
    lg_uint per_group;
    float beta1, beta2;
    float eps;
    float weight_decay;
};

struct lg_sgd_push {
    lg_uint n;
    lg_uint per_group;
    float momentum;
    float weight_decay;
};

/* adamw8 keeps both moments in bytes, with a power of two for each block of so many; see adam8.h. */
#define LG_ADAM8_BLOCK 256u

#endif
