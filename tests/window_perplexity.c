/* SPDX-License-Identifier: MIT
 *
 * A text eight times as long as the context, token by token through a session that goes on when it is full: its perplexity is
 * below that of windows that each begin with nothing. Needs the shared data.
 */
#include <math.h>

#include "llmgpu/llmgpu.h"
#include "test.h"

enum { N_CTX = 128, N_TEXT = 8 * N_CTX, N_KEEP = 4, N_TOP = 32 };

static int32_t text[N_TEXT + 1];
static llmgpu_model *model;

static llmgpu_session *begin(int when_full)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.when_full = when_full;
    p.n_keep = when_full == LLMGPU_WHEN_FULL_SLIDE ? N_KEEP : 0;
    p.ignore_end = 1;
    p.n_candidates = N_TOP;
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    return s;
}

/** What the session thinks of a token that may come next; of one that is not among its candidates at most the last of them. */
static double log_prob(llmgpu_session *s, int32_t token)
{
    llmgpu_candidate chosen, top[N_TOP];
    size_t n;
    int32_t drawn;
    llmgpu_session_stats stats;
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &drawn), ==, LLMGPU_TOKEN);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, top, N_TOP, &n), ==, 0);
    REQUIRE_INT(llmgpu_session_get_stats(s, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, stats.n_tokens - 1), ==, 0);
    for (size_t i = 0; i < n; i++)
        if (top[i].token == token)
            return (double)top[i].log_prob;
    return (double)top[n - 1].log_prob - 1;
}

/** From position `from` of the text on. `fresh`: a new session for each context. */
static double perplexity(int when_full, bool fresh, uint32_t from)
{
    double sum = 0;
    uint32_t n = 0;
    llmgpu_session *s = begin(when_full);
    for (uint32_t i = 0; i < N_TEXT; i++) {
        if (fresh && i % N_CTX == 0)
            REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, &text[i], 1), ==, 0);
        if (fresh && i % N_CTX == N_CTX - 1)
            continue; // it would see what is behind the window
        double p = log_prob(s, text[i + 1]);
        if (i < from)
            continue;
        sum -= p;
        n++;
    }
    llmgpu_session_free(s);
    return exp(sum / n);
}

int main(int argc, char **argv)
{
    const char *shared = test_shared();
    char path[512];
    static char words[1 << 16];
    size_t n_tokens;
    llmgpu_context *ctx;
    llmgpu_context_params p;
    if (!shared) {
        fprintf(stderr, "no shared data\n");
        return TEST_SKIP;
    }
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = argc > 1 ? argv[1] : "cpu";
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE)
        return TEST_SKIP;
    REQUIRE_INT(rc, ==, 0);
    snprintf(path, sizeof(path), "%s/models/stories3M-f16.gguf", shared);
    REQUIRE_INT(llmgpu_model_load(&model, ctx, path, NULL), ==, 0);
    snprintf(path, sizeof(path), "%s/text/ppl-tinystories.txt", shared);
    FILE *f = fopen(path, "rb");
    REQUIRE(f);
    size_t size = fread(words, 1, sizeof(words), f);
    fclose(f);
    static int32_t ids[1 << 16];
    REQUIRE_INT(llmgpu_tokenize(model, words, size, LLMGPU_TOKENIZE_ADD_SPECIAL, ids, sizeof(ids) / sizeof(*ids), &n_tokens),
                ==, 0);
    REQUIRE_INT(n_tokens, >, N_TEXT);
    memcpy(text, ids, sizeof(text));

    double windows = perplexity(LLMGPU_WHEN_FULL_ERROR, true, N_CTX);
    double ring = perplexity(LLMGPU_WHEN_FULL_RING, false, N_CTX);
    double slide = perplexity(LLMGPU_WHEN_FULL_SLIDE, false, N_CTX);
    printf("%d tokens, context %d: windows %.3f, ring %.3f, sliding with %d kept %.3f\n", N_TEXT, N_CTX, windows, ring,
           N_KEEP, slide);
    REQUIRE(ring < windows && slide < windows);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return 0;
}
