/* SPDX-License-Identifier: MIT
 *
 * Building chains from a model: ops.h appends one kernel at a time, forward.c composes them into an
 * architecture's pass, sample.c into the choice of the next token.
 *
 * Letters used in every shape: T rows of the batch, C width, H query heads, D elements of a head, F
 * feed-forward width, V vocabulary. Activations are float32, row after row.
 */
#ifndef LG_GRAPH_GRAPH_H
#define LG_GRAPH_GRAPH_H

#include "chain/chain.h"
#include "model/model.h"

/** The ways in which matrices are multiplied in a prefill, in float32. */
enum lg_matmul_form {
    LG_MATMUL_SHARED, // matmul.comp: tiles in shared memory, for GPUs
    LG_MATMUL_LANES,  // matmul.comp: lanes own tiles in registers, for drivers that run on a CPU
    LG_MATMUL_PLAIN,  // the same of plain numbers
    LG_MATMUL_BLOCKS = LG_MATMUL_FORM_BLOCKS, // the CPU's, for many rows of x
};

/** In what x meets weights of some type, and by which kernels. */
enum lg_product {
    LG_PRODUCT_FLOAT32,
    LG_PRODUCT_INT8, // quantised: matvec_i8, matmul_i8 and the steps of a layer that round x on their way
    LG_PRODUCT_HALF, // halved: matmul_half
    LG_PRODUCT_COOP, // halved: matmul_coop
};

/** What a workgroup makes of a product, and of how many rows of x at the most. */
struct lg_matmul_tile {
    uint32_t wg;
    uint32_t m, n;         // weight rows x rows of x
    uint32_t sub_m, sub_n; // coop_tiles: the part of a subgroup
    uint32_t up_to;        // rows of x in all; 0: any number
};

enum { LG_MAX_TILES = 6 };

/** Workgroup sizes and tiles for one device: the specialisation constants of the kernels. */
struct lg_tuning {
    uint32_t flat_wg;  // invocations of a workgroup where each element is on its own
    uint32_t row_wg;   // where a workgroup reduces a row
    uint32_t vocab_wg; // where that row is as long as the vocabulary
    uint32_t attention_wg;
    bool attention_by_lane; // a lane takes whole keys; otherwise a subgroup does
    uint32_t attention_groups; // on the CPU, workgroups that are enough for a row: heads that share keys go together
                               // as far as that leaves so many
    uint32_t attention_rows;   // (row, head)s of a tile in prefill; 0: each on its own
    uint32_t attention_parts;  // in decoding, workgroups of a row that its keys are split over; 0: they are not
    uint32_t matvec_wg;
    uint32_t matvec_rows; // rows of a weight for each subgroup
    uint32_t matvec_rows_per_wg;
    uint32_t matvec_groups; // of 32 weights that a lane takes at a time
    uint32_t matvec_x_rows; // that a workgroup takes where a pass has several; 0: kernels see to it themselves
    bool fused_decode;      // the steps of a layer are one dispatch each in LG_DECODE
    bool fused_head;        // and so is the head
    uint32_t fused_wg;
    uint32_t fused_rows; // of matrices for each subgroup, even
    uint32_t fused_rows_per_wg;
    uint32_t lora_wg;
    uint32_t lora_ranks; // of an adapter, for each subgroup
    uint32_t lora_ranks_per_wg;
    enum lg_matmul_form matmul_form;
    struct lg_matmul_tile matmul_tiles[LG_MAX_TILES]; // by ascending up_to, until one that is 0; whichever is
                                                      // taken, an element is the same, bit for bit
    struct lg_matmul_tile plain_tiles[LG_MAX_TILES]; // the same in LG_MATMUL_PLAIN; none without `wg`
    struct lg_matmul_tile packed_tiles[LG_MAX_TILES]; // the same of matmul_packed.comp; without `wg` the others are taken
    struct lg_matmul_tile coop_tiles[LG_MAX_TILES]; // the same of matmul_coop.comp; none without `wg`
    enum lg_int8 half; // for what passes x may be halved
    enum lg_int8 int8; // and quantised
    enum lg_product decode;        // of such passes, where the weights are blocks
    enum lg_product prefill;       // the same
    enum lg_product prefill_plain; // where they are plain numbers, but for float32
};

/** The one place where sizes are chosen (tuning.c). */
struct lg_tuning lg_tuning_choose(const struct lg_device_info *info);

/*
 * Candidates for who measures which is the fastest (runtime/tune.c). Each sets what of *tune is its own to candidate i, which
 * the device can run, and answers false past the last; the first is what lg_tuning_choose() takes. Sizes do not change the
 * order in which anything is summed, so whichever is taken, results are the same, bit for bit; the first two round x.
 */
/** Of `decode`. */
bool lg_tuning_decode(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
/** Of `prefill` and `prefill_plain`. */
bool lg_tuning_prefill(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
bool lg_tuning_matvec(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
bool lg_tuning_fused(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
bool lg_tuning_matmul(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
bool lg_tuning_packed(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
bool lg_tuning_coop(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);

/** Which matrix kernel a pass uses. The choice follows the phase, never the number of rows, so that a token's
 * arithmetic does not depend on how its prompt was cut. */
enum lg_phase { LG_PREFILL, LG_DECODE };

/** What changes from pass to pass, and the caches. Made by the runtime. */
struct lg_batch {
    uint32_t max_rows;             // T at the most
    uint32_t page_size, max_pages; // tokens of a page, pages of a table
    struct lg_buffer *dims;        // uint32[LG_N_DIMS]
    struct lg_buffer *rows;        // struct lg_row[max_rows]
    struct lg_buffer *out_ids;     // uint32[max_rows]: rows whose logits are wanted
    struct lg_buffer *pages;       // uint32[slots][max_pages]
    struct lg_buffer *samplers;    // struct lg_sampler[slots]
    struct lg_buffer *history;     // uint32[slots][LG_HISTORY]
    struct lg_buffer *biases;      // struct lg_bias[slots][LG_MAX_BIAS]
    struct lg_buffer *masks;       // uint32[slots][LG_MASK_WORDS(n_vocab)]; NULL until a session has one
    struct lg_buffer *ring;        // uint32[slots][LG_RING]
    struct lg_buffer *loras;       // struct lg_slot_lora[slots]
    struct lg_buffer *targets;     // uint32[max_rows]: the tokens that log-probabilities are wanted of
    struct lg_buffer *rope; // float[positions][n_rot/2][2]: cosine and sine; NULL without rotary positions
    uint32_t kv_type;           // LG_KV_*
    struct lg_buffer **k_cache; // rows[pages * page_size] of n_kv * D numbers, of each layer
    struct lg_buffer **v_cache; // the same
};

/** The adapters of a model on the device; which of them a row has, batch.loras says. Made by the runtime. */
struct lg_adapters {
    struct lg_buffer *pairs;   // struct lg_lora_pair[adapters][n_layers][LG_N_TARGETS]
    struct lg_buffer *weights; // uint8[n_layers][layer_bytes]: of all adapters
    uint64_t layer_bytes;
    uint32_t max_rank;
};

/** Activations of a pass, each for max_rows rows. */
struct lg_acts {
    struct lg_view x;         // (T, C) residual stream
    struct lg_view h;         // (T, C) normalised; also the output of a projection before it is added
    struct lg_view q;         // (T, H*D)
    struct lg_view k, v;      // (T, n_kv*D)
    struct lg_view a;         // (T, H*D) attention's output
    struct lg_view gate, up;  // (T, F)
    struct lg_view f;         // (T, F) after the activation
    struct lg_view i8;        // (T) rows in 8 bits, or in float16, of whatever is multiplied next
    struct lg_view lora[2];   // (T, LG_LORA_MATRICES, max_rank) what A makes of x, in turn
    struct lg_view add[3];    // (T, H*D or F), (T, n_kv*D or F), (T, n_kv*D) what fused steps add to products of each row
    struct lg_view parts;     // (T, lg_attention_parts()) attention's sums over parts of the keys
    struct lg_view done;      // (T, H) uint32, how many of them are there: 0 between dispatches
    struct lg_view logits;    // (T_out, V)
    struct lg_view best;      // (T_out) {uint32 index, float value}
    struct lg_view log_probs; // (T_out)
    struct lg_view raw;       // (T_out, V) the logits before penalties, biases and masks
    struct lg_view top;       // (T_out, LG_MAX_CANDIDATES + 1) struct lg_candidate
};

/** A chain under construction. */
struct lg_graph {
    struct lg_chain *chain;
    const struct lg_model *model;
    const struct lg_batch *batch;
    const struct lg_adapters *adapters; // NULL: no row has one
    struct lg_acts acts;
    struct lg_tuning tune;
    enum lg_phase phase;
    bool int8;          // activations may be quantised
    bool half;          // and halved
    struct lg_view in_i8; // whose rows acts.i8 has; no buffer: nobody's
    bool in_half;         // they are halved
    uint32_t dim;       // LG_DIM_* that counts the rows of the dispatches being added
    uint32_t max_rows;  // which it does not exceed in this pass
    uint32_t n_adapted; // steps so far
};

/** Numbers for each row in acts.parts; 0 where acts.parts and acts.done are not wanted. */
uint64_t lg_attention_parts(const struct lg_tuning *tune, const struct lg_hparams *hp, enum lg_phase phase);

/** The pass through all blocks: rows' tokens to acts.x (T, C), keys and values into the caches. */
void lg_forward(struct lg_graph *g);
/** acts.x (T, C) to acts.h (T, C), the final hidden states. */
void lg_final_norm(struct lg_graph *g);
/** acts.x (T, C) to acts.logits (T, V). */
void lg_head(struct lg_graph *g);
/** acts.logits to the next tokens, in the samplers' rings and in the rows of the next pass. */
void lg_sample(struct lg_graph *g);
/** The same, and to acts.top, the last of each row being the token that was sampled. */
void lg_sample_candidates(struct lg_graph *g);
/** acts.logits and batch.targets to acts.log_probs. */
void lg_score(struct lg_graph *g);
/** acts.logits to acts.top, the last of each row being batch.targets'. */
void lg_score_candidates(struct lg_graph *g);

#endif
