/* SPDX-License-Identifier: MIT
 *
 * Trainers on the bundled model, through the public API, on the device that the first argument names: what is learned depends on
 * nothing but parameters, seed and micro-batches, and goes on bit for bit from a checkpoint. Gradients are held against PyTorch
 * by train_oracle.c.
 */
#define LLMGPU_EXPERIMENTAL
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/schedule.h"
#include "trainers.h"

enum { N_STEPS = 4 };

/* ---- rates ---------------------------------------------------------------------------------------------------------- */

static void test_schedule(void)
{
    struct lg_schedule s = {.kind = LG_SCHEDULE_COSINE, .lr = 0.002, .warmup = 5, .n_steps = 50};
    const double wanted[][2] = {{0, 0.0004}, {4, 0.002},  {5, 0.002}, {6, 0.0019975640502598244},
                                {20, 0.0015}, {49, 2.4359497401758024e-06}, {50, 0}, {1000, 0}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        REQUIRE(fabs(lg_schedule_rate(&s, (uint64_t)wanted[i][0]) - wanted[i][1]) < 1e-15);
    s.kind = LG_SCHEDULE_LINEAR;
    s.lr_min = 0.001;
    REQUIRE(fabs(lg_schedule_rate(&s, 5) - 0.002) < 1e-15);
    REQUIRE(fabs(lg_schedule_rate(&s, 14) - 0.0018) < 1e-15);
    REQUIRE(fabs(lg_schedule_rate(&s, 50) - 0.001) < 1e-15);
    s.kind = LG_SCHEDULE_CONSTANT;
    REQUIRE(lg_schedule_rate(&s, 1) == 0.0008 && lg_schedule_rate(&s, 1u << 31) == 0.002);
}

/* ---- learning -------------------------------------------------------------------------------------------------------- */

static double evaluate(llmgpu_trainer *trainer, const struct batch *b)
{
    double loss;
    int rc = llmgpu_trainer_evaluate(trainer, &b->b, sizeof(b->b), &loss);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_trainer_error(trainer));
    REQUIRE_INT(rc, ==, 0);
    return loss;
}

static const char *temp_path(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "train-%s-%d.tmp", name, (int)getpid());
    return path;
}

/** What a session with the adapter that was saved says of the targets. */
static double score_with(const struct tavern *t, const char *path, const struct batch *b)
{
    llmgpu_lora *lora;
    llmgpu_session *session;
    float scores[MAX_ROWS];
    int32_t tokens[MAX_ROWS + 1];
    double sum = 0;
    REQUIRE_INT(llmgpu_lora_load(&lora, t->model, path), ==, 0);
    REQUIRE_INT(llmgpu_session_create(&session, t->model, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_set_lora(session, lora, 1), ==, 0);
    REQUIRE_INT(b->b.n_samples, ==, 1);
    memcpy(tokens, b->tokens, b->b.n_rows * sizeof(*tokens));
    tokens[b->b.n_rows] = b->targets[b->b.n_rows - 1];
    REQUIRE(llmgpu_session_score(session, tokens, b->b.n_rows + 1, scores, NULL) >= 0);
    for (uint32_t i = 0; i < b->b.n_rows; i++)
        sum -= b->targets[i] < 0 ? 0 : scores[i];
    llmgpu_session_free(session);
    llmgpu_lora_free(lora);
    return sum;
}

/** The same numbers come back from PEFT's files. */
static void check_peft(llmgpu_trainer *trainer, const llmgpu_trainer_params *like, const struct tavern *t, const struct batch *b,
                       double loss)
{
    llmgpu_trainer_params p = *like;
    char folder[256], file[300];
    snprintf(folder, sizeof(folder), "%s", temp_path("peft"));
    REQUIRE_INT(llmgpu_trainer_save(trainer, folder, LLMGPU_SAVE_PEFT), ==, 0);
    p.init = folder;
    llmgpu_trainer *again = make(t, &p);
    REQUIRE(evaluate(again, b) == loss);
    llmgpu_trainer_free(again);
    const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof(file), "%s/%s", folder, names[i]);
        REQUIRE_INT(unlink(file), ==, 0);
    }
    REQUIRE_INT(rmdir(folder), ==, 0);
}

/** Three quarters of the loss are learned away, and the file says what the trainer says. */
static void test_learns(const struct tavern *t, int32_t optimizer)
{
    llmgpu_trainer_params p = plain();
    p.optimizer = optimizer;
    p.lr = optimizer == LLMGPU_OPTIMIZER_SGD ? 0.2f : 0.01f;
    p.schedule = LLMGPU_SCHEDULE_CONSTANT;
    llmgpu_trainer *trainer = make(t, &p);
    struct batch *b = batch_of(t, 0, 1);
    double before = evaluate(trainer, b), first = 0;
    for (int i = 0; i < 12; i++) {
        llmgpu_train_result r;
        add(trainer, b);
        REQUIRE_INT(llmgpu_trainer_step(trainer, &r, sizeof(r)), ==, 0);
        first = i == 0 ? r.loss : first;
    }
    double after = evaluate(trainer, b);
    printf("optimizer %d: loss %.3f to %.3f\n", optimizer, before, after);
    REQUIRE(fabs(before / b->b.n_targets - first) < 1e-5);
    REQUIRE(after < 0.25 * before);
    const char *path = temp_path("adapter");
    REQUIRE_INT(llmgpu_trainer_save(trainer, path, LLMGPU_SAVE_GGUF), ==, 0);
    double scored = score_with(t, path, b);
    printf("of the file %.5f, of the trainer %.5f\n", scored, after);
    REQUIRE(fabs(scored - after) < 0.02 * after + 0.05);
    // And it is what one can go on with.
    p.init = path;
    llmgpu_trainer *again = make(t, &p);
    REQUIRE(evaluate(again, b) == after);
    llmgpu_trainer_free(again);
    unlink(path);
    check_peft(trainer, &p, t, b, after);
    llmgpu_trainer_free(trainer);
    free(b);
}

/** Samples that share a micro-batch do not see each other, and a step's micro-batches are as one. */
static void test_batches(const struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    static float one[MAX_PARAMS], two[MAX_PARAMS];
    p.max_rows = 2 * MAX_ROWS; // rows that are not there change nothing
    llmgpu_trainer *a = make(t, &p);
    p.max_rows = MAX_ROWS;
    p.scratch = 1;
    llmgpu_trainer *b = make(t, &p);
    struct batch *both = calloc(1, sizeof(*both)), *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));
    REQUIRE(both && first && second);
    add_text(t, both, "The smith of Oakford.");
    add_text(t, both, "A blade for the road, and a song.");
    add_text(t, first, "The smith of Oakford.");
    add_text(t, second, "A blade for the road, and a song.");
    REQUIRE(fabs(evaluate(a, both) - evaluate(b, both)) < 1e-5); // the vocabulary goes by in other parts
    REQUIRE(fabs(evaluate(a, both) - evaluate(a, first) - evaluate(a, second)) < 1e-9);
    REQUIRE_INT(llmgpu_trainer_keep_gradients(a, 1), ==, 0);
    REQUIRE_INT(llmgpu_trainer_keep_gradients(b, 1), ==, 0);
    llmgpu_train_result r, s;
    add(a, both);
    REQUIRE_INT(llmgpu_trainer_step(a, &r, sizeof(r)), ==, 0);
    add(b, first);
    add(b, second);
    REQUIRE_INT(llmgpu_trainer_step(b, &s, sizeof(s)), ==, 0);
    REQUIRE_INT(r.n_targets, ==, s.n_targets);
    REQUIRE(fabs(r.loss - s.loss) < 1e-6);
    size_t n = read_all(a, LLMGPU_TRAIN_GRADIENT, one);
    REQUIRE_INT(read_all(b, LLMGPU_TRAIN_GRADIENT, two), ==, n);
    float largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(one[i]));
    REQUIRE(largest > 0);
    for (size_t i = 0; i < n; i++)
        REQUIRE(fabsf(one[i] - two[i]) <= 1e-5f * largest);
    llmgpu_trainer_free(a);
    llmgpu_trainer_free(b);
    free(both);
    free(first);
    free(second);
}

/** As many processes as one that each counts for two: powers of two, so all is the same. */
static int twice(void *user, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] *= 2;
    ++*(int *)user;
    return 0;
}

static int refuse(void *user, float *values, size_t n)
{
    (void)user;
    (void)values;
    (void)n;
    return 1;
}

static void test_reduce(const struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    struct outcome alone = run_alone(t, &p, 2);
    llmgpu_trainer *trainer = make(t, &p);
    struct batch *b = batch_of(t, 0, 1);
    int calls = 0;
    REQUIRE_INT(llmgpu_trainer_set_reduce(trainer, refuse, NULL, 0, 2), ==, 0);
    add(trainer, b);
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_trainer_set_reduce(trainer, twice, &calls, 0, 2), ==, 0);
    for (int i = 0; i < 2; i++) {
        llmgpu_train_result r;
        struct batch *own = batch_of(t, (uint32_t)i, 1);
        add(trainer, own);
        REQUIRE_INT(llmgpu_trainer_step(trainer, &r, sizeof(r)), ==, 0);
        REQUIRE_INT(r.n_targets, ==, 2 * own->b.n_targets);
        REQUIRE(fabs(r.loss - alone.losses[i]) < 1e-6);
        free(own);
    }
    REQUIRE_INT(calls, ==, 4);
    require_same(trainer, &alone);
    llmgpu_trainer_free(trainer);
    free(alone.values);
    free(b);
}

/** What another process has, for one whose turn comes later. */
struct other {
    float counts[3]; // of both: targets, rows, micro-batches
    bool keeps;      // this is the other one: it ends when it has told its sums
    float sums[MAX_PARAMS + 1];
};

static int exchange(void *user, float *values, size_t n)
{
    struct other *o = user;
    REQUIRE(n == 3 || n <= MAX_PARAMS + 1);
    if (n == 3) {
        memcpy(values, o->counts, sizeof(o->counts));
        return 0;
    }
    for (size_t i = 0; i < n && o->keeps; i++)
        o->sums[i] = values[i];
    for (size_t i = 0; i < n && !o->keeps; i++)
        values[i] += o->sums[i];
    return o->keeps;
}

/** Two processes that take four micro-batches in turns do what one does, dropout included. */
static void test_processes(const struct tavern *t)
{
    enum { N = 4 };
    static float one[MAX_PARAMS], two[MAX_PARAMS];
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *alone, *parts[2];
    llmgpu_train_result r, s;
    struct other *other = calloc(1, sizeof(*other));
    struct batch *b[N];
    p.dropout = 0.3f;
    alone = make(t, &p);
    REQUIRE(other);
    for (int i = 0; i < 2; i++) {
        parts[i] = make(t, &p);
        REQUIRE_INT(llmgpu_trainer_set_reduce(parts[i], exchange, other, (uint32_t)i, 2), ==, 0);
        REQUIRE_INT(llmgpu_trainer_set_reduce(parts[i], exchange, other, 2, 2), ==, LLMGPU_E_INVALID);
    }
    for (uint32_t i = 0; i < N; i++) {
        b[i] = batch_of(t, i, 1);
        add(alone, b[i]);
        add(parts[i % 2], b[i]);
        other->counts[0] += (float)b[i]->b.n_targets;
        other->counts[1] += (float)b[i]->b.n_rows;
        other->counts[2] += 1;
    }
    REQUIRE_INT(llmgpu_trainer_keep_gradients(alone, 1), ==, 0);
    REQUIRE_INT(llmgpu_trainer_keep_gradients(parts[0], 1), ==, 0);
    REQUIRE_INT(llmgpu_trainer_step(alone, &r, sizeof(r)), ==, 0);
    other->keeps = true;
    REQUIRE_INT(llmgpu_trainer_step(parts[1], NULL, 0), ==, LLMGPU_E_IO);
    other->keeps = false;
    REQUIRE_INT(llmgpu_trainer_step(parts[0], &s, sizeof(s)), ==, 0);
    REQUIRE_INT(r.n_targets, ==, s.n_targets);
    REQUIRE_INT(r.n_rows, ==, s.n_rows);
    REQUIRE(fabs(r.loss - s.loss) < 1e-6);
    size_t n = read_all(alone, LLMGPU_TRAIN_GRADIENT, one);
    REQUIRE_INT(read_all(parts[0], LLMGPU_TRAIN_GRADIENT, two), ==, n);
    float largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(one[i]));
    for (size_t i = 0; i < n; i++)
        REQUIRE(fabsf(one[i] - two[i]) <= 1e-5f * largest);
    for (uint32_t i = 0; i < N; i++)
        free(b[i]);
    for (int i = 0; i < 2; i++)
        llmgpu_trainer_free(parts[i]);
    llmgpu_trainer_free(alone);
    free(other);
}

/* ---- together ---------------------------------------------------------------------------------------------------------- */

/** Three trainers in turns, in pieces, while a session answers: each is as alone. */
static void test_together(const struct tavern *t)
{
    enum { N = 3 };
    llmgpu_trainer_params p[N] = {plain(), plain(), plain()};
    struct outcome alone[N];
    llmgpu_trainer *trainers[N];
    llmgpu_session *session;
    int32_t wanted[8], token;
    p[1].rank = 7;
    p[1].dropout = 0.25f;
    p[1].checkpoint = 0;
    p[2].optimizer = LLMGPU_OPTIMIZER_ADAMW8;
    p[2].targets = LLMGPU_TRAIN_Q | LLMGPU_TRAIN_V;
    for (int i = 0; i < N; i++)
        alone[i] = run_alone(t, &p[i], N_STEPS);
    for (int round = 0; round < 2; round++) {
        REQUIRE_INT(llmgpu_session_create(&session, t->model, NULL), ==, 0);
        REQUIRE_INT(llmgpu_session_feed_text(session, tavern_question, strlen(tavern_question), LLMGPU_TOKENIZE_PARSE_SPECIAL), ==,
                    0);
        for (int i = 0; i < N && round == 1; i++)
            trainers[i] = make(t, &p[i]);
        uint32_t n_tokens = 0, done[N] = {0};
        bool begun[N] = {false};
        for (bool more = true; more;) {
            more = false;
            for (int i = 0; i < N && round == 1; i++) {
                llmgpu_train_result r;
                if (done[i] == N_STEPS)
                    continue;
                if (!begun[i]) {
                    struct batch *b = batch_of(t, done[i], 1);
                    add(trainers[i], b);
                    free(b);
                    begun[i] = true;
                }
                int rc = llmgpu_trainer_step_some(trainers[i], 1, &r, sizeof(r));
                REQUIRE(rc >= 0);
                if (rc == 1) {
                    REQUIRE(r.loss == alone[i].losses[done[i]]);
                    done[i]++;
                    begun[i] = false;
                }
                more = true;
            }
            if (n_tokens < 8) {
                REQUIRE_INT(tavern_next(session, &token), ==, LLMGPU_TOKEN);
                REQUIRE(round == 0 || token == wanted[n_tokens]);
                wanted[n_tokens++] = token;
                more = true;
            }
        }
        llmgpu_session_free(session);
    }
    for (int i = 0; i < N; i++) {
        require_same(trainers[i], &alone[i]);
        llmgpu_trainer_free(trainers[i]);
        free(alone[i].values);
    }
}

static void test_cancel(const struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    struct outcome alone = run_alone(t, &p, 2);
    llmgpu_trainer *trainer = make(t, &p);
    struct batch *b = batch_of(t, 0, 1);
    double loss;
    llmgpu_trainer_cancel(trainer);
    add(trainer, b);
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_CANCELLED);
    llmgpu_trainer_cancel(trainer);
    REQUIRE_INT(llmgpu_trainer_evaluate(trainer, &b->b, sizeof(b->b), &loss), ==, LLMGPU_E_CANCELLED);
    add(trainer, b); // in the middle, where gradients are there already
    for (int i = 0; i < 12; i++)
        REQUIRE_INT(llmgpu_trainer_step_some(trainer, 1, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_trainer_add(trainer, &b->b, sizeof(b->b)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_evaluate(trainer, &b->b, sizeof(b->b), &loss), ==, LLMGPU_E_INVALID);
    llmgpu_trainer_cancel(trainer);
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_CANCELLED);
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_INVALID); // its micro-batch is forgotten
    for (uint32_t i = 0; i < 2; i++)
        REQUIRE(step(t, trainer, i).loss == alone.losses[i]);
    require_same(trainer, &alone);
    llmgpu_trainer_free(trainer);
    free(alone.values);
    free(b);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------------ */

static void test_resume(const struct tavern *t, int32_t optimizer)
{
    llmgpu_trainer_params p = plain();
    char extra[16];
    size_t n_extra;
    p.optimizer = optimizer;
    p.dropout = 0.1f;
    struct outcome alone = run_alone(t, &p, N_STEPS);
    llmgpu_trainer *first = make(t, &p);
    const char *path = temp_path("checkpoint");
    for (uint32_t i = 0; i < N_STEPS / 2; i++)
        step(t, first, i);
    REQUIRE_INT(llmgpu_trainer_save_checkpoint(first, path, "place", 6), ==, 0);
    step(t, first, N_STEPS / 2);
    llmgpu_trainer *second = make(t, &p);
    step(t, second, 0); // what it has learned is forgotten
    REQUIRE_INT(llmgpu_trainer_load_checkpoint(second, path, extra, 2, &n_extra), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(n_extra, ==, 6);
    llmgpu_trainer *both[] = {first, second};
    for (int k = 0; k < 2; k++) {
        REQUIRE_INT(llmgpu_trainer_load_checkpoint(both[k], path, extra, sizeof(extra), &n_extra), ==, 0);
        REQUIRE(n_extra == 6 && strcmp(extra, "place") == 0);
        for (uint32_t i = N_STEPS / 2; i < N_STEPS; i++)
            REQUIRE(step(t, both[k], i).loss == alone.losses[i]);
        require_same(both[k], &alone);
        llmgpu_trainer_free(both[k]);
    }
    unlink(path);
    free(alone.values);
}

/** Any byte that is wrong, and any that is missing, is found before anything is changed. */
static void test_damaged(const struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *trainer = make(t, &p);
    struct outcome now = outcome_of(trainer);
    char path[256];
    snprintf(path, sizeof(path), "%s", temp_path("damaged"));
    step(t, trainer, 0);
    REQUIRE_INT(llmgpu_trainer_save_checkpoint(trainer, path, NULL, 0), ==, 0);
    llmgpu_trainer *other = make(t, &p);
    FILE *file = fopen(path, "r+b");
    REQUIRE(file);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    const long places[] = {0, 9, 50, 200, size / 2, size - 1};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        fseek(file, places[i], SEEK_SET);
        int c = fgetc(file);
        fseek(file, places[i], SEEK_SET);
        fputc(c ^ 4, file);
        fflush(file);
        REQUIRE_INT(llmgpu_trainer_load_checkpoint(other, path, NULL, 0, NULL), ==, LLMGPU_E_FORMAT);
        fseek(file, places[i], SEEK_SET);
        fputc(c, file);
        fflush(file);
    }
    REQUIRE_INT(ftruncate(fileno(file), size - 4), ==, 0);
    REQUIRE_INT(llmgpu_trainer_load_checkpoint(other, path, NULL, 0, NULL), ==, LLMGPU_E_FORMAT);
    fclose(file);
    require_same(other, &now);
    unlink(path);
    REQUIRE_INT(llmgpu_trainer_load_checkpoint(other, path, NULL, 0, NULL), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_trainer_save_checkpoint(trainer, path, NULL, 0), ==, 0);
    llmgpu_trainer_free(other);
    p.rank = 5;
    other = make(t, &p);
    REQUIRE_INT(llmgpu_trainer_load_checkpoint(other, path, NULL, 0, NULL), ==, LLMGPU_E_UNSUPPORTED);
    unlink(path);
    llmgpu_trainer_free(other);
    llmgpu_trainer_free(trainer);
    free(now.values);
}

/** Steps with a checkpoint behind each, until it is killed. */
static void be_killed(const char *device, const char *path)
{
    struct tavern t;
    tavern_open(&t, device, false);
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *trainer = make(&t, &p);
    for (uint32_t i = 0; i < 10000; i++) {
        step(&t, trainer, i);
        REQUIRE_INT(llmgpu_trainer_save_checkpoint(trainer, path, &i, sizeof(i)), ==, 0);
    }
    exit(1);
}

static void remove_leftovers(const char *path, pid_t pid)
{
    char temp[320];
    snprintf(temp, sizeof(temp), "%s.%u.0.tmp", path, (unsigned)pid);
    unlink(temp);
    unlink(path);
}

/** Before this process has threads of its own. */
static pid_t fork_child(const char *device, const char *path)
{
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        be_killed(device, path);
    return pid;
}

static void test_killed(const struct tavern *t, pid_t pid, const char *path)
{
    uint32_t last = 0;
    size_t n;
    for (int i = 0; i < 3000 && access(path, R_OK) != 0; i++)
        usleep(10000);
    usleep(70000 + 1000 * (useconds_t)(getpid() % 50)); // anywhere in what it does
    REQUIRE_INT(kill(pid, SIGKILL), ==, 0);
    REQUIRE_INT(waitpid(pid, NULL, 0), ==, pid);
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *trainer = make(t, &p);
    REQUIRE_INT(llmgpu_trainer_load_checkpoint(trainer, path, &last, sizeof(last), &n), ==, 0);
    REQUIRE_INT(n, ==, sizeof(last));
    printf("killed behind step %u\n", last);
    struct outcome alone = {0};
    llmgpu_trainer *other = make(t, &p);
    for (uint32_t i = 0; i <= last; i++)
        step(t, other, i);
    alone = outcome_of(other);
    require_same(trainer, &alone);
    REQUIRE(step(t, trainer, last + 1).loss == step(t, other, last + 1).loss);
    llmgpu_trainer_free(trainer);
    llmgpu_trainer_free(other);
    free(alone.values);
    remove_leftovers(path, pid);
}

/* ---- misuse, memory ------------------------------------------------------------------------------------------------------ */

static void test_invalid(const struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *trainer;
    p.dropout = 1;
    REQUIRE_INT(llmgpu_trainer_create(&trainer, t->model, &p), ==, LLMGPU_E_INVALID);
    p = plain();
    p.beta2 = NAN;
    REQUIRE_INT(llmgpu_trainer_create(&trainer, t->model, &p), ==, LLMGPU_E_INVALID);
    p = plain();
    p.targets = 0;
    REQUIRE_INT(llmgpu_trainer_create(&trainer, t->model, &p), ==, LLMGPU_E_INVALID);
    p = plain();
    p.full = 1; // its weights are Q8_0
    REQUIRE_INT(llmgpu_trainer_create(&trainer, t->model, &p), ==, LLMGPU_E_UNSUPPORTED);
    REQUIRE(trainer == NULL);
    p = plain();
    trainer = make(t, &p);
    struct batch *good = batch_of(t, 0, 1), bad;
    for (int i = 0; i < 7; i++) {
        bad = *good;
        bad.b = (llmgpu_batch){good->b.n_rows, 1, good->b.n_targets, 0, bad.tokens, bad.targets, bad.positions, bad.samples};
        switch (i) {
        case 0: bad.tokens[3] = -1; break;
        case 1: bad.tokens[3] = (int32_t)t->info.n_vocab; break;
        case 2: bad.targets[3] = -2; break;
        case 3: bad.positions[3] = 2; break;
        case 4: bad.samples[3] = 1; break;
        case 5: bad.b.n_rows = MAX_ROWS + 1; break;
        case 6:
            for (uint32_t k = 0; k < MAX_ROWS; k++)
                bad.targets[k] = -1;
            break;
        }
        REQUIRE_INT(llmgpu_trainer_add(trainer, &bad.b, sizeof(bad.b)), ==, LLMGPU_E_INVALID);
        REQUIRE(*llmgpu_trainer_error(trainer));
    }
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_read_tensor(trainer, 0, LLMGPU_TRAIN_GRADIENT, (float[1]){0}, 1), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_trainer_save(trainer, "/nowhere/at/all", LLMGPU_SAVE_GGUF), ==, LLMGPU_E_IO);
    llmgpu_trainer_free(trainer);
    llmgpu_trainer_free(NULL);
    llmgpu_trainer_cancel(NULL);
    free(good);
}

/** The plan is right to 5%, and all is given back; no step asks for more. */
static void test_memory(const struct tavern *t)
{
    for (uint32_t checkpoint = 0; checkpoint < 2; checkpoint++) {
        llmgpu_context_stats before, now;
        llmgpu_trainer_params p = plain();
        llmgpu_trainer_info info;
        p.max_rows = 512;
        p.checkpoint = checkpoint;
        REQUIRE_INT(llmgpu_context_get_stats(t->ctx, &before, sizeof(before)), ==, 0);
        llmgpu_trainer *trainer = make(t, &p);
        REQUIRE_INT(llmgpu_trainer_get_info(trainer, &info, sizeof(info)), ==, 0);
        REQUIRE_INT(llmgpu_context_get_stats(t->ctx, &now, sizeof(now)), ==, 0);
        printf("%.2f MB planned, %.2f taken\n", (double)info.estimated_bytes / 1e6, (double)info.device_bytes / 1e6);
        REQUIRE_INT(now.device_bytes - before.device_bytes, ==, info.device_bytes);
        REQUIRE(fabs((double)info.estimated_bytes - (double)info.device_bytes) < 0.05 * (double)info.device_bytes);
        step(t, trainer, 0);
        REQUIRE_INT(llmgpu_context_get_stats(t->ctx, &now, sizeof(now)), ==, 0);
        REQUIRE_INT(now.device_bytes - before.device_bytes, ==, info.device_bytes);
        llmgpu_trainer_free(trainer);
        REQUIRE_INT(llmgpu_context_get_stats(t->ctx, &now, sizeof(now)), ==, 0);
        REQUIRE_INT(now.device_bytes, ==, before.device_bytes);
    }
}

/** Parameters that make nonsense: the step says so and leaves what is there. */
static void test_not_finite(const struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    p.lr = 1e6f;
    p.clip = 0;
    p.warmup = 0;
    p.optimizer = LLMGPU_OPTIMIZER_SGD;
    p.schedule = LLMGPU_SCHEDULE_CONSTANT;
    llmgpu_trainer *trainer = make(t, &p);
    struct batch *b = batch_of(t, 0, 1);
    int rc = 0;
    for (int i = 0; i < 12 && rc == 0; i++) {
        add(trainer, b);
        rc = llmgpu_trainer_step(trainer, NULL, 0);
    }
    REQUIRE_INT(rc, ==, LLMGPU_E_FORMAT);
    struct outcome now = outcome_of(trainer);
    add(trainer, b);
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_FORMAT);
    require_same(trainer, &now);
    llmgpu_trainer_free(trainer);
    free(now.values);
    free(b);
}

/* ---- memory that is refused --------------------------------------------------------------------------------------------- */

/** What the calls below work on. */
struct scene {
    struct tavern *t;
    struct batch *batch;
    llmgpu_trainer_params params;
    llmgpu_trainer *trainer;
    char path[64], folder[64];
};

static int try_create(struct scene *s)
{
    int rc = llmgpu_trainer_create(&s->trainer, s->t->model, &s->params);
    REQUIRE((rc == 0) == (s->trainer != NULL));
    llmgpu_trainer_free(s->trainer);
    s->trainer = NULL;
    return rc;
}

static int try_step(struct scene *s)
{
    int rc = llmgpu_trainer_add(s->trainer, &s->batch->b, sizeof(s->batch->b));
    return rc < 0 ? rc : llmgpu_trainer_step(s->trainer, NULL, 0);
}

static int try_start(struct scene *s)
{
    int rc = llmgpu_trainer_add(s->trainer, &s->batch->b, sizeof(s->batch->b));
    if (rc == 0)
        rc = llmgpu_trainer_start(s->trainer, 0);
    if (rc == 0)
        rc = llmgpu_trainer_wait(s->trainer, UINT64_MAX);
    if (rc == 0)
        rc = llmgpu_trainer_poll(s->trainer, NULL, 0);
    return rc == 1 ? 0 : rc;
}

static int try_keep(struct scene *s)
{
    int rc = llmgpu_trainer_keep_gradients(s->trainer, 1);
    return rc < 0 ? rc : llmgpu_trainer_keep_gradients(s->trainer, 0);
}

static int try_save(struct scene *s)
{
    return llmgpu_trainer_save(s->trainer, s->path, LLMGPU_SAVE_GGUF);
}

static int try_peft(struct scene *s)
{
    return llmgpu_trainer_save(s->trainer, s->folder, LLMGPU_SAVE_PEFT);
}

static int try_checkpoint(struct scene *s)
{
    return llmgpu_trainer_save_checkpoint(s->trainer, s->path, "x", 1);
}

static int try_load(struct scene *s)
{
    char extra;
    return llmgpu_trainer_load_checkpoint(s->trainer, s->path, &extra, 1, NULL);
}

/** Has allocations of a call fail, each of the first ones and many of those that follow; until there are no more. */
static uint64_t refuse_each(struct scene *s, const char *name, int (*call)(struct scene *))
{
    struct test_heap *heap = &s->t->heap;
    size_t live = heap->live;
    uint64_t n = 0;
    int rc = LLMGPU_E_NOMEM;
    while (rc < 0) {
        n += 1 + n / 16;
        heap->fail_at = heap->n + n;
        rc = call(s);
        bool refused = heap->n >= heap->fail_at;
        heap->fail_at = 0;
        const char *sentence = s->trainer ? llmgpu_trainer_error(s->trainer) : llmgpu_model_error(s->t->model);
        if (rc < 0 && (rc != LLMGPU_E_NOMEM || !*sentence))
            fprintf(stderr, "%s, request %llu: %d '%s'\n", name, (unsigned long long)n, rc, sentence);
        REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && *sentence));
        REQUIRE(s->trainer || heap->live == live);
        if (rc == 0 && refused) // it can do without
            rc = LLMGPU_E_NOMEM;
    }
    printf("%s: fewer than %llu requests\n", name, (unsigned long long)n);
    return n - 1;
}

/** Whatever fails for want of memory leaves all as it was. */
static void test_no_memory(struct tavern *t)
{
    struct scene s = {.t = t, .params = plain(), .batch = batch_of(t, 0, 1)};
    char file[128];
    snprintf(s.path, sizeof(s.path), "%s", temp_path("memory"));
    snprintf(s.folder, sizeof(s.folder), "%s", temp_path("memory-peft"));
    s.params.dropout = 0.1f;
    struct outcome alone = run_alone(t, &s.params, 3);
    REQUIRE_INT(refuse_each(&s, "create", try_create), >, 20);
    s.trainer = make(t, &s.params);
    struct outcome first = outcome_of(s.trainer);
    REQUIRE_INT(refuse_each(&s, "save", try_save), >, 2);
    REQUIRE_INT(refuse_each(&s, "peft", try_peft), >, 2);
    REQUIRE_INT(refuse_each(&s, "keep", try_keep), ==, 1);
    require_same(s.trainer, &first);
    refuse_each(&s, "step", try_step); // the first of all runs
    REQUIRE_INT(refuse_each(&s, "checkpoint", try_checkpoint), >, 0);
    refuse_each(&s, "load", try_load);
    REQUIRE(step(t, s.trainer, 1).loss == alone.losses[1]);
    REQUIRE_INT(llmgpu_trainer_save_checkpoint(s.trainer, s.path, "x", 1), ==, 0);
    REQUIRE_INT(refuse_each(&s, "start", try_start), >, 1);
    REQUIRE_INT(try_load(&s), ==, 0);
    REQUIRE(step(t, s.trainer, 2).loss == alone.losses[2]);
    require_same(s.trainer, &alone);
    llmgpu_trainer_free(s.trainer);
    const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof(file), "%s/%s", s.folder, names[i]);
        REQUIRE_INT(unlink(file), ==, 0);
    }
    REQUIRE_INT(rmdir(s.folder), ==, 0);
    unlink(s.path);
    free(first.values);
    free(alone.values);
    free(s.batch);
}

int main(int argc, char **argv)
{
    struct tavern t;
    char path[256];
    REQUIRE_INT(argc, ==, 2);
    bool cpu = strcmp(argv[1], "cpu") == 0;
    snprintf(path, sizeof(path), "%s", temp_path("killed"));
    test_schedule();
    pid_t pid = cpu ? fork_child(argv[1], path) : 0;
    if (cpu) { // unchecked, as the child: checked, kernels are the references
        tavern_open(&t, argv[1], false);
        test_killed(&t, pid, path);
        tavern_close(&t);
    }
    tavern_open(&t, argv[1], true);
    test_learns(&t, LLMGPU_OPTIMIZER_ADAMW);
    test_resume(&t, LLMGPU_OPTIMIZER_ADAMW);
    test_together(&t);
    test_cancel(&t);
    test_memory(&t);
    if (cpu) {
        test_learns(&t, LLMGPU_OPTIMIZER_SGD);
        test_learns(&t, LLMGPU_OPTIMIZER_ADAMW8);
        test_resume(&t, LLMGPU_OPTIMIZER_SGD);
        test_resume(&t, LLMGPU_OPTIMIZER_ADAMW8);
        test_batches(&t);
        test_reduce(&t);
        test_processes(&t);
        test_damaged(&t);
        test_invalid(&t);
        test_not_finite(&t);
        test_no_memory(&t);
    }
    tavern_close(&t);
    return 0;
}
