/* SPDX-License-Identifier: MIT
 *
 * The loop: steps, evaluations, checkpoints. A checkpoint holds, beside what the trainer writes, the place in
 * the data and what the loop knows, so that a run that goes on is the run that would have been.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "json.h"
#include "training.h"

enum { MAX_PLACE = 1024 }; // bytes of a place in a data set

static int fail_trainer(const struct train_run *run, int status)
{
    return cli_fail_library(status, llmgpu_trainer_error(run->trainer));
}

/** Whether this process does what is done once: write files, and say how far it is. */
static bool is_first(const struct train_run *run)
{
    return run->processes.index == 0;
}

/** Whether a micro-batch, by its number, is for this process: they take them in turns. */
static bool is_own(const struct train_run *run, uint64_t number)
{
    return number % run->processes.n == run->processes.index;
}

/** What an end that all processes agreed to means here: being stopped is no failure. */
static int take_end(struct train_run *run)
{
    run->interrupted = run->processes.end == CLI_INTERRUPTED;
    return run->processes.end == CLI_FAILED ? CLI_FAILED : CLI_OK;
}

/* ---- what the loop knows, as bytes: numbers of 64 bits, the least significant byte first */

struct blob {
    uint8_t *bytes;
    size_t n, size;
    bool good;
};

enum { BLOB_SIZE = 32 << 10 };

#define BLOB_MAGIC UINT64_C(0x314e4941525447) // "GTRAIN1"

static void put_u64(struct blob *b, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        b->bytes[b->n++] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_u64(struct blob *b)
{
    uint64_t v = 0;
    b->good &= b->size - b->n >= 8;
    for (int i = 0; b->good && i < 8; i++)
        v |= (uint64_t)b->bytes[b->n++] << 8 * i;
    return v;
}

static void put_double(struct blob *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    put_u64(b, bits);
}

static double get_double(struct blob *b)
{
    uint64_t bits = get_u64(b);
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static void put_history(struct blob *b, const struct train_history *h)
{
    put_u64(b, h->n);
    put_u64(b, h->n_val);
    put_u64(b, h->stride);
    put_u64(b, h->n_last);
    for (uint32_t i = 0; i < h->n; i++)
        put_double(b, (double)h->losses[i]);
    for (uint32_t i = 0; i < h->n_val; i++) {
        put_u64(b, h->val_steps[i]);
        put_double(b, (double)h->val_losses[i]);
    }
}

static void get_history(struct blob *b, struct train_history *h)
{
    *h = (struct train_history){.n = (uint32_t)get_u64(b), .n_val = (uint32_t)get_u64(b)};
    h->stride = (uint32_t)get_u64(b);
    h->n_last = (uint32_t)get_u64(b);
    b->good &= h->n <= sizeof(h->losses) / sizeof(float) &&
               h->n_val < sizeof(h->val_losses) / sizeof(float) + 1 && h->n_last <= h->stride &&
               (h->n == 0 || h->stride > 0);
    for (uint32_t i = 0; b->good && i < h->n; i++)
        h->losses[i] = (float)get_double(b);
    for (uint32_t i = 0; b->good && i < h->n_val; i++) {
        h->val_steps[i] = get_u64(b);
        h->val_losses[i] = (float)get_double(b);
    }
}

static void put_state(struct blob *b, const struct train_run *run, const uint8_t *place, size_t size)
{
    put_u64(b, BLOB_MAGIC);
    put_u64(b, size);
    memcpy(b->bytes + b->n, place, size);
    b->n += size;
    put_double(b, run->val_before);
    put_double(b, run->val_loss);
    put_double(b, run->val_best);
    put_u64(b, run->best_step);
    put_u64(b, run->val_step);
    put_u64(b, run->n_worse);
    put_history(b, &run->history);
}

/** Where the place in the data is in them, or NULL when they are no such bytes. */
static const uint8_t *get_state(struct blob *b, struct train_run *run, size_t *size)
{
    b->good &= get_u64(b) == BLOB_MAGIC;
    *size = get_u64(b);
    b->good &= *size <= MAX_PLACE && *size <= b->size - b->n;
    if (!b->good)
        return NULL;
    const uint8_t *place = b->bytes + b->n;
    b->n += *size;
    run->val_before = get_double(b);
    run->val_loss = get_double(b);
    run->val_best = get_double(b);
    run->best_step = get_u64(b);
    run->val_step = get_u64(b);
    run->n_worse = (uint32_t)get_u64(b);
    get_history(b, &run->history);
    return b->good && b->n == b->size ? place : NULL;
}

/* ---- checkpoints */

static int save_checkpoint(struct train_run *run)
{
    uint8_t place[MAX_PLACE];
    size_t size;
    struct blob b = {.bytes = malloc(BLOB_SIZE), .good = true};
    if (!b.bytes)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a checkpoint");
    int rc = CLI_OK, status = llmgpu_dataset_save(run->data, place, sizeof(place), &size);
    if (status < 0)
        rc = train_fail_data(run->data, status);
    if (rc == CLI_OK) {
        put_state(&b, run, place, size);
        status = llmgpu_trainer_save_checkpoint(run->trainer, run->names.checkpoint, b.bytes, b.n);
        if (status < 0)
            rc = fail_trainer(run, status);
    }
    free(b.bytes);
    return rc;
}

static int load_checkpoint(struct train_run *run)
{
    struct blob b = {.bytes = malloc(BLOB_SIZE), .good = true};
    const uint8_t *place;
    size_t size;
    int rc = CLI_OK;
    if (!b.bytes)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a checkpoint");
    int status =
        llmgpu_trainer_load_checkpoint(run->trainer, run->names.checkpoint, b.bytes, BLOB_SIZE, &b.size);
    if (status < 0)
        rc = fail_trainer(run, status);
    else if (!(place = get_state(&b, run, &size)))
        rc = cli_fail(LLMGPU_E_FORMAT, "%s: it was not written by this command", run->names.checkpoint);
    else if ((status = llmgpu_dataset_restore(run->data, place, size)) < 0)
        rc = train_fail_data(run->data, status);
    free(b.bytes);
    if (rc == CLI_OK && (status = llmgpu_trainer_get_info(run->trainer, &run->info, sizeof(run->info))) < 0)
        rc = fail_trainer(run, status);
    if (rc == CLI_OK)
        run->first = run->step = run->info.step;
    return rc;
}

/* ---- metrics */

/** Takes the rows away that are of steps which are done again. */
static int trim_metrics(const struct train_run *run)
{
    struct cli_text old;
    FILE *out = NULL;
    if (access(run->v->metrics, F_OK) != 0)
        return CLI_OK;
    int rc = cli_read_text(run->v->metrics, &old);
    if (rc == CLI_OK && !(out = fopen(run->v->metrics, "wb")))
        rc = cli_fail(LLMGPU_E_IO, "%s: %s", run->v->metrics, strerror(errno));
    for (char *line = old.bytes, *end = line + old.len; rc == CLI_OK && line < end;) {
        static const char head[] = "{\"step\":";
        char *stop = memchr(line, '\n', (size_t)(end - line));
        bool whole =
            stop && (size_t)(stop - line) > sizeof(head) && memcmp(line, head, sizeof(head) - 1) == 0;
        if (whole && strtoull(line + sizeof(head) - 1, NULL, 10) <= run->step)
            fwrite(line, 1, (size_t)(stop - line) + 1, out);
        line = stop ? stop + 1 : end;
    }
    if (out && fclose(out) != 0 && rc == CLI_OK)
        rc = cli_fail(LLMGPU_E_IO, "%s: %s", run->v->metrics, strerror(errno));
    free(old.bytes);
    return rc;
}

static int open_metrics(struct train_run *run)
{
    const char *path = run->v->metrics;
    if (!path || !is_first(run))
        return CLI_OK;
    int rc = run->first > 0 ? trim_metrics(run) : CLI_OK;
    if (rc == CLI_OK && !(run->metrics = fopen(path, run->first > 0 ? "ab" : "wb")))
        rc = cli_fail(LLMGPU_E_IO, "%s: %s", path, strerror(errno));
    return rc;
}

/** The row of the last step, with the evaluation behind it where there was one. */
static int write_row(struct train_run *run)
{
    const llmgpu_train_result *result = &run->result;
    struct json j = {.out = run->metrics};
    if (!run->metrics)
        return CLI_OK;
    json_begin(&j, '{');
    json_key(&j, "step");
    json_uint(&j, run->step);
    json_key(&j, "loss");
    json_number(&j, result->loss);
    json_key(&j, "lr");
    json_number(&j, result->lr);
    json_key(&j, "grad_norm");
    json_number(&j, result->grad_norm);
    json_key(&j, "tokens_per_second");
    json_number(&j, run->last_speed);
    if (run->val_step == run->step) {
        json_key(&j, "val_loss");
        json_number(&j, run->val_loss);
    }
    json_end(&j, '}');
    fputc('\n', run->metrics);
    if (fflush(run->metrics) == 0)
        return CLI_OK;
    return cli_fail(LLMGPU_E_IO, "%s: %s", run->v->metrics, strerror(errno));
}

/* ---- evaluations */

/** The mean loss over the validation data, of which each process has a share. Being stopped is no failure. */
static int compute_val(struct train_run *run, double *loss)
{
    llmgpu_batch batch;
    double sums[2] = {0, 0}; // losses, targets
    uint64_t number = 0;
    int status = llmgpu_dataset_rewind(run->validation);
    while (status >= 0 && (status = llmgpu_dataset_next(run->validation, &batch, sizeof(batch))) > 0) {
        double part;
        if (!is_own(run, number++))
            continue;
        int done = llmgpu_trainer_evaluate(run->trainer, &batch, sizeof(batch), &part);
        run->interrupted = done == LLMGPU_E_CANCELLED;
        if (run->interrupted)
            return CLI_OK;
        if (done < 0)
            return fail_trainer(run, done);
        sums[0] += part;
        sums[1] += batch.n_targets;
    }
    if (status < 0)
        return train_fail_data(run->validation, status);
    if (cli_processes_sum(&run->processes, sums, 2) != CLI_OK)
        return take_end(run);
    *loss = sums[1] > 0 ? sums[0] / sums[1] : -1;
    return CLI_OK;
}

static bool val_due(const struct train_run *run)
{
    uint32_t every = run->v->eval_every;
    return run->validation && run->val_step != run->step &&
           (run->step == 0 || run->step == run->n_steps || (every && run->step % every == 0));
}

static int evaluate(struct train_run *run)
{
    double loss = -1;
    int rc = compute_val(run, &loss);
    if (rc != CLI_OK || run->interrupted)
        return rc;
    bool begins = run->val_step == UINT64_MAX, better = begins || loss < run->val_best;
    run->val_step = run->step;
    run->val_loss = loss;
    run->val_before = begins ? loss : run->val_before;
    run->n_worse = better ? 0 : run->n_worse + 1;
    train_history_add_val(&run->history, run->step, loss);
    if (better) {
        run->val_best = loss;
        run->best_step = run->step;
    }
    if (better && run->step > 0 && is_first(run)) {
        int status = llmgpu_trainer_save(run->trainer, run->names.best, LLMGPU_SAVE_GGUF);
        if (status < 0)
            return fail_trainer(run, status);
    }
    run->stopped = run->v->early_stop > 0 && run->n_worse >= run->v->early_stop;
    if (is_first(run))
        train_show_val(run, better && run->step > 0);
    return CLI_OK;
}

/* ---- steps */

static int add_batches(struct train_run *run)
{
    llmgpu_batch batch;
    for (uint32_t i = 0; i < run->accumulate; i++) {
        int status = llmgpu_dataset_next(run->data, &batch, sizeof(batch));
        if (status < 0)
            return train_fail_data(run->data, status);
        if (!is_own(run, i))
            continue;
        status = llmgpu_trainer_add(run->trainer, &batch, sizeof(batch));
        if (status < 0)
            return fail_trainer(run, status);
    }
    return CLI_OK;
}

static void show_step(struct train_run *run, double seconds)
{
    const llmgpu_train_result *result = &run->result;
    double now = cli_seconds();
    run->last_speed = seconds > 0 ? (double)result->n_rows / seconds : 0;
    run->speed = run->speed > 0 ? 0.9 * run->speed + 0.1 * run->last_speed : run->last_speed;
    run->first_loss = run->step == run->first + 1 ? result->loss : run->first_loss;
    run->loss = result->loss;
    run->n_tokens += result->n_rows;
    train_history_add(&run->history, result->loss);
    if (!is_first(run))
        return;
    train_show(run, run->step == run->n_steps);
    if (now - run->plotted > 5) {
        run->plotted = now;
        train_plot(run); // one that cannot be written now is told at the end
    }
}

/** One step. When it is stopped, all is as before it. */
static int do_step(struct train_run *run)
{
    uint8_t place[MAX_PLACE];
    size_t size;
    double begin = cli_seconds();
    int status = llmgpu_dataset_save(run->data, place, sizeof(place), &size);
    int rc = status < 0 ? train_fail_data(run->data, status) : add_batches(run);
    if (rc != CLI_OK)
        return rc;
    status = llmgpu_trainer_step(run->trainer, &run->result, sizeof(run->result));
    run->interrupted = status == LLMGPU_E_CANCELLED;
    if (run->processes.end != CLI_OK) // another process ended the run, and with it this step
        rc = take_end(run);
    else if (status < 0 && !run->interrupted)
        rc = fail_trainer(run, status);
    if (rc == CLI_OK && run->interrupted) {
        status = llmgpu_dataset_restore(run->data, place, size);
        return status < 0 ? train_fail_data(run->data, status) : CLI_OK;
    }
    if (rc != CLI_OK)
        return rc;
    run->step++;
    show_step(run, cli_seconds() - begin);
    return CLI_OK;
}

static int loop(struct train_run *run)
{
    uint32_t every = run->v->checkpoint_every;
    int rc = val_due(run) ? evaluate(run) : CLI_OK;
    while (rc == CLI_OK && !run->interrupted && !run->stopped && run->step < run->n_steps) {
        rc = do_step(run);
        if (rc != CLI_OK || run->interrupted)
            break;
        if (val_due(run))
            rc = evaluate(run);
        if (rc == CLI_OK)
            rc = write_row(run);
        if (rc == CLI_OK && !run->interrupted && every && run->step % every == 0 && is_first(run))
            rc = save_checkpoint(run);
    }
    return rc;
}

/** Has all processes end alike, when one of them is stopped or failed. */
static int settle(struct train_run *run, int rc)
{
    cli_processes_agree(&run->processes, rc == CLI_OK && run->interrupted ? CLI_INTERRUPTED : rc);
    return rc == CLI_OK ? take_end(run) : rc;
}

/* ---- the whole */

/** "a/b.gguf" with another ending. */
static char *rename_to(const char *path, const char *ending)
{
    size_t len = strlen(path), n = strlen(".gguf");
    if (len > n && strcmp(path + len - n, ".gguf") == 0)
        len -= n;
    char *name = malloc(len + strlen(ending) + 1);
    if (name) {
        memcpy(name, path, len);
        strcpy(name + len, ending);
    }
    return name;
}

static int make_names(struct train_run *run)
{
    run->names.checkpoint = rename_to(run->v->out, ".ckpt");
    run->names.best = rename_to(run->v->out, ".best.gguf");
    run->names.plot = rename_to(run->v->out, ".svg");
    if (run->names.checkpoint && run->names.best && run->names.plot)
        return CLI_OK;
    return cli_fail(LLMGPU_E_NOMEM, "no memory for the names of files");
}

static int make_trainer(struct train_run *run)
{
    llmgpu_trainer_params p = run->v->trainer;
    p.max_rows = run->n_ctx * run->v->n_batch;
    p.n_steps = run->n_steps;
    struct cli_processes *all = &run->processes;
    int status = llmgpu_trainer_create(&run->trainer, run->engine.model, &p);
    if (status < 0)
        return cli_fail_library(status, llmgpu_context_error(run->engine.ctx));
    if (all->n > 1)
        status = llmgpu_trainer_set_reduce(run->trainer, cli_processes_reduce, all, all->index, all->n);
    if (status < 0)
        return fail_trainer(run, status);
    status = llmgpu_trainer_get_info(run->trainer, &run->info, sizeof(run->info));
    return status < 0 ? fail_trainer(run, status) : CLI_OK;
}

static void tell_begin(const struct train_run *run)
{
    const llmgpu_trainer_info *info = &run->info;
    fprintf(stderr, "llmgpu: %llu parameters", (unsigned long long)info->n_params);
    if (info->rank > 0)
        fprintf(stderr, " of rank %u, alpha %g", info->rank, (double)info->alpha);
    fprintf(stderr, "; %.1f MB beside the model (planned: %.1f MB); %s %s\n",
            1e-6 * (double)info->device_bytes, 1e-6 * (double)info->estimated_bytes, run->engine.device.id,
            run->engine.device.name);
    if (run->counted.n_lines > 0)
        fprintf(stderr,
                "llmgpu: %llu samples of %llu lines, %llu rows, of which %llu count; %llu cut, %llu bad\n",
                (unsigned long long)run->counted.n_samples, (unsigned long long)run->counted.n_lines,
                (unsigned long long)run->counted.n_rows, (unsigned long long)run->counted.n_targets,
                (unsigned long long)run->counted.n_cut, (unsigned long long)run->counted.n_bad);
    if (run->processes.n > 1)
        fprintf(stderr, "llmgpu: %u processes, %u on this machine; %u micro-batches in each step\n",
                run->processes.n, run->processes.n_local, run->accumulate);
    fprintf(stderr, "llmgpu: steps %llu to %llu\n", (unsigned long long)run->first + 1,
            (unsigned long long)run->n_steps);
}

static int save_results(struct train_run *run)
{
    int status = llmgpu_trainer_save(run->trainer, run->v->out, LLMGPU_SAVE_GGUF);
    if (status >= 0 && run->v->peft)
        status = llmgpu_trainer_save(run->trainer, run->v->peft, LLMGPU_SAVE_PEFT);
    return status < 0 ? fail_trainer(run, status) : CLI_OK;
}

/** What is to be there when the loop has ended, well or by Ctrl-C. */
static int finish(struct train_run *run)
{
    int rc = CLI_OK;
    if (!is_first(run))
        return CLI_OK;
    if (run->interrupted || run->v->checkpoint_every > 0)
        rc = save_checkpoint(run);
    if (rc == CLI_OK && !run->interrupted)
        rc = save_results(run);
    if (rc == CLI_OK && run->history.n > 0 && !train_plot(run))
        rc = cli_fail(LLMGPU_E_IO, "%s: %s", run->names.plot, strerror(errno));
    if (rc == CLI_OK && run->interrupted)
        fprintf(stderr, "\nllmgpu: stopped after step %llu; --resume goes on from %s\n",
                (unsigned long long)run->step, run->names.checkpoint);
    return rc;
}

/** Whether all processes are about to do the same. */
static int compare(struct train_run *run)
{
    const uint64_t numbers[] = {
        run->first,         run->n_steps,       run->accumulate,        run->n_ctx,
        run->info.n_params, run->info.max_rows, run->counted.n_targets, run->v->trainer.seed,
        run->engine.info.n_params,
    };
    return cli_processes_compare(&run->processes, numbers, sizeof(numbers) / sizeof(*numbers));
}

int train_all(struct train_run *run)
{
    run->val_before = run->val_loss = run->val_best = run->first_loss = run->loss = -1;
    run->val_step = UINT64_MAX;
    int rc = make_names(run);
    if (rc == CLI_OK)
        rc = make_trainer(run);
    if (rc == CLI_OK && run->v->resume)
        rc = load_checkpoint(run);
    if (rc == CLI_OK)
        rc = open_metrics(run);
    if (rc == CLI_OK)
        rc = compare(run);
    if (rc != CLI_OK)
        return rc;
    if (is_first(run))
        tell_begin(run);
    run->begin = run->plotted = cli_seconds();
    cli_on_interrupt_train(run->trainer);
    rc = settle(run, loop(run));
    cli_on_interrupt(CLI_INTERRUPT_DEFAULT, NULL);
    if (rc == CLI_OK)
        rc = finish(run);
    if (rc == CLI_OK)
        rc = cli_engine_check(&run->engine);
    return rc == CLI_OK && run->interrupted ? CLI_INTERRUPTED : rc;
}
