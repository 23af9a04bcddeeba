/* SPDX-License-Identifier: MIT
 *
 * What the files of `llmgpu train` share: its options, a run, and what there is to show of it.
 */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H

#include <llmgpu/train.h>

#include "processes.h"

struct train_values {
    struct cli_engine_options engine;
    llmgpu_trainer_params trainer;
    struct cli_texts data, validation;
    const char *out, *peft, *targets, *schedule, *optimizer, *loss_on, *bad_lines, *metrics;
    float epochs, val_split;
    uint32_t n_ctx, n_batch, accumulate, n_steps, checkpoint_every, eval_every, early_stop, n_shown;
    bool full, rslora, no_recompute, no_shuffle, no_pack, plain, resume, dry_run, json;
};

/** What is shown of a run: losses, of which the oldest share places when there are many. */
struct train_history {
    uint32_t n, n_val;
    uint32_t stride, n_last; // steps that share a place, and those in the last one
    float losses[1024];
    uint64_t val_steps[256];
    float val_losses[256];
};

/** The files of a run, named after its result. From malloc(). */
struct train_names {
    char *checkpoint, *best, *plot;
};

struct train_run {
    const struct train_values *v;
    struct cli_processes processes;
    uint32_t accumulate; // micro-batches of a step, of all processes
    struct cli_engine engine;
    llmgpu_dataset *data, *validation; // the latter may be NULL
    uint32_t n_ctx;                    // rows of a sample at most
    llmgpu_dataset_stats counted;      // one pass; zeros when the number of steps is given
    llmgpu_trainer *trainer;
    llmgpu_trainer_info info;
    struct train_names names;
    FILE *metrics;
    struct train_history history;

    uint64_t first, step, n_steps;         // done before, done, to be done
    uint64_t n_tokens;                     // in the rows of this run's steps
    double begin, shown, plotted;          // seconds
    double first_loss, loss;               // of the first and the last step of this run
    llmgpu_train_result result;            // of the last step
    double last_speed, speed;              // tokens a second, of that and smoothed
    double val_before, val_loss, val_best; // mean losses; negative: not known
    uint64_t best_step;
    uint64_t val_step; // of the last evaluation; UINT64_MAX: there was none
    uint32_t n_worse;  // evaluations since the best one
    bool interrupted, stopped;
};

/* ---- train_data.c */

/** Opens what is trained on, and what is validated with. CLI_OK, or reported. */
int train_open_data(struct train_run *run);
/** Reports a failure of a data set; CLI_FAILED. */
int train_fail_data(const llmgpu_dataset *data, int status);
/** Prints how samples are cut and masked. */
int train_dry_run(struct train_run *run, FILE *out);
/** Steps that the passes over the data take. */
uint64_t train_count_steps(const struct train_run *run);

/* ---- train_run.c */

/** Trains, from the engine with its model to the files. CLI_OK, CLI_INTERRUPTED, or reported. */
int train_all(struct train_run *run);

/* ---- train_show.c */

void train_history_add(struct train_history *history, double loss);
void train_history_add_val(struct train_history *history, uint64_t step, double loss);
/** The curve in `n` characters of a terminal; `out` has 3 * n + 1 bytes. */
void train_sparkline(const struct train_history *history, uint32_t n, char *out);
/** Shows how far it is: a bar at a terminal, otherwise a line now and then. `done`: for the last time. */
void train_show(struct train_run *run, bool done);
/** A line about an evaluation. */
void train_show_val(const struct train_run *run, bool best);
void train_print_json(const struct train_run *run, FILE *out);

/* ---- train_plot.c */

/** Writes the curve as SVG; the file is there as a whole or not at all. False, with errno, when it could not.
 */
bool train_plot(const struct train_run *run);

#endif
