/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "api/handles.h"
#include "api/params.h"
#include "util/clock.h"

enum {
    STEP_NS = 50000000, // of work, before others get their turn
    MAX_SHARE = 99,
};

/** A request to stop may come from a signal handler, which cannot wake anybody. */
#define LOOK_NS UINT64_C(20000000)

static const char gone[] =
    "the device of this trainer is gone, and with it what was learned since its last checkpoint";

static const llmgpu_trainer_params defaults = {
    .size = sizeof(llmgpu_trainer_params),
    .max_rows = 512,
    .rank = 16,
    .targets = LLMGPU_TRAIN_ALL,
    .checkpoint = 1,
    .lr = 2e-4f,
    .beta1 = 0.9f,
    .beta2 = 0.999f,
    .eps = 1e-8f,
    .momentum = 0.9f,
    .weight_decay = 0.01f,
    .clip = 1,
};

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_trainer_params, scratch)

int llmgpu_trainer_params_init(llmgpu_trainer_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- parameters ------------------------------------------------------------------------------------------------------- */

/** A number and where it may be: in [least, most], or with `open` below `most`. */
struct range {
    const char *name;
    double value, least, most;
    bool open;
};

static int check_ranges(struct lg_env *env, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct range *r = &ranges[i];
        if (!(r->value >= r->least) || !(r->open ? r->value < r->most : r->value <= r->most))
            return lg_fail(env, LLMGPU_E_INVALID, "%s is %g, not in %g .. %g", r->name, r->value, r->least, r->most);
    }
    return 0;
}

static int check_params(struct lg_env *env, const llmgpu_trainer_params *p)
{
    const struct range ranges[] = {
        {"max_rows", p->max_rows, 1, LG_TRAIN_MAX_ROWS, false},
        {"full", p->full, 0, 1, false},
        {"rank", p->rank, 1, LG_MAX_RANK, false},
        {"alpha", p->alpha, 0, 1e6, false},
        {"rslora", p->rslora, 0, 1, false},
        {"dropout", p->dropout, 0, 1, true},
        {"targets", p->targets, 0, LLMGPU_TRAIN_ALL, false},
        {"checkpoint", p->checkpoint, 0, 1, false},
        {"optimizer", p->optimizer, 0, LG_N_OPTIMIZERS - 1, false},
        {"lr", p->lr, 0, 1e6, false},
        {"lr_min", p->lr_min, 0, 1e6, false},
        {"schedule", p->schedule, 0, LG_N_SCHEDULES - 1, false},
        {"beta1", p->beta1, 0, 1, true},
        {"beta2", p->beta2, 0, 1, true},
        {"eps", p->eps, 0, 1, false},
        {"momentum", p->momentum, 0, 1, true},
        {"weight_decay", p->weight_decay, 0, 1e3, false},
        {"clip", p->clip, 0, 1e30, false},
    };
    LG_TRY(check_ranges(env, ranges, sizeof(ranges) / sizeof(ranges[0])));
    if (p->schedule != LLMGPU_SCHEDULE_CONSTANT && p->n_steps < p->warmup)
        return lg_fail(env, LLMGPU_E_INVALID, "%llu steps, of which %u are warm-up", (unsigned long long)p->n_steps, p->warmup);
    if (p->full && (p->init || p->dropout > 0))
        return lg_fail(env, LLMGPU_E_INVALID, "init and dropout are of adapters, and all weights are to be trained");
    return 0;
}

static struct lg_trainer_params params_of(const llmgpu_trainer_params *p)
{
    float alpha = p->alpha > 0 ? p->alpha : 2 * (float)p->rank;
    return (struct lg_trainer_params){
        .max_rows = p->max_rows,
        .whole = p->full,
        .shape = {.targets = p->targets,
                  .rank = p->rank,
                  .scale = alpha / (p->rslora ? sqrtf((float)p->rank) : (float)p->rank)},
        .init = p->init,
        .dropout = p->dropout,
        .checkpoint = p->checkpoint,
        .optimizer = (enum lg_optimizer)p->optimizer,
        .schedule = {.kind = (enum lg_schedule_kind)p->schedule,
                     .lr = p->lr,
                     .lr_min = p->lr_min,
                     .warmup = p->warmup,
                     .n_steps = p->n_steps},
        .beta1 = p->beta1,
        .beta2 = p->beta2,
        .eps = p->eps,
        .momentum = p->momentum,
        .weight_decay = p->weight_decay,
        .clip = p->clip,
        .seed = p->seed,
        .scratch = p->scratch,
    };
}

/* ---- who works on it --------------------------------------------------------------------------------------------------- */

static struct lg_scheduler *sched_of(const llmgpu_trainer *t)
{
    return &t->model->ctx->sched;
}

static llmgpu_trainer_info info_of(const struct lg_trainer *own)
{
    const struct lg_train_room *room = &own->room;
    struct lg_env quiet; // that there is none is told when it is saved
    float alpha = 0;
    lg_env_init(&quiet);
    if (!own->how.whole)
        (void)lg_train_params_alpha(&own->params, &quiet, &alpha);
    return (llmgpu_trainer_info){
        .n_params = own->params.n_params,
        .n_tensors = own->params.n_tensors,
        .rank = own->params.rank,
        .alpha = alpha,
        .max_rows = own->how.max_rows,
        .step = own->step,
        .device_bytes = own->device_bytes,
        .estimated_bytes = room->state + room->kept + room->scratch + room->rest,
        .state_bytes = room->state,
        .kept_bytes = room->kept,
        .rows = own->rows,
        .work_us = own->work_ns / 1000,
    };
}

/** What has changed of the facts. Needs the turn. */
static void note(llmgpu_trainer *t)
{
    struct lg_scheduler *sched = sched_of(t);
    if (!t->trainer)
        return;
    pthread_mutex_lock(&sched->lock);
    t->info.step = t->trainer->step;
    t->info.rows = t->trainer->rows;
    t->info.work_us = t->trainer->work_ns / 1000;
    pthread_mutex_unlock(&sched->lock);
}

/** Takes the turn to work on a trainer that has its device, and no step that others work on. */
static int enter(llmgpu_trainer *t)
{
    LG_TRY(lg_api_enter(t->model->ctx, &t->env));
    t->work_env.error[0] = '\0';
    int rc = 0;
    if (t->started != LG_STARTED_NONE)
        rc = lg_fail(&t->env, LLMGPU_E_INVALID,
                     "a step was started, and llmgpu_trainer_poll() has not told yet how it ended");
    else if (!t->trainer)
        rc = lg_fail(&t->env, LLMGPU_E_DEVICE_LOST, "%s", gone);
    return rc < 0 ? lg_api_leave(t->model->ctx, &t->env, rc) : 0;
}

static int leave(llmgpu_trainer *t, int rc)
{
    if (rc < 0 && !*t->env.error)
        memcpy(t->env.error, t->work_env.error, sizeof(t->env.error));
    note(t);
    return lg_api_leave(t->model->ctx, &t->env, rc);
}

/** Others work on a step no more, which has ended: 1 or a failure. Needs the turn. */
static void end_started(llmgpu_trainer *t, int status)
{
    struct lg_scheduler *sched = sched_of(t);
    const char *sentence = *t->work_env.error ? t->work_env.error : t->model->ctx->dev_env.error;
    pthread_mutex_lock(&sched->lock);
    t->started = LG_STARTED_ENDED;
    t->status = status;
    memcpy(t->sentence, sentence, sizeof(t->sentence));
    pthread_mutex_unlock(&sched->lock);
    lg_scheduler_remove_filler(sched, &t->filler);
}

/** Does a piece of a step that was started. */
static bool fill(struct lg_filler *filler, const struct lg_gap *gap)
{
    llmgpu_trainer *t = (llmgpu_trainer *)((char *)filler - offsetof(llmgpu_trainer, filler));
    if (!gap->first && !lg_trainer_fits(t->trainer, gap->left_ns, gap->budget_ns))
        return false;
    t->work_env.error[0] = '\0';
    int lost = t->model->ctx->dev->lost;
    int rc = lost ? lg_fail(&t->work_env, lost, "the device is lost until the context is recovered")
                  : lg_trainer_work(t->trainer, gap->left_ns, &t->result);
    filler->slice_ns = lg_trainer_longest(t->trainer);
    note(t);
    if (rc != 0)
        end_started(t, rc);
    return true;
}

static void cancel_started(struct lg_filler *filler)
{
    llmgpu_trainer *t = (llmgpu_trainer *)((char *)filler - offsetof(llmgpu_trainer, filler));
    atomic_store(&t->cancelled, 1);
}

/* ---- creating, freeing ------------------------------------------------------------------------------------------------ */

/** Needs the turn. */
static void join(llmgpu_trainer *t)
{
    t->next = t->model->trainers;
    t->link = &t->model->trainers;
    if (t->next)
        t->next->link = &t->next;
    *t->link = t;
}

/** Needs the turn. */
static void finish(llmgpu_trainer *t)
{
    lg_scheduler_remove_filler(&t->model->ctx->sched, &t->filler);
    lg_trainer_destroy(t->trainer);
    if (t->link) {
        *t->link = t->next;
        if (t->next)
            t->next->link = t->link;
    }
    lg_free(&t->model->ctx->env, t);
}

static void finish_later(struct lg_later *later)
{
    llmgpu_trainer *t = (llmgpu_trainer *)((char *)later - offsetof(llmgpu_trainer, later));
    llmgpu_model *model = t->model;
    finish(t);
    lg_api_model_unref(model);
}

void llmgpu_trainer_free(llmgpu_trainer *t)
{
    if (!t)
        return;
    llmgpu_model *model = t->model;
    t->later.run = finish_later;
    if (!lg_scheduler_now_or_later(&model->ctx->sched, &t->later))
        return;
    finish(t);
    lg_scheduler_give(&model->ctx->sched);
    lg_api_model_unref(model);
}

void lg_api_trainers_drop(llmgpu_model *model)
{
    for (llmgpu_trainer *t = model->trainers; t; t = t->next) {
        if (t->started == LG_STARTED_RUNS) {
            t->work_env.error[0] = '\0';
            end_started(t, lg_fail(&t->work_env, LLMGPU_E_DEVICE_LOST, "%s", gone));
        }
        lg_trainer_destroy(t->trainer);
        t->trainer = NULL;
    }
}

static int create(struct lg_env *env, llmgpu_model *model, const llmgpu_trainer_params *params, llmgpu_trainer **out)
{
    llmgpu_trainer_params p = defaults;
    if (params)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), PARAMS_LEAST, params));
    LG_TRY(check_params(env, &p));
    llmgpu_trainer *t = lg_alloc(env, sizeof(*t));
    if (!t)
        return lg_fail_nomem(env, "a trainer", sizeof(*t));
    t->model = model;
    lg_env_child(&t->env, &model->ctx->env);
    lg_env_child(&t->work_env, &model->ctx->env);
    t->filler.fill = fill;
    t->filler.cancel = cancel_started;
    lg_api_model_ref(model);
    struct lg_trainer_params how = params_of(&p);
    how.cancelled = &t->cancelled;
    int rc = lg_api_enter(model->ctx, &t->env);
    if (rc == 0) {
        rc = lg_trainer_create(&t->work_env, model->model, &how, &t->trainer);
        if (rc == 0) {
            t->info = info_of(t->trainer);
            join(t);
        }
        rc = leave(t, rc);
    }
    if (rc < 0) {
        memcpy(env->error, t->env.error, sizeof(env->error));
        llmgpu_trainer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

int llmgpu_trainer_create(llmgpu_trainer **out, llmgpu_model *model, const llmgpu_trainer_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &model->ctx->env);
    return lg_api_report(model->ctx, &env, create(&env, model, params, out));
}

const char *llmgpu_trainer_error(const llmgpu_trainer *t)
{
    return t ? t->env.error : "";
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static int batch_of(llmgpu_trainer *t, const llmgpu_batch *from, size_t size, struct lg_train_batch *to)
{
    t->env.error[0] = '\0';
    if (!from || size < LG_SIZE_TO(llmgpu_batch, samples) || !from->tokens || !from->targets || !from->positions ||
        !from->samples)
        return lg_fail(&t->env, LLMGPU_E_INVALID, "no whole micro-batch is given");
    *to = (struct lg_train_batch){
        .n_rows = from->n_rows,
        .max_rows = from->n_rows,
        .n_samples = from->n_samples,
        .n_targets = from->n_targets,
        .tokens = (int32_t *)from->tokens, // only read
        .targets = (int32_t *)from->targets,
        .pos = (uint32_t *)from->positions,
        .sample = (uint32_t *)from->samples,
    };
    return 0;
}

int llmgpu_trainer_add(llmgpu_trainer *t, const llmgpu_batch *batch, size_t size)
{
    struct lg_train_batch own;
    if (!t)
        return LLMGPU_E_INVALID;
    LG_TRY(batch_of(t, batch, size, &own));
    LG_TRY(enter(t));
    return leave(t, lg_trainer_add(t->trainer, &own));
}

static int tell_result(const struct lg_train_result *from, llmgpu_train_result *out, size_t size)
{
    llmgpu_train_result result = {
        .step = from->step,
        .loss = from->loss,
        .grad_norm = from->grad_norm,
        .lr = from->lr,
        .n_rows = from->n_rows,
        .n_targets = from->n_targets,
        .work_us = from->work_ns / 1000,
    };
    return out ? lg_api_info_out(out, size, &result, sizeof(result), LG_SIZE_TO(llmgpu_train_result, work_us)) : 0;
}

static int work(llmgpu_trainer *t, uint64_t budget_ns, llmgpu_train_result *out, size_t size)
{
    struct lg_train_result result;
    LG_TRY(enter(t));
    int rc = leave(t, lg_trainer_work(t->trainer, budget_ns, &result));
    if (rc == 1)
        LG_TRY(tell_result(&result, out, size));
    return rc;
}

int llmgpu_trainer_step(llmgpu_trainer *t, llmgpu_train_result *out, size_t size)
{
    int rc = 0;
    if (!t)
        return LLMGPU_E_INVALID;
    while (rc == 0)
        rc = work(t, STEP_NS, out, size);
    return rc < 0 ? rc : 0;
}

int llmgpu_trainer_step_some(llmgpu_trainer *t, uint32_t budget_us, llmgpu_train_result *out, size_t size)
{
    return t ? work(t, (uint64_t)budget_us * 1000, out, size) : LLMGPU_E_INVALID;
}

int llmgpu_trainer_evaluate(llmgpu_trainer *t, const llmgpu_batch *batch, size_t size, double *loss)
{
    struct lg_train_batch own;
    int rc = 0;
    if (!t || !loss)
        return LLMGPU_E_INVALID;
    LG_TRY(batch_of(t, batch, size, &own));
    while (rc == 0) {
        LG_TRY(enter(t));
        rc = leave(t, lg_trainer_evaluate(t->trainer, &own, STEP_NS, loss));
    }
    return rc < 0 ? rc : 0;
}

void llmgpu_trainer_cancel(llmgpu_trainer *t)
{
    if (t)
        atomic_store(&t->cancelled, 1);
}

int llmgpu_trainer_set_reduce(llmgpu_trainer *t, llmgpu_reduce_fn reduce, void *user, uint32_t process, uint32_t n_processes)
{
    if (!t)
        return LLMGPU_E_INVALID;
    LG_TRY(enter(t));
    if (process >= n_processes)
        return leave(t, lg_fail(&t->env, LLMGPU_E_INVALID, "there is no process %u of %u", process, n_processes));
    if (t->trainer->run.active)
        return leave(t, lg_fail(&t->env, LLMGPU_E_INVALID, "a step is under way"));
    t->trainer->reduce = reduce;
    t->trainer->reduce_user = user;
    t->trainer->process = process;
    t->trainer->n_processes = n_processes;
    return leave(t, 0);
}

/* ---- steps that whoever works on the context does --------------------------------------------------------------------- */

int llmgpu_trainer_start(llmgpu_trainer *t, uint32_t share)
{
    if (!t)
        return LLMGPU_E_INVALID;
    t->env.error[0] = '\0';
    if (share > MAX_SHARE)
        return lg_fail(&t->env, LLMGPU_E_INVALID, "a share is 0 to %d percent, this is %u", MAX_SHARE, share);
    LG_TRY(enter(t));
    int rc = lg_trainer_refine(t->trainer);
    if (rc == 0) {
        pthread_mutex_lock(&sched_of(t)->lock);
        t->started = LG_STARTED_RUNS;
        pthread_mutex_unlock(&sched_of(t)->lock);
        t->filler.share = share;
        lg_scheduler_add_filler(sched_of(t), &t->filler);
    }
    return leave(t, rc);
}

int llmgpu_trainer_stop(llmgpu_trainer *t)
{
    if (!t)
        return LLMGPU_E_INVALID;
    struct lg_scheduler *sched = sched_of(t);
    t->env.error[0] = '\0';
    if (lg_turn_take(&sched->turn, UINT64_MAX) < 0)
        return lg_fail(&t->env, LLMGPU_E_BUSY, "called from within a callback");
    lg_scheduler_remove_filler(sched, &t->filler);
    pthread_mutex_lock(&sched->lock);
    if (t->started == LG_STARTED_RUNS)
        t->started = LG_STARTED_NONE;
    pthread_mutex_unlock(&sched->lock);
    lg_scheduler_give(sched);
    return 0;
}

/** Has a step that is to end, but on which nobody works, end. */
static int settle(llmgpu_trainer *t)
{
    const struct lg_gap gap = {.left_ns = 1, .budget_ns = 1, .first = true};
    struct lg_scheduler *sched = sched_of(t);
    pthread_mutex_lock(&sched->lock);
    bool ends = t->started == LG_STARTED_RUNS && (atomic_load(&t->cancelled) || sched->dev->lost);
    pthread_mutex_unlock(&sched->lock);
    if (!ends)
        return 0;
    if (lg_turn_take(&sched->turn, UINT64_MAX) < 0)
        return lg_fail(&t->env, LLMGPU_E_BUSY, "called from within a callback");
    if (t->started == LG_STARTED_RUNS)
        fill(&t->filler, &gap);
    lg_scheduler_give(sched);
    return 0;
}

int llmgpu_trainer_poll(llmgpu_trainer *t, llmgpu_train_result *out, size_t size)
{
    if (!t)
        return LLMGPU_E_INVALID;
    t->env.error[0] = '\0';
    LG_TRY(settle(t));
    pthread_mutex_lock(&sched_of(t)->lock);
    enum lg_started started = t->started;
    if (started == LG_STARTED_ENDED) {
        t->started = LG_STARTED_NONE;
        if (t->status < 0)
            memcpy(t->env.error, t->sentence, sizeof(t->sentence));
    }
    pthread_mutex_unlock(&sched_of(t)->lock);
    if (started == LG_STARTED_NONE)
        return lg_fail(&t->env, LLMGPU_E_INVALID, "no step was started");
    if (started == LG_STARTED_RUNS)
        return 0;
    if (t->status == 1)
        LG_TRY(tell_result(&t->result, out, size));
    return t->status;
}

static int wait_for(llmgpu_trainer *t, uint64_t until_ns)
{
    struct lg_scheduler *sched = sched_of(t);
    for (;;) {
        uint64_t now = lg_now_ns(), next = now + LOOK_NS < until_ns ? now + LOOK_NS : until_ns;
        pthread_mutex_lock(&sched->lock);
        enum lg_started started = t->started;
        pthread_mutex_unlock(&sched->lock);
        if (started != LG_STARTED_RUNS)
            return started == LG_STARTED_ENDED ? 0 : LLMGPU_E_INVALID;
        if (now >= until_ns)
            return LLMGPU_E_TIMEOUT;
        int rc = lg_scheduler_work(sched, &next);
        LG_TRY(rc);
        if (rc > 0)
            continue;
        pthread_mutex_lock(&sched->lock);
        if (t->started == LG_STARTED_RUNS)
            lg_cond_wait(&sched->changed, &sched->lock, next);
        pthread_mutex_unlock(&sched->lock);
    }
}

int llmgpu_trainer_wait(llmgpu_trainer *t, uint64_t timeout_us)
{
    if (!t)
        return LLMGPU_E_INVALID;
    uint64_t now = lg_now_ns();
    t->env.error[0] = '\0';
    int rc = wait_for(t, timeout_us < (UINT64_MAX - now) / 1000 ? now + timeout_us * 1000 : UINT64_MAX);
    switch (rc) {
    case LLMGPU_E_INVALID: return lg_fail(&t->env, rc, "no step was started");
    case LLMGPU_E_TIMEOUT: return lg_fail(&t->env, rc, "the step was not done in the time given");
    case LLMGPU_E_BUSY: return lg_fail(&t->env, rc, "called from within a callback");
    default: return rc;
    }
}

/* ---- what was learned ------------------------------------------------------------------------------------------------- */

int llmgpu_trainer_save(llmgpu_trainer *t, const char *path, int32_t format)
{
    if (!t)
        return LLMGPU_E_INVALID;
    t->env.error[0] = '\0';
    if (!path)
        return lg_fail(&t->env, LLMGPU_E_INVALID, "no path is given");
    if (format != LLMGPU_SAVE_GGUF && format != LLMGPU_SAVE_PEFT)
        return lg_fail(&t->env, LLMGPU_E_INVALID, "there is no format %d", format);
    LG_TRY(enter(t));
    return leave(t, lg_trainer_export(t->trainer, path, format == LLMGPU_SAVE_PEFT));
}

int llmgpu_trainer_save_checkpoint(llmgpu_trainer *t, const char *path, const void *extra, size_t n_extra)
{
    if (!t)
        return LLMGPU_E_INVALID;
    t->env.error[0] = '\0';
    if (!path || (!extra && n_extra))
        return lg_fail(&t->env, LLMGPU_E_INVALID, "no path is given, or no bytes where there should be some");
    LG_TRY(enter(t));
    return leave(t, lg_trainer_save(t->trainer, path, extra, n_extra));
}

int llmgpu_trainer_load_checkpoint(llmgpu_trainer *t, const char *path, void *extra, size_t capacity, size_t *n_extra)
{
    size_t n = 0;
    if (!t)
        return LLMGPU_E_INVALID;
    t->env.error[0] = '\0';
    if (!path || (!extra && capacity))
        return lg_fail(&t->env, LLMGPU_E_INVALID, "no path is given, or no room where there should be some");
    LG_TRY(enter(t));
    int rc = leave(t, lg_trainer_load(t->trainer, path, extra, capacity, &n));
    if (n_extra)
        *n_extra = n;
    return rc;
}

/** The tensor of an index; NULL when there is none, or no trainer. Needs the turn, with which a device is
 * given up. */
static const struct lg_train_tensor *tensor_of(const llmgpu_trainer *t, uint32_t index)
{
    const struct lg_trainer *own = t ? t->trainer : NULL;
    return own && index < own->params.n_tensors ? &own->params.tensors[index] : NULL;
}

int llmgpu_trainer_get_tensor(const llmgpu_trainer *t, uint32_t index, llmgpu_train_tensor *out, size_t size)
{
    if (!t)
        return LLMGPU_E_INVALID;
    struct lg_scheduler *sched = sched_of(t);
    LG_TRY(lg_turn_take(&sched->turn, UINT64_MAX));
    const struct lg_train_tensor *tensor = tensor_of(t, index);
    llmgpu_train_tensor info = {0};
    if (tensor) {
        info = (llmgpu_train_tensor){.rows = tensor->rows, .cols = tensor->cols};
        memcpy(info.name, tensor->name, sizeof(info.name));
    }
    lg_scheduler_give(sched);
    if (!tensor)
        return LLMGPU_E_INVALID;
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_train_tensor, cols));
}

static int read_tensor(llmgpu_trainer *t, uint32_t index, int32_t what, float *values)
{
    const struct lg_train_tensor *tensor = &t->trainer->params.tensors[index];
    if (what == LLMGPU_TRAIN_VALUE)
        return lg_trainer_read(t->trainer, index, values);
    if (!t->trainer->gradients)
        return lg_fail(&t->env, LLMGPU_E_INVALID, "gradients are not kept");
    memcpy(values, t->trainer->gradients + tensor->at, (size_t)tensor->rows * tensor->cols * sizeof(*values));
    return 0;
}

int llmgpu_trainer_read_tensor(llmgpu_trainer *t, uint32_t index, int32_t what, float *values, size_t capacity)
{
    if (!t)
        return LLMGPU_E_INVALID;
    LG_TRY(enter(t));
    const struct lg_train_tensor *tensor = tensor_of(t, index);
    int rc = 0;
    if (!tensor || !values || what < LLMGPU_TRAIN_VALUE || what > LLMGPU_TRAIN_GRADIENT)
        rc = lg_fail(&t->env, LLMGPU_E_INVALID, "there is no tensor %u, or nothing to read it to", index);
    else if (capacity < (size_t)tensor->rows * tensor->cols)
        rc = lg_fail(&t->env, LLMGPU_E_RANGE, "tensor '%s' has %u * %u numbers, and there is room for %zu", tensor->name,
                     tensor->rows, tensor->cols, capacity);
    return leave(t, rc < 0 ? rc : read_tensor(t, index, what, values));
}

int llmgpu_trainer_keep_gradients(llmgpu_trainer *t, int32_t keep)
{
    if (!t)
        return LLMGPU_E_INVALID;
    LG_TRY(enter(t));
    return leave(t, lg_trainer_keep_gradients(t->trainer, keep != 0));
}

int llmgpu_trainer_get_info(const llmgpu_trainer *t, llmgpu_trainer_info *out, size_t size)
{
    if (!t)
        return LLMGPU_E_INVALID;
    struct lg_scheduler *sched = sched_of(t);
    pthread_mutex_lock(&sched->lock);
    llmgpu_trainer_info info = t->info;
    pthread_mutex_unlock(&sched->lock);
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_trainer_info, work_us));
}
