/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Training: LoRA adapters (Hu et al. 2021) over a model whose weights stay as they are, in whatever type (Dettmers et al. 2023),
 * or all of a small model's weights. Experimental.
 *
 *     llmgpu_trainer_create(&trainer, model, &params);
 *     while (steps are left) {
 *         for (i = 0; i < accumulate && llmgpu_dataset_next(dataset, &batch, sizeof(batch)) > 0; i++)
 *             llmgpu_trainer_add(trainer, &batch, sizeof(batch));
 *         llmgpu_trainer_step(trainer, &result, sizeof(result));
 *     }
 *     llmgpu_trainer_save(trainer, "adapter.gguf", LLMGPU_SAVE_GGUF);
 *
 * A step sums the gradients of the micro-batches that were added, as the mean over all their targets, and changes the
 * parameters once. What is learned depends on nothing but the parameters, the seed and the micro-batches: not on other
 * trainers, sessions or pauses, to the last bit on the same device.
 */
#ifndef LLMGPU_TRAIN_H
#define LLMGPU_TRAIN_H

#include "llmgpu/dataset.h"
#include "llmgpu/lora.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What is learned, and all that is needed to go on. It keeps its model alive and changes nothing of it: sessions and other
 * trainers use it at the same time.
 *
 * @par Thread-safety: one thread at a time, but for llmgpu_trainer_cancel(); others may work on its context meanwhile
 */
typedef struct llmgpu_trainer llmgpu_trainer;

/** How gradients change parameters. */
enum llmgpu_optimizer {
    LLMGPU_OPTIMIZER_ADAMW = 0,  /**< Loshchilov and Hutter 2019 */
    LLMGPU_OPTIMIZER_SGD = 1,    /**< with momentum */
    LLMGPU_OPTIMIZER_ADAMW8 = 2, /**< AdamW whose two moments are kept in 8 bits (Dettmers et al. 2022) */
};

/** How the learning rate goes on once the warm-up is over. */
enum llmgpu_schedule {
    LLMGPU_SCHEDULE_CONSTANT = 0, /**< as it is */
    LLMGPU_SCHEDULE_LINEAR = 1,   /**< straight down to lr_min at the end */
    LLMGPU_SCHEDULE_COSINE = 2,   /**< half a wave down to lr_min at the end */
};

/** Matrices of a block that an adapter is trained for, to be or-ed. Where a model has q, k and v in one tensor, one of them
 * stands for the three. */
enum llmgpu_train_target {
    LLMGPU_TRAIN_Q = 1,     /**< queries */
    LLMGPU_TRAIN_K = 2,     /**< keys */
    LLMGPU_TRAIN_V = 4,     /**< values */
    LLMGPU_TRAIN_O = 8,     /**< what comes out of attention */
    LLMGPU_TRAIN_GATE = 16, /**< of the feed-forward network, where there is one */
    LLMGPU_TRAIN_UP = 32,   /**< of the feed-forward network */
    LLMGPU_TRAIN_DOWN = 64, /**< of the feed-forward network */
    LLMGPU_TRAIN_ALL = 127, /**< all of them */
};

/** As what an adapter is saved. */
enum llmgpu_save_format {
    LLMGPU_SAVE_GGUF = 0, /**< a GGUF file: an adapter; after full training, a whole model */
    LLMGPU_SAVE_PEFT = 1, /**< a folder with adapter_model.safetensors and adapter_config.json; of adapters only */
};

/** Parameters of llmgpu_trainer_create(). All is copied. */
typedef struct llmgpu_trainer_params {
    uint32_t size;       /**< set by llmgpu_trainer_params_init() */
    uint32_t max_rows;   /**< rows of a micro-batch at most, 1 .. 1048576, default 512 */
    uint32_t full;       /**< 1: all weights are trained, of a model in F32, F16 or BF16; 0 (default): an adapter */
    uint32_t rank;       /**< of the adapter, 1 .. 1024, default 16 */
    float alpha;         /**< its factor is alpha / rank; 0 (default): alpha is twice the rank */
    uint32_t rslora;     /**< 1: alpha / sqrt(rank) (Kalajdzievski 2023); 0 (default) */
    float dropout;       /**< how much of what A sees is left out, 0 (default) .. below 1 */
    uint32_t targets;    /**< llmgpu_train_target, or-ed; default LLMGPU_TRAIN_ALL */
    const char *init;    /**< adapter file that it begins as, whose rank, alpha and targets it has; NULL (default): A at random,
                              B zero */
    uint32_t checkpoint; /**< 1 (default): of a layer only what comes in is kept, and the rest is computed again when it is
                              needed; 0: all is kept, which takes more memory and less time */
    int32_t optimizer;   /**< an llmgpu_optimizer; default LLMGPU_OPTIMIZER_ADAMW */
    float lr;            /**< learning rate, default 2e-4 */
    float lr_min;        /**< where LINEAR and COSINE end, default 0 */
    int32_t schedule;    /**< an llmgpu_schedule; default LLMGPU_SCHEDULE_CONSTANT */
    uint32_t warmup;     /**< steps of warm-up: step t = 0, 1, ... of W has lr * (t + 1) / W; default 0 */
    uint64_t n_steps;    /**< in all, for LINEAR and COSINE; default 0 */
    float beta1;         /**< of AdamW, default 0.9 */
    float beta2;         /**< of AdamW, default 0.999 */
    float eps;           /**< of AdamW, default 1e-8 */
    float momentum;      /**< of SGD, default 0.9 */
    float weight_decay;  /**< decoupled: each step begins with parameters times 1 - lr * weight_decay; default 0.01 */
    float clip;          /**< the largest norm of all gradients together; 0: any; default 1 */
    uint64_t seed;       /**< of what it begins as, and of dropout; default 0 */
    uint64_t scratch;    /**< bytes for what is computed in pieces, if as few are enough; 0 (default): 6 MiB with `checkpoint`,
                              otherwise as many as make one piece of it */
} llmgpu_trainer_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_trainer_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_params_init(llmgpu_trainer_params *params, size_t size);

/**
 * Makes a trainer.
 *
 * @param out    to be freed with llmgpu_trainer_free(); NULL on failure
 * @param model  what is trained, or what the adapter is for
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_UNSUPPORTED when the weights are quantised and all are to be trained; LLMGPU_E_NOMEM;
 *         LLMGPU_E_LIMIT; LLMGPU_E_DEVICE; of `init` as llmgpu_lora_load(); LLMGPU_E_BUSY from within a callback. The sentence is
 *         llmgpu_model_error().
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_create(llmgpu_trainer **out, llmgpu_model *model,
                                                  const llmgpu_trainer_params *params);

/**
 * Frees a trainer.
 *
 * @param trainer NULL is allowed
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_trainer_free(llmgpu_trainer *trainer);

/**
 * The sentence of the last failed call on this trainer.
 *
 * @param trainer NULL is allowed
 * @return "" when there was none; valid until the next call on it
 */
LLMGPU_EXPERIMENTAL_API const char *llmgpu_trainer_error(const llmgpu_trainer *trainer);

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/**
 * Adds a micro-batch to the next step.
 *
 * @param trainer where
 * @param batch   copied; positions may be below the model's context length only
 * @param size    sizeof(llmgpu_batch)
 * @return 0; LLMGPU_E_INVALID for what is not as llmgpu_batch says, has more than max_rows rows or unknown tokens, and while a
 *         step is under way; LLMGPU_E_NOMEM
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_add(llmgpu_trainer *trainer, const llmgpu_batch *batch, size_t size);

/** What a step did. */
typedef struct llmgpu_train_result {
    uint64_t step;      /**< its number, from 0 */
    double loss;        /**< mean over the targets, before the step */
    double grad_norm;   /**< of all gradients together, before clipping */
    double lr;          /**< learning rate */
    uint64_t n_rows;    /**< of its micro-batches */
    uint64_t n_targets; /**< of these */
    uint64_t work_us;   /**< microseconds of work on the device */
} llmgpu_train_result;

/**
 * Does a step: the micro-batches that were added, forward and backward, then the optimizer. Sessions and trainers of the context
 * that others work on get their turn in between.
 *
 * @param trainer whose
 * @param out     NULL is allowed
 * @param size    sizeof(llmgpu_train_result)
 * @return 0; LLMGPU_E_INVALID when nothing was added; LLMGPU_E_CANCELLED, then the step is as if it had not begun, and its
 *         micro-batches are forgotten; LLMGPU_E_DEVICE_LOST; LLMGPU_E_FORMAT when a loss or gradient is no number: nothing was
 *         changed; LLMGPU_E_BUSY from within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_step(llmgpu_trainer *trainer, llmgpu_train_result *out, size_t size);

/**
 * Does a part of a step, and goes on with it when it is called again. It stops between two layers (or dispatches, of a step that
 * was once started), when the next would not fit into what is left of the budget by the time that one took before; at least
 * one is done.
 *
 * @param trainer   whose
 * @param budget_us microseconds
 * @param out       filled when the step is done; NULL is allowed
 * @param size      sizeof(llmgpu_train_result)
 * @return 1 when the step is done; 0 when there is more of it; or as llmgpu_trainer_step()
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_step_some(llmgpu_trainer *trainer, uint32_t budget_us, llmgpu_train_result *out,
                                                     size_t size);

/**
 * Computes the loss of a micro-batch as a model with what was learned so far has it, without dropout, and changes nothing.
 *
 * @param trainer whose
 * @param batch   as for llmgpu_trainer_add()
 * @param size    sizeof(llmgpu_batch)
 * @param loss    receives the sum over the targets; divided by n_targets it is the mean
 * @return 0, or as llmgpu_trainer_step()
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_evaluate(llmgpu_trainer *trainer, const llmgpu_batch *batch, size_t size, double *loss);

/**
 * Has a step or evaluation that runs, or the next one, answer LLMGPU_E_CANCELLED.
 *
 * @param trainer NULL is allowed
 * @par Thread-safety: any thread, and a signal handler
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_trainer_cancel(llmgpu_trainer *trainer);

/**
 * Sums numbers over several processes that train the same thing on different data.
 *
 * @param user   as given with it
 * @param values to be replaced by the sum over all processes, the same in each
 * @param n      how many
 * @return 0, or anything else when it failed
 */
typedef int (*llmgpu_reduce_fn)(void *user, float *values, size_t n);

/**
 * Has each step sum gradients, losses and targets over several processes. They must have made their trainers with the same
 * parameters, and do the same steps. Those that take the micro-batches of a step in turns, process 0 the first, learn what one
 * alone learns from all of them, as far as sums in another order are the same; dropout is the same as well.
 *
 * @param trainer     whose
 * @param reduce      called on the thread that steps, twice for each step: with a few numbers before the work on it, with the
 *                    gradients after; it must not call the library; NULL: none
 * @param user        passed to it
 * @param process     which of the processes this is, 0 .. n_processes - 1
 * @param n_processes how many there are, 1 or more
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_set_reduce(llmgpu_trainer *trainer, llmgpu_reduce_fn reduce, void *user,
                                                      uint32_t process, uint32_t n_processes);

/* ---- steps beside sessions --------------------------------------------------------------------------------------- */

/**
 * Begins a step, or goes on with one that llmgpu_trainer_step_some() began, and leaves it to whoever works on the context:
 * llmgpu_context_step(), the background thread, llmgpu_trainer_wait() and llmgpu_agents_wait(). It is done in slices of one
 * dispatch and more, within the budget of each step. So a program can train while it serves:
 *
 *     llmgpu_trainer_add(trainer, &batch, sizeof(batch));
 *     llmgpu_trainer_start(trainer, 10);
 *     for (each frame) {
 *         ...                                                     // sessions are fed, answers are taken
 *         llmgpu_context_step(ctx, 2000);
 *         if (llmgpu_trainer_poll(trainer, &result, sizeof(result)) == 1)
 *             ...                                                 // the next micro-batches are added, and a step is started
 *     }
 *
 * Sessions come first: the step has the time in which they want nothing, and what is left of a budget when nothing of theirs
 * fits. Where they want all of the time, it has `share` percent of it, in whole slices, of which one may then be longer than a
 * budget. Several trainers take turns. What a caller of llmgpu_session_wait() does by itself, it does for its session alone.
 *
 * Until llmgpu_trainer_poll() has told how the step ended, or llmgpu_trainer_stop() was called, other calls that need the trainer
 * answer LLMGPU_E_INVALID.
 *
 * @param trainer whose
 * @param share   0 .. 99; 0: the step may wait for as long as sessions are busy
 * @return 0; LLMGPU_E_INVALID, also when nothing was added or a step was started already; LLMGPU_E_NOMEM; LLMGPU_E_DEVICE_LOST;
 *         LLMGPU_E_BUSY from within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_start(llmgpu_trainer *trainer, uint32_t share);

/**
 * Asks for the step that was started, without working or waiting, and when it has ended tells so, once.
 *
 * @param trainer whose
 * @param out     filled when the step is done; NULL is allowed
 * @param size    sizeof(llmgpu_train_result)
 * @return 1 when the step is done; 0 when it is not yet; or as llmgpu_trainer_step(), LLMGPU_E_INVALID also when none was started;
 *         LLMGPU_E_CANCELLED also after llmgpu_context_cancel(); LLMGPU_E_DEVICE_LOST when the device was lost, or left by
 *         llmgpu_context_recover()
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_poll(llmgpu_trainer *trainer, llmgpu_train_result *out, size_t size);

/**
 * Works, or with a background thread sleeps, until the step that was started has ended. Sessions and other trainers are worked
 * on as well.
 *
 * @param trainer    whose
 * @param timeout_us microseconds; UINT64_MAX: none
 * @return 0: llmgpu_trainer_poll() will not answer 0; LLMGPU_E_TIMEOUT; LLMGPU_E_INVALID when none was started; LLMGPU_E_BUSY from
 *         within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_wait(llmgpu_trainer *trainer, uint64_t timeout_us);

/**
 * Takes the step that was started back, wherever it is: llmgpu_trainer_start(), llmgpu_trainer_step() and
 * llmgpu_trainer_step_some() go on with it. Without one nothing is done, and one that has ended is still to be asked for.
 *
 * @param trainer whose
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_BUSY from within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_stop(llmgpu_trainer *trainer);

/* ---- what was learned -------------------------------------------------------------------------------------------- */

/**
 * Writes what was learned to a file, which is there as a whole or not at all.
 *
 * @param trainer whose
 * @param path    file; for LLMGPU_SAVE_PEFT a folder, created when it is missing
 * @param format  an llmgpu_save_format
 * @return 0; LLMGPU_E_IO; LLMGPU_E_INVALID; LLMGPU_E_NOMEM; LLMGPU_E_UNSUPPORTED; LLMGPU_E_DEVICE_LOST; LLMGPU_E_BUSY
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_save(llmgpu_trainer *trainer, const char *path, int32_t format);

/**
 * Writes all that is needed to go on, bit for bit: parameters, the optimizer's state, the number of the step. The file is on
 * disk as a whole before this returns, or what was there stays.
 *
 * @param trainer whose; not in the middle of a step
 * @param path    file
 * @param extra   bytes of the caller's own, such as the place in a data set; NULL when n_extra is 0
 * @param n_extra at most 2^20
 * @return 0; LLMGPU_E_IO; LLMGPU_E_INVALID; LLMGPU_E_NOMEM; LLMGPU_E_DEVICE_LOST; LLMGPU_E_BUSY
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_save_checkpoint(llmgpu_trainer *trainer, const char *path, const void *extra,
                                                           size_t n_extra);

/**
 * Goes to where a checkpoint was written.
 *
 * @param trainer of the same model, with the same parameters but for max_rows, checkpoint, scratch, init, n_steps, lr, lr_min,
 *                schedule, warmup, weight_decay and clip
 * @param path    file
 * @param extra   receives the caller's own bytes; may be NULL when `capacity` is 0
 * @param capacity bytes at `extra`
 * @param n_extra receives how many there are; NULL is allowed
 * @return 0; LLMGPU_E_IO; LLMGPU_E_FORMAT for a file that is damaged or no checkpoint; LLMGPU_E_UNSUPPORTED for one of another
 *         trainer; LLMGPU_E_RANGE when the room is too small; LLMGPU_E_INVALID; LLMGPU_E_NOMEM; LLMGPU_E_DEVICE_LOST. After a
 *         failure before anything was changed the trainer is as it was.
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_load_checkpoint(llmgpu_trainer *trainer, const char *path, void *extra,
                                                           size_t capacity, size_t *n_extra);

/** A tensor that is trained. */
typedef struct llmgpu_train_tensor {
    char name[96];  /**< as in a GGUF file: "blk.0.attn_q.weight.lora_a" */
    uint32_t rows;  /**< 1 for vectors */
    uint32_t cols;  /**< numbers of a row */
} llmgpu_train_tensor;

/** What of a tensor is read. */
enum llmgpu_train_what {
    LLMGPU_TRAIN_VALUE = 0,    /**< itself */
    LLMGPU_TRAIN_GRADIENT = 1, /**< the gradient of the last step, before clipping; only after llmgpu_trainer_keep_gradients() */
};

/**
 * Describes a tensor that is trained.
 *
 * @param trainer whose
 * @param index   0 .. llmgpu_trainer_info::n_tensors - 1
 * @param out     to fill
 * @param size    sizeof(llmgpu_train_tensor)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_get_tensor(const llmgpu_trainer *trainer, uint32_t index, llmgpu_train_tensor *out,
                                                      size_t size);

/**
 * Reads a tensor.
 *
 * @param trainer  whose
 * @param index    as above
 * @param what     an llmgpu_train_what
 * @param values   receives rows * cols numbers, row after row
 * @param capacity numbers at `values`
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_INVALID; LLMGPU_E_DEVICE_LOST; LLMGPU_E_BUSY
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_read_tensor(llmgpu_trainer *trainer, uint32_t index, int32_t what, float *values,
                                                       size_t capacity);

/**
 * Has each step keep its gradients on the host, so that they can be read.
 *
 * @param trainer whose
 * @param keep    1 or 0 (as it is made)
 * @return 0; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_keep_gradients(llmgpu_trainer *trainer, int32_t keep);

/** Facts about a trainer. */
typedef struct llmgpu_trainer_info {
    uint64_t n_params;        /**< numbers that are trained */
    uint32_t n_tensors;       /**< that they are in */
    uint32_t rank;            /**< of the adapter; 0: all weights are trained */
    float alpha;              /**< of the adapter */
    uint32_t max_rows;        /**< of a micro-batch */
    uint64_t step;            /**< steps done */
    uint64_t device_bytes;    /**< that it takes on the device, beside the model's weights */
    uint64_t estimated_bytes; /**< that it was planned to take */
    uint64_t state_bytes;     /**< of these, parameters, gradients and moments */
    uint64_t kept_bytes;      /**< and activations that are kept from the forward to the backward pass */
    uint64_t rows;            /**< trained on so far */
    uint64_t work_us;         /**< microseconds of work on the device so far */
} llmgpu_trainer_info;

/**
 * Reads the facts.
 *
 * @param trainer whose
 * @param out     to fill
 * @param size    sizeof(llmgpu_trainer_info)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_trainer_get_info(const llmgpu_trainer *trainer, llmgpu_trainer_info *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif

#endif
