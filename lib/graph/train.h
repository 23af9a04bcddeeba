/* SPDX-License-Identifier: MIT
 *
 * The chain of a micro-batch in training: backward.c is forward.c and what flows back through it, optimizer.c what becomes of
 * the gradients. Letters and shapes are those of graph.h; R is the rows of a piece of the feed-forward network, P the
 * tokens of a part of the vocabulary.
 *
 * Rows are those of samples, one behind the other, and `slot` of a row is the number of its sample. Of these T rows T_out have
 * targets (LG_DIM_OUT), and the head is for them alone. Dims from LG_N_DIMS on count the rows of each piece.
 */
#ifndef LG_GRAPH_TRAIN_H
#define LG_GRAPH_TRAIN_H

#include "graph/train_tuning.h"

/** What is trained for one matrix W: y = W x + scale * B (A x). */
struct lg_train_pair {
    struct lg_weight a, b; // (rank, cols), (rows, rank); without a buffer there is none
    float scale;
};

/** What the backward pass needs of a layer. Without room to keep it, it is computed again, in one place for all layers. */
struct lg_train_kept {
    struct lg_view mid;      // (T, C) residual stream between the two halves
    struct lg_view q;        // (T, H*D)
    struct lg_view k, v;     // (T, n_kv*D)
    struct lg_view a;        // (T, H*D)
    struct lg_view lse;      // (T, H)
    struct lg_view gate, up; // (T, F), or (R, F) when they are computed again
};

struct lg_train_acts {
    struct lg_view *x;          // [n_layers + 1] (T, C) what comes into each layer, and out of the last
    struct lg_train_kept *kept; // [n_layers]
    struct lg_view h;           // (T, C) normalised; also the output of a projection before it is added
    struct lg_view dx;          // (T, C) of the residual stream
    struct lg_view dh;          // (T, max(C, H*D)) of h, and of a
    struct lg_view dq, dk, dv;  // as q, k, v
    struct lg_view delta;       // (T, H)
    struct lg_view norm;        // (T, 2)
    struct lg_view f, df;       // (R, F)
    struct lg_view z[2];        // (T, max(C, H*D)), (R, F): what an adapter adds, in the two halves of a layer
    struct lg_view drop;        // (T, max(C, H*D)) or (R, F): what dropout leaves; no buffer without
    struct lg_view low, dlow;   // (T, rank)
    struct lg_view logits;      // (T_out, P)
    struct lg_view state;       // (T_out) struct lg_loss_state
    struct lg_view losses;      // (T_out)
    struct lg_view sums;        // partial sums of squares
};

/** AdamW, SGD with momentum, and AdamW in 8 bits; the numbers are those of enum llmgpu_optimizer. */
enum lg_optimizer { LG_OPTIMIZER_ADAMW = 0, LG_OPTIMIZER_SGD = 1, LG_OPTIMIZER_ADAMW8 = 2, LG_N_OPTIMIZERS };

/** What is trained, all of it in one row of numbers: a tensor's gradient is in `grads` where it is in `params`. */
struct lg_train_state {
    struct lg_buffer *params, *grads;
    struct lg_buffer *m, *v;    // moments; of SGD the first is what it has gathered, and there is no second
    struct lg_buffer *factors;  // of moments in 8 bits
    uint64_t n;                 // numbers, padding among them, which stays 0
    enum lg_optimizer optimizer;
    float beta1, beta2, eps, momentum, weight_decay;
};

/** A chain under construction. */
struct lg_train_graph {
    struct lg_graph g; // of its batch: dims, rows, rope; out_ids, the rows that have targets, and these
    struct lg_train_tuning tune;
    struct lg_train_acts acts;
    struct lg_train_state state;
    const struct lg_train_pair *pairs; // [n_layers][LG_N_TARGETS]; NULL: all weights are trained
    struct lg_buffer *step;            // struct lg_train_step
    struct lg_buffer *norm;            // struct lg_train_norm
    struct lg_buffer *order[2];        // uint32[T]: rows by ascending token, and by position; NULL for adapters
    struct lg_buffer *in_order;        // uint32[T]: 0, 1, 2, ...
    uint32_t piece_rows, n_pieces;     // R
    uint32_t part_rows;                // P
    float dropout;
    bool again;                        // what is in `kept` is computed again
    uint32_t back_slice;               // where the backward pass begins
    uint32_t norm_slice;               // the norm of the gradients
    uint32_t step_slice;               // and the step
};

/** Rows' tokens to acts.losses, of the rows that have targets. */
void lg_train_forward(struct lg_train_graph *t);
/** From there on: what each number that is trained has to do with the mean loss, added to the gradients. */
void lg_train_backward(struct lg_train_graph *t);
/** The gradients to their norm, and to a step; then they are zeroed. */
void lg_train_optimize(struct lg_train_graph *t);

/** Partial sums of squares of so many numbers. */
uint64_t lg_train_sums(const struct lg_device_info *info, uint64_t n);
/** Bytes of a moment; of optimizers without a second one it has none. */
uint64_t lg_train_moment_bytes(enum lg_optimizer optimizer, uint32_t which, uint64_t n);
/** Bytes of the factors of moments in 8 bits; 0 for others. */
uint64_t lg_train_factor_bytes(enum lg_optimizer optimizer, uint64_t n);

#endif
