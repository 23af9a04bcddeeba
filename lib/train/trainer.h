/* SPDX-License-Identifier: MIT
 *
 * A trainer: the parameters that it trains, room for a micro-batch on its way forth and back, and the chain of both, recorded
 * once. A step is a number of micro-batches and then the optimizer; it can be done in pieces, between which others work on
 * the device.
 *
 *   trainer.c   steps
 *   slices.c    and their slices
 *   room.c      buffers, and what they will take
 *   checkpoint.c
 *   export.c    files that others read
 *
 * Thread-safety: as its device.
 */
#ifndef LG_TRAIN_TRAINER_H
#define LG_TRAIN_TRAINER_H

#include "train/batch.h"
#include "train/params.h"
#include "train/schedule.h"

enum { LG_TRAIN_MAX_ROWS = 1 << 20 };

struct lg_trainer_params {
    uint32_t max_rows;
    bool whole; // all weights are trained, not an adapter
    struct lg_train_shape shape;
    const char *init; // adapter to begin with; NULL: none. Read while it is created
    float dropout;
    bool checkpoint; // of a layer only what comes in is kept
    enum lg_optimizer optimizer;
    struct lg_schedule schedule;
    float beta1, beta2, eps, momentum, weight_decay, clip;
    uint64_t seed;
    uint64_t scratch; // bytes; 0: as is best
    _Atomic int *cancelled; // set, from anywhere, to have what runs or the next thing stop; NULL: nothing does. Outlives the trainer
};

/** Bytes on the device. */
struct lg_train_room {
    uint64_t state;   // parameters, gradients, moments
    uint64_t kept;    // activations from the way forth to the way back
    uint64_t scratch; // other activations
    uint64_t rest;    // batches, tables, grids
    uint32_t piece_rows, part_rows;
};

/** What a step has done. */
struct lg_train_result {
    uint64_t step;
    double loss; // mean over the targets
    double grad_norm, lr;
    uint64_t n_rows, n_targets;
    uint64_t work_ns;
};

/** What is under way. */
struct lg_train_run {
    bool active;     // a step is
    bool evaluating; // or an evaluation
    bool fine;       // a step's slices are dispatches
    bool exchanged;  // its gradients were, with other processes
    uint32_t batch;  // of the step, in this process
    uint32_t slice;  // next
    double scale;    // of each row's loss
    double loss;     // sum so far
    uint64_t n_batches; // of the step, in all processes
    struct lg_train_result result;
};

struct lg_trainer {
    struct lg_env *env;
    const struct lg_model *model;
    struct lg_device *dev;
    struct lg_trainer_params how;
    struct lg_train_params params;
    struct lg_train_room room;
    uint64_t device_bytes; // that were taken
    struct lg_train_graph graph;
    struct lg_chain chain;
    struct lg_chain forward; // without dropout, for evaluation; empty when there is none in `chain`
    struct lg_batch batch;   // dims, rows, targets, rope
    struct lg_buffer **bufs; // activations: of each layer, and the rest
    uint32_t n_bufs;
    struct lg_train_acts acts;
    uint64_t *slice_ns;      // what each slice takes; 0: not measured
    struct lg_program *fine; // of `chain`, with a slice for each dispatch; NULL until it is needed
    uint64_t *fine_ns;       // what each of these takes, in the same way; then room for as many times
    uint64_t submit_ns;      // what a submission takes beside
    uint32_t fine_rows;      // of the micro-batch that `fine_ns` is of
    uint64_t *order_keys;    // [max_rows]
    struct lg_train_batch *queue; // micro-batches of the step
    uint32_t n_queue, cap_queue;
    struct lg_train_run run;
    bool stale;              // there are gradients of a step that failed
    uint64_t step;           // steps done
    uint64_t n_draws;        // micro-batches done, which each have a dropout of their own
    uint64_t rows, work_ns;  // so far
    float *gradients;        // of the last step; NULL: not kept
    int (*reduce)(void *user, float *values, size_t n); // NULL: none
    void *reduce_user;
    uint32_t process, n_processes; // which one this is, of how many that take micro-batches in turns
};

/** What a trainer will take. `trainer` needs its env, model, how and params alone. LLMGPU_E_NOMEM when it is beyond all bounds. */
int lg_train_room_plan(const struct lg_trainer *trainer, struct lg_train_room *out);
/** Takes it. */
int lg_train_room_take(struct lg_trainer *trainer);
void lg_train_room_free(struct lg_trainer *trainer);

/** `env` and `model`, which has its weights, must outlive it. Fails as llmgpu_trainer_create(). */
int lg_trainer_create(struct lg_env *env, const struct lg_model *model, const struct lg_trainer_params *how,
                      struct lg_trainer **out);
/** NULL is allowed. */
void lg_trainer_destroy(struct lg_trainer *trainer);

/** Adds a copy of a micro-batch to the next step, checked. LLMGPU_E_INVALID, LLMGPU_E_NOMEM. */
int lg_trainer_add(struct lg_trainer *trainer, const struct lg_train_batch *batch);
/**
 * Works on a step for budget_ns, one slice at least; UINT64_MAX: to its end. It stops where the next slice would not fit into
 * what is left, by what that took before.
 *
 * @return 1 when it is done, 0 when there is more; LLMGPU_E_INVALID without micro-batches; LLMGPU_E_CANCELLED; LLMGPU_E_FORMAT
 *         when a loss or gradient is no number; a failure of the device. Then nothing of the step is left.
 */
int lg_trainer_work(struct lg_trainer *trainer, uint64_t budget_ns, struct lg_train_result *out);
/** The same of the loss of a micro-batch, summed over its targets. Not during a step; nothing else between its parts. */
int lg_trainer_evaluate(struct lg_trainer *trainer, const struct lg_train_batch *batch, uint64_t budget_ns, double *loss);
/**
 * Begins a step, when none is under way; from here on its slices are dispatches, which are short. LLMGPU_E_INVALID without
 * micro-batches; LLMGPU_E_NOMEM; a failure of the device. Then a step that was under way still is.
 */
int lg_trainer_refine(struct lg_trainer *trainer);
/** Whether the next slice of such a step fits into what is left of a budget. */
bool lg_trainer_fits(const struct lg_trainer *trainer, uint64_t left_ns, uint64_t budget_ns);
/** The longest slice of such steps. */
uint64_t lg_trainer_longest(const struct lg_trainer *trainer);

/** Copies a tensor to the host. */
int lg_trainer_read(struct lg_trainer *trainer, uint32_t tensor, float *values);
/** Keeps the gradients of each step from now on, or not. LLMGPU_E_NOMEM. */
int lg_trainer_keep_gradients(struct lg_trainer *trainer, bool keep);

/** Writes what was learned to a GGUF file, an adapter or a model, or an adapter to a folder of PEFT's. Fails as
 * llmgpu_trainer_save(). */
int lg_trainer_export(struct lg_trainer *trainer, const char *path, bool peft);
/** Writes all of a trainer's state, and bytes of the caller's; the file is whole or as it was. */
int lg_trainer_save(struct lg_trainer *trainer, const char *path, const void *extra, size_t n_extra);
/**
 * Reads it again. LLMGPU_E_IO, _FORMAT, _UNSUPPORTED (of another trainer), _RANGE, _NOMEM; then, but for a failure of the device,
 * all is as it was.
 *
 * @param n_extra receives how many of the caller's bytes there are
 */
int lg_trainer_load(struct lg_trainer *trainer, const char *path, void *extra, size_t capacity, size_t *n_extra);

#endif
