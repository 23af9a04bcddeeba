/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: from nothing to the first token.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "bench.h"

enum { N_STARTS = 3, N_PROMPT = 128 };

/* The first token after a prompt, on a session of its own, as a program would get it. */
static int first_token(struct bench *b, struct cli_engine *engine)
{
    llmgpu_session_params params;
    llmgpu_session *session;
    int32_t ids[N_PROMPT], token;
    uint32_t n = engine->info.n_ctx_train;
    n = n > 1 && n <= N_PROMPT ? n - 1 : N_PROMPT; // 0: the file does not say
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = n + 1;
    params.ignore_end = 1;
    params.n_batch = b->values.n_batch;
    int rc = cli_session_open(&session, engine, &params);
    if (rc != CLI_OK)
        return rc;
    b->start.n_prompt = n;
    bench_random_tokens(ids, n, engine->info.n_vocab);
    rc = llmgpu_session_feed(session, ids, n);
    if (rc >= 0)
        rc = cli_next(session, &token);
    rc = rc < 0 ? cli_fail_library(rc, llmgpu_session_error(session)) : CLI_OK;
    llmgpu_session_free(session);
    return rc;
}

int bench_start_measure(struct bench *b)
{
    double device[N_STARTS], load[N_STARTS], first[N_STARTS], whole[N_STARTS];
    struct stat file;
    for (int i = 0; i < N_STARTS; i++) {
        struct cli_engine engine;
        double begin = cli_seconds();
        int rc = cli_engine_open(&engine, &b->values.engine);
        if (rc != CLI_OK)
            return rc;
        double loaded = cli_seconds();
        rc = first_token(b, &engine);
        double end = cli_seconds();
        device[i] = 1e3 * engine.device_seconds;
        load[i] = 1e3 * engine.model_seconds;
        first[i] = 1e3 * (end - loaded);
        whole[i] = 1e3 * (end - begin);
        if (rc == CLI_OK)
            rc = cli_engine_check(&engine);
        cli_engine_close(&engine);
        if (rc != CLI_OK)
            return rc;
    }
    b->start.device_ms = bench_times_of(device, N_STARTS);
    b->start.load_ms = bench_times_of(load, N_STARTS);
    b->start.first_token_ms = bench_times_of(first, N_STARTS);
    b->start.whole_ms = bench_times_of(whole, N_STARTS);
    b->start.file_bytes = stat(b->values.engine.model, &file) == 0 ? (uint64_t)file.st_size : 0;
    b->start.measured = true;
    return CLI_OK;
}
