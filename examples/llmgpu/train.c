/* SPDX-License-Identifier: MIT
 *
 * llmgpu train: learns from data.
 */
#include "training.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct cli_option options[] = {
    CLI_MODEL_OPTION(struct train_values),
    {CLI_TEXTS, 0, "data", "FILE", offsetof(struct train_values, data), 0, 0,
     "what is learned from, a JSONL file; may be given several times"},
    {CLI_TEXT, 'o', "output", "FILE", offsetof(struct train_values, out), 0, 0,
     "the adapter, a GGUF file; with --full the model"},
    {CLI_TEXT, 0, "peft", "DIR", offsetof(struct train_values, peft), 0, 0,
     "write the adapter for PEFT as well"},
    CLI_JSON_OPTION(struct train_values),
    {CLI_FLAG, 0, "dry-run", NULL, offsetof(struct train_values, dry_run), 0, 0,
     "print how samples are cut and what of them counts, and train nothing"},
    {CLI_U32, 0, "show", "N", offsetof(struct train_values, n_shown), 0, INT32_MAX,
     "samples that --dry-run prints"},

    {CLI_HEADING, .help = "Data"},
    {CLI_U32, 'c', "ctx", "N", offsetof(struct train_values, n_ctx), 0, 1 << 20,
     "tokens of a sample; longer ones are cut; 0: what the model was trained for, at most 512"},
    {CLI_U32, 0, "batch", "N", offsetof(struct train_values, n_batch), 1, 4096,
     "a micro-batch is as many times --ctx tokens"},
    {CLI_U32, 0, "accumulate", "N", offsetof(struct train_values, accumulate), 0, 65536,
     "micro-batches of a step, of all processes together; 0: one of each process"},
    {CLI_F32, 0, "epochs", "N", offsetof(struct train_values, epochs), 0.001, 1e6, "passes over the data"},
    {CLI_U32, 0, "steps", "N", offsetof(struct train_values, n_steps), 0, INT32_MAX,
     "steps in all, however many passes these are; 0: by --epochs"},
    {CLI_TEXT, 0, "loss-on", "NAME", offsetof(struct train_values, loss_on), 0, 0,
     "what counts: answers (and texts), or all"},
    {CLI_TEXT, 0, "bad-lines", "NAME", offsetof(struct train_values, bad_lines), 0, 0,
     "what lines do that cannot be used: skip (they are counted and the first are told) or fail"},
    {CLI_FLAG, 0, "plain", NULL, offsetof(struct train_values, plain), 0, 0,
     "no template: what messages say is put one behind the other"},
    {CLI_FLAG, 0, "no-shuffle", NULL, offsetof(struct train_values, no_shuffle), 0, 0,
     "samples in the order of the files"},
    {CLI_FLAG, 0, "no-pack", NULL, offsetof(struct train_values, no_pack), 0, 0,
     "--batch samples in a micro-batch, not as many as fit"},
    {CLI_U64, 0, "seed", "N", offsetof(struct train_values, trainer.seed), 0, 0,
     "of the order, of what an adapter begins as, and of dropout"},

    {CLI_HEADING, .help = "Validation"},
    {CLI_TEXTS, 0, "val", "FILE", offsetof(struct train_values, validation), 0, 0,
     "a JSONL file to evaluate with; may be given several times"},
    {CLI_F32, 0, "val-split", "X", offsetof(struct train_values, val_split), 0, 0.9,
     "evaluate with this share of the data, which is not learned"},
    {CLI_U32, 0, "eval-every", "N", offsetof(struct train_values, eval_every), 0, INT32_MAX,
     "steps between evaluations; 0: only before the first and after the last"},
    {CLI_U32, 0, "early-stop", "N", offsetof(struct train_values, early_stop), 0, INT32_MAX,
     "stop after as many evaluations without a better one; 0: never"},

    {CLI_HEADING, .help = "Adapter"},
    {CLI_U32, 0, "rank", "N", offsetof(struct train_values, trainer.rank), 1, 1024, "rank of the adapter"},
    {CLI_F32, 0, "alpha", "X", offsetof(struct train_values, trainer.alpha), 0, 1e6,
     "its factor is alpha / rank; 0: alpha is twice the rank"},
    {CLI_FLAG, 0, "rslora", NULL, offsetof(struct train_values, rslora), 0, 0,
     "its factor is alpha / sqrt(rank)"},
    {CLI_F32, 0, "dropout", "X", offsetof(struct train_values, trainer.dropout), 0, 0.99,
     "share of what it sees that is left out at random"},
    {CLI_TEXT, 0, "targets", "LIST", offsetof(struct train_values, targets), 0, 0,
     "matrices it is for, of q, k, v, o, gate, up, down; or all"},
    {CLI_TEXT, 0, "init", "FILE", offsetof(struct train_values, trainer.init), 0, 0,
     "begin as this adapter, with its rank, alpha and targets"},
    {CLI_FLAG, 0, "full", NULL, offsetof(struct train_values, full), 0, 0,
     "no adapter: all weights of a model in F32, F16 or BF16"},

    {CLI_HEADING, .help = "Optimizer"},
    {CLI_TEXT, 0, "optimizer", "NAME", offsetof(struct train_values, optimizer), 0, 0,
     "adamw, adamw8 (its state in 8 bits) or sgd"},
    {CLI_F32, 0, "lr", "X", offsetof(struct train_values, trainer.lr), 0, 1000, "learning rate"},
    {CLI_F32, 0, "lr-min", "X", offsetof(struct train_values, trainer.lr_min), 0, 1000, "where it ends"},
    {CLI_TEXT, 0, "schedule", "NAME", offsetof(struct train_values, schedule), 0, 0,
     "how it goes there behind the warm-up: constant (it does not), linear or cosine"},
    {CLI_U32, 0, "warmup", "N", offsetof(struct train_values, trainer.warmup), 0, INT32_MAX,
     "steps in which it rises"},
    {CLI_F32, 0, "weight-decay", "X", offsetof(struct train_values, trainer.weight_decay), 0, 1000,
     "decoupled weight decay"},
    {CLI_F32, 0, "momentum", "X", offsetof(struct train_values, trainer.momentum), 0, 0.9999, "of sgd"},
    {CLI_F32, 0, "clip", "X", offsetof(struct train_values, trainer.clip), 0, 1e9,
     "largest norm of all gradients together; 0: any"},

    {CLI_HEADING, .help = "Run"},
    {CLI_U32, 0, "checkpoint-every", "N", offsetof(struct train_values, checkpoint_every), 0, INT32_MAX,
     "steps between checkpoints; 0: only when Ctrl-C stops it"},
    {CLI_FLAG, 0, "resume", NULL, offsetof(struct train_values, resume), 0, 0, "go on from the checkpoint"},
    {CLI_TEXT, 0, "metrics", "FILE", offsetof(struct train_values, metrics), 0, 0,
     "write a line of JSON for each step"},
    {CLI_FLAG, 0, "no-recompute", NULL, offsetof(struct train_values, no_recompute), 0, 0,
     "keep all of the forward pass: more memory, less time"},
    CLI_ENGINE_OPTIONS(struct train_values),
    {0},
};

static void init(void *values)
{
    struct train_values *v = values;
    v->engine.device = "auto";
    llmgpu_trainer_params_init(&v->trainer, sizeof(v->trainer));
    v->targets = "all";
    v->schedule = "cosine";
    v->optimizer = "adamw";
    v->loss_on = "answers";
    v->bad_lines = "skip";
    v->epochs = 1;
    v->n_batch = 1;
    v->checkpoint_every = 200;
    v->n_shown = 3;
}

/* ---- names */

static const char *const schedules[] = {"constant", "linear", "cosine", NULL}; // by llmgpu_schedule
static const char *const optimizers[] = {"adamw", "sgd", "adamw8", NULL};      // by llmgpu_optimizer
static const char *const losses[] = {"answers", "all", NULL};
static const char *const bad_lines[] = {"skip", "fail", NULL};

/** What matrices are called in other places. */
static const struct {
    const char *name;
    uint32_t targets;
} target_names[] = {
    {"all", LLMGPU_TRAIN_ALL},
    {"q", LLMGPU_TRAIN_Q},
    {"k", LLMGPU_TRAIN_K},
    {"v", LLMGPU_TRAIN_V},
    {"o", LLMGPU_TRAIN_O},
    {"gate", LLMGPU_TRAIN_GATE},
    {"up", LLMGPU_TRAIN_UP},
    {"down", LLMGPU_TRAIN_DOWN},
    {"attn_q", LLMGPU_TRAIN_Q},
    {"attn_k", LLMGPU_TRAIN_K},
    {"attn_v", LLMGPU_TRAIN_V},
    {"attn_output", LLMGPU_TRAIN_O},
    {"ffn_gate", LLMGPU_TRAIN_GATE},
    {"ffn_up", LLMGPU_TRAIN_UP},
    {"ffn_down", LLMGPU_TRAIN_DOWN},
    {"q_proj", LLMGPU_TRAIN_Q},
    {"k_proj", LLMGPU_TRAIN_K},
    {"v_proj", LLMGPU_TRAIN_V},
    {"o_proj", LLMGPU_TRAIN_O},
    {"gate_proj", LLMGPU_TRAIN_GATE},
    {"up_proj", LLMGPU_TRAIN_UP},
    {"down_proj", LLMGPU_TRAIN_DOWN},
    {"attn_qkv", LLMGPU_TRAIN_Q | LLMGPU_TRAIN_K | LLMGPU_TRAIN_V},
};

static uint32_t find_target(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(target_names) / sizeof(target_names[0]); i++)
        if (strlen(target_names[i].name) == len && memcmp(target_names[i].name, name, len) == 0)
            return target_names[i].targets;
    return 0;
}

static int parse_targets(struct train_values *v)
{
    v->trainer.targets = 0;
    for (const char *at = v->targets;;) {
        size_t len = strcspn(at, ", ");
        uint32_t found = find_target(at, len);
        if (!found)
            return cli_usage("train",
                             "--targets is a list of q, k, v, o, gate, up and down, or all, not '%s'",
                             v->targets);
        v->trainer.targets |= found;
        if (!at[len])
            return CLI_OK;
        at += len + 1;
    }
}

/** The number of a name, or -1, reported. */
static int number_of(const char *option, const char *const *names, const char *name)
{
    char known[64] = "";
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
        size_t n = strlen(known);
        snprintf(known + n, sizeof(known) - n, "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
    }
    cli_usage("train", "--%s is %s, not '%s'", option, known, name);
    return -1;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/** What is read is not written over. */
static int check_written(const struct train_values *v, const char *path)
{
    bool same = path && is_same_file(path, v->engine.model);
    for (uint32_t i = 0; path && i < v->data.n; i++)
        same |= is_same_file(path, v->data.words[i]);
    for (uint32_t i = 0; path && i < v->validation.n; i++)
        same |= is_same_file(path, v->validation.words[i]);
    return same ? cli_usage("train", "'%s' is read, and would be written over", path) : CLI_OK;
}

static int check(struct train_values *v)
{
    if (v->data.n == 0)
        return cli_usage("train", "train needs --data FILE");
    if (!v->out && !v->dry_run)
        return cli_usage("train", "train needs -o FILE");
    if (v->validation.n > 0 && v->val_split > 0)
        return cli_usage("train", "only one of --val and --val-split can be given");
    if (v->early_stop > 0 && (v->eval_every == 0 || (v->validation.n == 0 && v->val_split <= 0)))
        return cli_usage("train", "--early-stop needs --eval-every and --val or --val-split");
    if (v->full && (v->peft || v->trainer.init || v->rslora || v->trainer.dropout > 0))
        return cli_usage("train",
                         "--full trains no adapter: --peft, --init, --rslora and --dropout are of those");
    v->trainer.schedule = number_of("schedule", schedules, v->schedule);
    v->trainer.optimizer = number_of("optimizer", optimizers, v->optimizer);
    if (v->trainer.schedule < 0 || v->trainer.optimizer < 0 || number_of("loss-on", losses, v->loss_on) < 0 ||
        number_of("bad-lines", bad_lines, v->bad_lines) < 0)
        return CLI_USAGE;
    v->trainer.full = v->full;
    v->trainer.rslora = v->rslora;
    v->trainer.checkpoint = !v->no_recompute;
    int rc = check_written(v, v->out);
    if (rc == CLI_OK)
        rc = check_written(v, v->metrics);
    return rc == CLI_OK ? parse_targets(v) : rc;
}

/** What the processes of a run have to do with each other before anything is opened. */
static int share(struct train_run *run, struct train_values *v, char device_id[32])
{
    const struct cli_processes *p = &run->processes;
    run->accumulate = v->accumulate ? v->accumulate : p->n;
    if (run->accumulate < p->n)
        return p->index > 0 ? CLI_USAGE
                            : cli_usage("train", "--accumulate %u is less than one for each of %u processes",
                                        run->accumulate, p->n);
    cli_processes_share(p, &v->engine, device_id);
    return CLI_OK;
}

static int run_all(struct train_run *run, struct train_values *v, FILE *out)
{
    char device_id[32];
    if (v->dry_run && run->processes.index > 0) // one of them prints it
        return CLI_OK;
    int rc = share(run, v, device_id);
    if (rc == CLI_OK)
        rc = cli_engine_open(&run->engine, &v->engine);
    if (rc == CLI_OK)
        rc = train_open_data(run);
    if (rc != CLI_OK)
        return rc;
    run->n_steps = train_count_steps(run);
    rc = v->dry_run ? train_dry_run(run, out) : train_all(run);
    if ((rc == CLI_OK || rc == CLI_INTERRUPTED) && v->json && !v->dry_run && run->processes.index == 0)
        train_print_json(run, out);
    return rc;
}

static int train(void *values, const struct cli_args *args, FILE *out)
{
    struct train_values *v = values;
    struct train_run *run = calloc(1, sizeof(*run));
    (void)args;
    if (!run)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a run");
    run->v = v;
    int rc = check(v);
    v->engine.vocab_only = v->dry_run;
    if (rc == CLI_OK)
        rc = cli_processes_open(&run->processes);
    if (rc == CLI_OK)
        rc = run_all(run, v, out);
    rc = cli_processes_close(&run->processes, rc);
    if (run->metrics)
        fclose(run->metrics);
    llmgpu_trainer_free(run->trainer);
    llmgpu_dataset_free(run->validation);
    llmgpu_dataset_free(run->data);
    cli_engine_close(&run->engine);
    free(run->names.checkpoint);
    free(run->names.best);
    free(run->names.plot);
    free(run);
    return rc;
}

const struct cli_command cli_command_train = {
    .name = "train",
    .usage = "-m MODEL --data FILE -o FILE [options]",
    .summary = "learn an adapter, or all of a small model, from data",
    .about =
        "Trains a LoRA adapter over a model whose weights stay as they are, in whatever type, or with --full "
        "all weights of a "
        "small one. Progress is shown on the standard error; the curve of the losses is written as an SVG "
        "beside the result.\n"
        "\n"
        "Each line of a data file is a JSON object in one of these shapes:\n"
        "  "
        "{\"messages\":[{\"role\":\"user\",\"content\":\"...\"},{\"role\":\"assistant\",\"content\":\"...\"}]"
        "}\n"
        "  {\"prompt\":\"...\",\"completion\":\"...\"}\n"
        "  {\"instruction\":\"...\",\"input\":\"...\",\"output\":\"...\"}\n"
        "  {\"text\":\"...\"}\n"
        "  {\"tokens\":[...],\"mask\":[...]}\n"
        "Conversations go through the model's chat template, or ChatML where there is none, and their "
        "answers count. "
        "--dry-run shows what becomes of them.\n"
        "\n"
        "With -o A.gguf, checkpoints are A.ckpt, the adapter with the lowest validation loss is A.best.gguf, "
        "and the curve is "
        "A.svg. Ctrl-C writes a checkpoint and ends with exit status 130; with --resume and the same options "
        "a run goes on as if "
        "it had not stopped, to the last bit on the same device.\n"
        "\n"
        "Started by mpirun, several processes on one machine or on many take the micro-batches of each step "
        "in turns, and learn what one learns from all of them: mpirun -n 4 --bind-to none llmgpu train ... "
        "The model, the data and, for --resume, the checkpoint have to be there for each; the first one "
        "writes the files. They share the processors of a machine as mpirun binds them (--bind-to none: "
        "evenly), and where there are several GPUs of a kind, each takes the next one. At Ctrl-C mpirun "
        "kills processes that have not ended within a second or so; what then remains is the last "
        "checkpoint.\n"
        "\n"
        "A row of --metrics is "
        "{\"step\":...,\"loss\":...,\"lr\":...,\"grad_norm\":...,\"tokens_per_second\":...}, steps counted "
        "from 1; the loss is the mean before the step, the norm that before clipping. Where the step was "
        "evaluated after, "
        "\"val_loss\" follows.\n",
    .options = options,
    .size = sizeof(struct train_values),
    .init = init,
    .run = train,
};
