/* SPDX-License-Identifier: MIT
 *
 * sample: the same tokens as the reference (unless two candidates are level within rounding), what the
 * filters keep, what becomes of the sampler, and the distribution of many draws. next_rows.
 */
#include "check.h"
#include "random.h"

enum { N_ROWS = 3 }; // of a batch with one output row

/* Everything that one dispatch reads and writes. */
struct draw {
    uint32_t n_vocab, n_out;
    float *logits;
    uint32_t (*best)[2];
    uint32_t *out_ids;
    struct lg_row *rows;
    struct lg_sampler *samplers; // one for each output row
    uint32_t *history, *ring;
    uint32_t *tokens; // the result
};

static void draw_init_rows(struct check *c, struct draw *d, uint32_t n_vocab, uint32_t n_out, bool drafts)
{
    *d = (struct draw){.n_vocab = n_vocab, .n_out = n_out};
    d->logits = check_floats(c, (size_t)n_vocab * n_out, -8, 8);
    d->best = check_zeros(n_out, sizeof(*d->best));
    d->out_ids = check_zeros(n_out, sizeof(*d->out_ids));
    d->rows = check_zeros(n_out + N_ROWS, sizeof(*d->rows));
    d->samplers = check_zeros(n_out, sizeof(*d->samplers));
    d->history = check_words(c, (size_t)n_out * LG_HISTORY, n_vocab);
    d->ring = check_words(c, (size_t)n_out * LG_RING, n_vocab);
    d->tokens = check_zeros(n_out, sizeof(*d->tokens));
    for (uint32_t o = 0; o < n_out; o++) {
        d->out_ids[o] = n_out == 1 ? check_int(c, 0, N_ROWS - 1) : o;
        d->rows[d->out_ids[o]] =
            (struct lg_row){.token = 3, .pos = check_int(c, 0, 99), .slot = n_out - 1 - o, .draft = drafts ? check_int(c, 0, 2) : 0};
        d->samplers[o] = (struct lg_sampler){
            .temperature = 1,
            .top_p = 1,
            .repeat_penalty = 1,
            .seed_lo = test_rand(&c->rng),
            .seed_hi = test_rand(&c->rng),
            .n_history = check_int(c, 0, 2 * LG_HISTORY),
            .n_sampled = check_int(c, 0, 2 * LG_RING),
            .n_remaining = 10,
        };
    }
}

static void draw_init(struct check *c, struct draw *d, uint32_t n_vocab, uint32_t n_out)
{
    draw_init_rows(c, d, n_vocab, n_out, false);
}

static void draw_free(struct draw *d)
{
    free(d->logits);
    free(d->best);
    free(d->out_ids);
    free(d->rows);
    free(d->samplers);
    free(d->history);
    free(d->ring);
    free(d->tokens);
}

static void find_best(struct draw *d)
{
    for (uint32_t o = 0; o < d->n_out; o++) {
        const float *logits = d->logits + (size_t)o * d->n_vocab;
        uint32_t best = 0;
        for (uint32_t i = 1; i < d->n_vocab; i++)
            best = logits[i] > logits[best] ? i : best;
        d->best[o][0] = best;
        memcpy(&d->best[o][1], &logits[best], 4);
    }
}

static double score(const struct draw *d, uint32_t o, uint32_t token)
{
    const struct lg_sampler *s = &d->samplers[d->rows[d->out_ids[o]].slot];
    float top;
    memcpy(&top, &d->best[o][1], 4);
    double below = (double)d->logits[(size_t)o * d->n_vocab + token] - (double)top;
    uint32_t random = lg_random_draw(s->seed_lo, s->seed_hi, d->rows[d->out_ids[o]].pos);
    return below / (double)s->temperature + (double)lg_random_gumbel(random, token);
}

/* Runs the dispatch both ways, compares, and keeps the device's tokens. */
static void draw_run(struct check *c, struct draw *d, const char *name)
{
    struct lg_sample_push push = {.n_vocab = d->n_vocab};
    size_t n = d->n_out;
    find_best(d);
    struct check_case k = {
        .kernel = LG_K_SAMPLE,
        .data = {d->logits, d->best, d->out_ids, d->rows, d->samplers, d->history, d->ring},
        .size = {n * d->n_vocab * 4, n * 8, n * 4, (n + N_ROWS) * sizeof(struct lg_row),
                 n * sizeof(struct lg_sampler), n * LG_HISTORY * 4, n * LG_RING * 4, n * 4},
        .spec = {check_workgroup(c)},
        .grid = {d->n_out, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = 4.0 * (double)n * d->n_vocab,
    };
    char full_name[128];
    snprintf(full_name, sizeof(full_name), "sample %s, vocabulary %u, %u rows", name, d->n_vocab, d->n_out);
    if (check_dispatch(c, &k, full_name)) {
        bool same = true;
        for (uint32_t o = 0; o < d->n_out; o++) {
            uint32_t got = ((const uint32_t *)k.out[7])[o], want = ((const uint32_t *)k.ref[7])[o];
            d->tokens[o] = got;
            same &= got == want;
            if (got != want && (got >= d->n_vocab || !(score(d, o, want) - score(d, o, got) < 1e-4)))
                check_fail(c, "%s: row %u drew %u, not %u", full_name, o, got, want);
        }
        if (same)
            check_compare(c, &k, full_name);
    }
    check_release(&k);
}

/* ---- what the filters keep
 * -------------------------------------------------------------------------------------- */

static void random_case(struct check *c, uint32_t n_vocab, uint32_t n_out)
{
    struct draw d;
    draw_init_rows(c, &d, n_vocab, n_out, n_out > 1);
    for (uint32_t o = 0; o < n_out; o++) {
        struct lg_sampler *s = &d.samplers[o];
        s->temperature = check_int(c, 0, 4) ? test_randf(&c->rng, 0.1f, 2) : 0;
        s->top_k = check_int(c, 0, 1) ? check_int(c, 1, n_vocab + 2) : 0;
        s->top_p = check_int(c, 0, 1) ? test_randf(&c->rng, 0.05f, 1) : 1;
        s->min_p = check_int(c, 0, 1) ? test_randf(&c->rng, 0, 0.3f) : 0;
        s->n_remaining = check_int(c, 1, 3);
        s->n_end = check_int(c, 0, LG_MAX_END);
        for (uint32_t i = 0; i < s->n_end; i++)
            s->end[i] = check_int(c, 0, n_vocab);
    }
    draw_run(c, &d, "with random filters");
    draw_free(&d);
}

/* Some tokens share a logit: whichever filter is on, all of the equals at its edge stay and nothing below. */
static void ties_case(struct check *c, struct lg_sampler filter, const char *name)
{
    enum { N_VOCAB = 300, N_OUT = 200 };
    struct draw d;
    draw_init(c, &d, N_VOCAB, N_OUT);
    for (uint32_t o = 0; o < N_OUT; o++) {
        float *logits = d.logits + (size_t)o * N_VOCAB;
        for (uint32_t i = 0; i < N_VOCAB; i++)
            logits[i] = i % 100 == 42 ? 3 : 2.5f - (float)(i % 7) * 0.1f; // the largest three times
        d.samplers[o].top_k = filter.top_k;
        d.samplers[o].top_p = filter.top_p;
        d.samplers[o].min_p = filter.min_p;
    }
    draw_run(c, &d, name);
    uint32_t seen[3] = {0};
    for (uint32_t o = 0; o < N_OUT; o++) {
        if (d.tokens[o] % 100 == 42)
            seen[d.tokens[o] / 100]++;
        else
            check_fail(c, "sample %s: token %u should have been cut away", name, d.tokens[o]);
    }
    if (!seen[0] || !seen[1] || !seen[2])
        check_fail(c, "sample %s: drawn %u, %u, %u times: equals are missing", name, seen[0], seen[1],
                   seen[2]);
    draw_free(&d);
}

/* Minus infinity is never drawn, however flat the distribution, unless the row (here the first) has nothing
 * else. */
static void infinity_case(struct check *c)
{
    enum { N_VOCAB = 100, N_OUT = 100 };
    struct draw d;
    draw_init(c, &d, N_VOCAB, N_OUT);
    for (uint32_t o = 0; o < N_OUT; o++) {
        for (uint32_t i = 0; i < N_VOCAB; i++)
            d.logits[(size_t)o * N_VOCAB + i] = i % 10 == 5 && o > 0 ? (float)i * 1e-3f : -INFINITY;
        d.samplers[o].temperature = 1000;
        d.samplers[o].top_k = o % 2 ? 20 : 0;
        d.samplers[o].top_p = o % 3 ? 0.999f : 1;
    }
    draw_run(c, &d, "with minus infinity");
    for (uint32_t o = 1; o < N_OUT; o++) {
        if (d.tokens[o] % 10 != 5)
            check_fail(c, "sample: token %u has a logit of minus infinity", d.tokens[o]);
    }
    draw_free(&d);
}

/* ---- the distribution
 * ------------------------------------------------------------------------------------------- */

/* Chi-square of many draws, each with a seed or a position of its own, against the softmax. */
static void distribution_case(struct check *c, float temperature, bool by_position)
{
    enum { N_VOCAB = 8, N_OUT = 500, N_ROUNDS = 8, LIMIT = 48 /* 7 degrees of freedom: one in 10^7 */ };
    static const float logits[N_VOCAB] = {0.5f, -1, 2, 1.5f, 0, -0.5f, 1, -2};
    double p[N_VOCAB], sum = 0, chi_square = 0;
    uint32_t seen[N_VOCAB] = {0};
    for (int i = 0; i < N_VOCAB; i++)
        sum += p[i] = exp((double)logits[i] / (double)temperature);
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        struct draw d;
        draw_init(c, &d, N_VOCAB, N_OUT);
        for (uint32_t o = 0; o < N_OUT; o++) {
            memcpy(d.logits + (size_t)o * N_VOCAB, logits, sizeof(logits));
            d.samplers[o].temperature = temperature;
            d.rows[o].pos = by_position ? round * N_OUT + o : 0;
            d.samplers[o].seed_lo = by_position ? 7 : round * N_OUT + o; // neighbours, as a host would count
            d.samplers[o].seed_hi = 0;
        }
        draw_run(c, &d, "of a small vocabulary");
        for (uint32_t o = 0; o < N_OUT; o++)
            seen[d.tokens[o]]++;
        draw_free(&d);
    }
    for (int i = 0; i < N_VOCAB; i++) {
        double expected = p[i] / sum * N_OUT * N_ROUNDS;
        chi_square += ((double)seen[i] - expected) * ((double)seen[i] - expected) / expected;
    }
    if (!(chi_square < LIMIT))
        check_fail(c, "sample: chi-square %.1f at temperature %g", chi_square, (double)temperature);
}

void check_sample(struct check *c)
{
    if (c->bench) {
        struct draw d;
        draw_init(c, &d, 151936, 1);
        d.samplers[0].top_k = 40;
        d.samplers[0].top_p = 0.95f;
        draw_run(c, &d, "top-k 40, top-p 0.95");
        draw_free(&d);
        return;
    }
    static const uint32_t vocabularies[] = {1, 2, 13, 1000, 32003};
    for (size_t i = 0; i < sizeof(vocabularies) / sizeof(vocabularies[0]); i++) {
        random_case(c, vocabularies[i], 6);
        random_case(c, vocabularies[i], 1);
    }
    ties_case(c, (struct lg_sampler){.top_k = 1, .top_p = 1}, "top_k 1");
    ties_case(c, (struct lg_sampler){.top_k = 3, .top_p = 1}, "top_k 3");
    ties_case(c, (struct lg_sampler){.top_p = 1e-4f}, "top_p tiny");
    ties_case(c, (struct lg_sampler){.top_p = 1e-9f}, "top_p next to nothing");
    ties_case(c, (struct lg_sampler){.top_p = 1, .min_p = 1}, "min_p 1");
    infinity_case(c);
    distribution_case(c, 1, false);
    distribution_case(c, 0.6f, true);
}

/* ---- the next pass's rows ------------------------------------------------------------------------ */

static void next_rows_case(struct check *c, uint32_t n_outs, uint32_t n_rows)
{
    uint32_t dims[LG_N_DIMS] = {n_rows, n_outs, n_outs, 3, 4, 5};
    struct lg_sampler *samplers = check_zeros(n_rows, sizeof(*samplers));
    struct lg_row *rows = check_zeros(n_rows, sizeof(*rows));
    uint32_t *tokens = check_words(c, n_outs, 1000), *out_ids = check_zeros(n_outs, sizeof(*out_ids));
    uint32_t always = check_int(c, 0, 3); // none, all or some have ended
    for (uint32_t i = 0; i < n_rows; i++) {
        rows[i] = (struct lg_row){.token = 7, .pos = check_int(c, 0, 500), .slot = n_rows - 1 - i};
        samplers[i].ended = always == 0 ? 0 : always == 1 ? 1 : check_int(c, 0, 1);
    }
    for (uint32_t o = 0; o < n_outs; o++)
        out_ids[o] = o + (n_rows - n_outs) * o / n_outs;
    struct check_case k = {
        .kernel = LG_K_NEXT_ROWS,
        .data = {samplers, tokens, out_ids, rows, dims},
        .size = {n_rows * sizeof(*samplers), n_outs * 4ull, n_outs * 4ull, n_rows * sizeof(*rows), sizeof(dims)},
        .spec = {check_workgroup(c)},
        .grid = {1, 1, 1},
    };
    check_run(c, &k, "%u of %u rows", n_outs, n_rows);
    free(samplers);
    free(rows);
    free(tokens);
    free(out_ids);
}

void check_next_rows(struct check *c)
{
    static const uint32_t outs[] = {1, 2, 3, 31, 64, 257};
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof(outs) / sizeof(outs[0]); i++) {
            next_rows_case(c, outs[i], outs[i]);
            next_rows_case(c, outs[i], outs[i] + check_int(c, 1, 300));
        }
    }
}
