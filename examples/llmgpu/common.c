/* SPDX-License-Identifier: MIT */
#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "json.h"

/* Of several that were started together; set once. */
static struct {
    uint32_t index, n;
    char host[64];
} process;

void cli_set_process(uint32_t index, uint32_t n, const char *host)
{
    process.index = index;
    process.n = n;
    snprintf(process.host, sizeof(process.host), "%s", host);
}

int cli_fail(int status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("llmgpu: ", stderr);
    if (process.n > 1)
        fprintf(stderr, "process %u of %u, on %s: ", process.index, process.n, process.host);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, " (%s)\n", llmgpu_status_name(status));
    return CLI_FAILED;
}

int cli_fail_library(int status, const char *sentence)
{
    return cli_fail(status, "%s", sentence && *sentence ? sentence : "the library gave no reason");
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double cli_per_second(uint64_t n, uint64_t ns)
{
    return ns ? 1e9 * (double)n / (double)ns : 0;
}

static int check_utf8(const struct cli_text *text, const char *name)
{
    for (size_t i = 0, n; i < text->len; i += n) {
        n = json_utf8_len(text->bytes + i, text->len - i);
        if (n == 0)
            return cli_fail(LLMGPU_E_INVALID, "%s: byte %zu (0x%02x) is not UTF-8", name, i,
                            (unsigned char)text->bytes[i]);
    }
    return CLI_OK;
}

static int read_stream(FILE *in, const char *name, struct cli_text *out)
{
    for (size_t room = 0;;) {
        if (room - out->len < 2) {
            room = room ? 2 * room : 64 << 10;
            char *bytes = realloc(out->bytes, room);
            if (!bytes)
                return cli_fail(LLMGPU_E_NOMEM, "%s: no memory for more than %zu bytes", name, out->len);
            out->bytes = bytes;
        }
        size_t n = fread(out->bytes + out->len, 1, room - out->len - 1, in);
        out->len += n;
        if (n == 0)
            break;
    }
    if (ferror(in))
        return cli_fail(LLMGPU_E_IO, "%s: %s", name, strerror(errno));
    return CLI_OK;
}

int cli_read_text(const char *path, struct cli_text *out)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    *out = (struct cli_text){0};
    FILE *in = standard ? stdin : fopen(path, "rb");
    if (!in)
        return cli_fail(LLMGPU_E_IO, "%s: %s", name, strerror(errno));
    int rc = read_stream(in, name, out);
    if (!standard)
        fclose(in);
    if (rc == CLI_OK)
        rc = check_utf8(out, name);
    if (rc != CLI_OK) {
        free(out->bytes);
        *out = (struct cli_text){0};
    }
    return rc;
}

int cli_copy_text(const char *word, const char *name, struct cli_text *out)
{
    *out = (struct cli_text){strdup(word), strlen(word)};
    if (!out->bytes)
        return cli_fail(LLMGPU_E_NOMEM, "%s: no memory for %zu bytes", name, out->len);
    int rc = check_utf8(out, name);
    if (rc != CLI_OK) {
        free(out->bytes);
        *out = (struct cli_text){0};
    }
    return rc;
}

int cli_parse_ids(const char *command, const char *text, struct cli_tokens *out)
{
    static const char between[] = " ,\t\r\n", digits[] = "0123456789";
    // Every second byte at most begins an id.
    int32_t *ids = realloc(out->ids, (out->n + strlen(text) / 2 + 1) * sizeof(*ids));
    if (!ids)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for the token ids");
    out->ids = ids;
    for (text += strspn(text, between); *text; text += strspn(text, between)) {
        size_t len = strcspn(text, between);
        errno = 0;
        long long id = strtoll(text, NULL, 10);
        if (strspn(text, digits) != len || errno || id > INT32_MAX)
            return cli_usage(command, "'%.*s' is not a token id, a whole number from 0 to %d",
                             (int)(len < 64 ? len : 64), text, INT32_MAX);
        ids[out->n++] = (int32_t)id;
        text += len;
    }
    return CLI_OK;
}

/* The user's folder for caches with our name behind it; "" where there is none. Its parent is made when
 * missing. */
static void default_cache_dir(char *path, size_t size)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (xdg && xdg[0] == '/') // the specification has relative ones ignored
        n = snprintf(path, size, "%s", xdg);
    else if (home && home[0] == '/')
        n = snprintf(path, size, "%s/.cache", home);
    bool usable =
        n > 0 && (size_t)n + sizeof("/llmgpu") <= size && (mkdir(path, 0700) == 0 || errno == EEXIST);
    if (usable)
        snprintf(path + n, size - (size_t)n, "/llmgpu");
    else
        path[0] = 0;
}

static void write_log(void *user, int level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const struct cli_engine_options *options = user;
    // A failure is reported once, by whoever called; its log line would be the second time.
    bool wanted =
        options->verbose || level == LLMGPU_LOG_WARN || (options->check && level == LLMGPU_LOG_ERROR);
    if (wanted && level >= LLMGPU_LOG_ERROR && level <= LLMGPU_LOG_DEBUG)
        fprintf(stderr, "llmgpu: %s: %s\n", names[level], text);
}

static const char *const precisions[] = {"auto", "fast", "float32", NULL}; // by llmgpu_precision
static const char *const kv_types[] = {"f32", "f16", "q8_0", "q4_0", NULL}; // by llmgpu_kv_type

/* Which of the names it is; without one the first; -1 when it is none of them. */
static int number_of(const char *const *names, const char *name)
{
    for (int i = 0; name && names[i]; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return name ? -1 : 0;
}

static int open_context(struct cli_engine *engine, const struct cli_engine_options *options)
{
    char error[1024] = "", cache[4096] = "";
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = options->vocab_only ? "cpu" : options->device;
    params.n_threads = options->vocab_only ? 1 : options->n_threads;
    params.check = options->check;
    params.precision = number_of(precisions, options->precision);
    params.kv_type = number_of(kv_types, options->kv);
    params.tune = options->no_tune ? LLMGPU_TUNE_NEVER : LLMGPU_TUNE_AUTO;
    if (params.precision < 0)
        return cli_usage(NULL, "--precision is auto, fast or float32, not '%s'", options->precision);
    if (params.kv_type < 0)
        return cli_usage(NULL, "--kv is f32, f16, q8_0 or q4_0, not '%s'", options->kv);
    params.log = write_log;
    params.log_user = (void *)options;
    params.error = error;
    params.error_size = sizeof(error);
    if (!options->vocab_only && options->cache_dir)
        snprintf(cache, sizeof(cache), "%s", options->cache_dir);
    else if (!options->vocab_only)
        default_cache_dir(cache, sizeof(cache));
    params.cache_dir = *cache ? cache : NULL;

    int rc = llmgpu_context_create(&engine->ctx, &params);
    if (rc < 0)
        return cli_fail_library(rc, error);
    rc = llmgpu_context_get_device(engine->ctx, &engine->device, sizeof(engine->device));
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(engine->ctx)) : CLI_OK;
}

static int open_model(struct cli_engine *engine, const struct cli_engine_options *options)
{
    llmgpu_model_params params;
    llmgpu_model_params_init(&params, sizeof(params));
    params.vocab_only = options->vocab_only;
    int rc = llmgpu_model_load(&engine->model, engine->ctx, options->model, &params);
    if (rc >= 0)
        rc = llmgpu_model_get_info(engine->model, &engine->info, sizeof(engine->info));
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(engine->ctx)) : CLI_OK;
}

int cli_engine_open(struct cli_engine *engine, const struct cli_engine_options *options)
{
    *engine = (struct cli_engine){0};
    double begin = cli_seconds(), middle = 0;
    int rc = open_context(engine, options);
    if (rc == CLI_OK) {
        middle = cli_seconds();
        rc = open_model(engine, options);
    }
    if (rc != CLI_OK) {
        cli_engine_close(engine);
        return rc;
    }
    engine->device_seconds = middle - begin;
    engine->model_seconds = cli_seconds() - middle;
    return CLI_OK;
}

void cli_engine_close(struct cli_engine *engine)
{
    llmgpu_model_free(engine->model);
    llmgpu_context_free(engine->ctx);
    *engine = (struct cli_engine){0};
}

int cli_engine_check(const struct cli_engine *engine)
{
    llmgpu_context_stats stats;
    int rc = llmgpu_context_get_stats(engine->ctx, &stats, sizeof(stats));
    if (rc < 0)
        return cli_fail_library(rc, llmgpu_context_error(engine->ctx));
    if (stats.check_messages > 0)
        return cli_fail(LLMGPU_E_INTERNAL, "the check has %llu findings",
                        (unsigned long long)stats.check_messages);
    return CLI_OK;
}

int cli_session_open(llmgpu_session **out, const struct cli_engine *engine,
                     const llmgpu_session_params *params)
{
    int rc = llmgpu_session_create(out, engine->model, params);
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(engine->ctx)) : CLI_OK;
}

int cli_lora_open(llmgpu_lora **out, float *out_scale, const struct cli_engine *engine, const char *word)
{
    double scale = 1;
    char *path = strdup(word), *mark = path ? strrchr(path, '=') : NULL;
    *out = NULL;
    if (!path)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a file name");
    if (mark && cli_parse_number(mark + 1, &scale)) // otherwise it is a part of the name
        *mark = '\0';
    int rc = llmgpu_lora_load(out, engine->model, path);
    *out_scale = (float)scale;
    free(path);
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(engine->ctx)) : CLI_OK;
}

int cli_session_adapt(llmgpu_session *session, const struct cli_engine *engine, const char *word)
{
    llmgpu_lora *lora = NULL;
    float scale;
    int rc = word ? cli_lora_open(&lora, &scale, engine, word) : CLI_OK;
    if (lora) {
        int status = llmgpu_session_set_lora(session, lora, scale);
        rc = status < 0 ? cli_fail_library(status, llmgpu_session_error(session)) : CLI_OK;
    }
    llmgpu_lora_free(lora); // the session keeps it
    return rc;
}

int cli_next(llmgpu_session *session, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(session, token)) == LLMGPU_AGAIN) {
        rc = llmgpu_session_wait(session, UINT64_MAX);
        if (rc < 0)
            break;
    }
    return rc;
}

int cli_tokenize(const struct cli_engine *engine, const struct cli_text *text, uint32_t flags,
                 struct cli_tokens *out)
{
    size_t room = text->len + 8; // seldom more tokens than bytes
    int rc;
    *out = (struct cli_tokens){0};
    do {
        int32_t *ids = realloc(out->ids, room * sizeof(*ids));
        if (!ids) {
            rc = LLMGPU_E_NOMEM;
            break;
        }
        out->ids = ids;
        rc = llmgpu_tokenize(engine->model, text->bytes, text->len, flags, ids, room, &out->n);
        if (rc != LLMGPU_E_RANGE || out->n <= room)
            break;
        room = out->n;
    } while (true);
    if (rc >= 0)
        return CLI_OK;
    free(out->ids);
    *out = (struct cli_tokens){0};
    return cli_fail_library(rc, rc == LLMGPU_E_NOMEM ? "no memory for the tokens of the text"
                                                     : llmgpu_context_error(engine->ctx));
}
