/* SPDX-License-Identifier: MIT
 *
 * Special tokens written in a text. All occurrences of the longest token are taken first, then those of the
 * next in the rest, and so on. To do that in one pass, each place of the text stands in a queue with the
 * longest token that it could begin; one whose turn comes when its bytes are partly taken goes back with the
 * next shorter token.
 */
#include <stdlib.h>

#include "text/internal.h"

struct scan {
    const struct lg_vocab *vocab;
    const char *text;
    size_t len;
    bool control;
};

static const struct lg_token *special_token(const struct lg_vocab *vocab, const struct lg_special *s)
{
    return &vocab->tokens[s->token];
}

/** The byte at `depth` of a special's text; -1 behind its end, so that it sorts first. */
static int byte_at(const struct lg_vocab *vocab, uint32_t i, size_t depth)
{
    struct lg_str text = special_token(vocab, &vocab->specials[i])->text;
    return depth < text.len ? (uint8_t)text.ptr[depth] : -1;
}

/** The first special in [lo, hi) whose byte at `depth` is not below `byte`. */
static uint32_t lower_bound(const struct lg_vocab *vocab, uint32_t lo, uint32_t hi, size_t depth, int byte)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (byte_at(vocab, mid, depth) < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/** The longest special that begins at `pos` and is shorter than `below`; NULL when there is none. */
static const struct lg_special *longest_at(const struct scan *scan, size_t pos, size_t below)
{
    const struct lg_vocab *vocab = scan->vocab;
    const struct lg_special *best = NULL;
    uint8_t first = (uint8_t)scan->text[pos];
    uint32_t lo = vocab->first_special[first], hi = vocab->first_special[first + 1];
    for (size_t depth = 1; lo < hi && depth < below; depth++) {
        const struct lg_token *token = special_token(vocab, &vocab->specials[lo]);
        if (token->text.len == depth) {
            if (scan->control || !(token->attr & (LG_TOKEN_CONTROL | LG_TOKEN_UNKNOWN)))
                best = &vocab->specials[lo];
            lo++; // texts are unique: the others go on
        }
        if (pos + depth == scan->len)
            break;
        int byte = (uint8_t)scan->text[pos + depth];
        lo = lower_bound(vocab, lo, hi, depth, byte);
        hi = lower_bound(vocab, lo, hi, depth, byte + 1);
    }
    return best;
}

static uint64_t queue_key(const struct lg_special *s, size_t pos)
{
    return (uint64_t)s->rank << 32 | pos;
}

static int fill_queue(const struct scan *scan, struct lg_env *env, struct lg_heap *queue)
{
    for (size_t pos = 0; pos < scan->len; pos++) {
        const struct lg_special *s = longest_at(scan, pos, SIZE_MAX);
        if (!s)
            continue;
        LG_TRY(lg_heap_reserve(env, queue, queue->n + 1));
        lg_heap_push(queue, queue_key(s, pos));
    }
    return 0;
}

static bool is_taken(const uint8_t *taken, size_t i)
{
    return taken[i / 8] >> (i % 8) & 1;
}

static bool is_ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/** Marks a token's bytes and the white space that belongs to it. */
static struct lg_split take(const struct scan *scan, uint8_t *taken, int32_t id, size_t pos)
{
    const struct lg_token *token = &scan->vocab->tokens[id];
    struct lg_split split = {.start = pos, .end = pos + token->text.len, .token = id};
    if (token->strips_right)
        while (split.end < scan->len && is_ascii_space(scan->text[split.end]) && !is_taken(taken, split.end))
            split.end++;
    for (size_t i = split.start; i < split.end; i++)
        taken[i / 8] |= (uint8_t)(1u << (i % 8));
    return split;
}

static int compare_starts(const void *a, const void *b)
{
    size_t x = ((const struct lg_split *)a)->start, y = ((const struct lg_split *)b)->start;
    return x < y ? -1 : x > y;
}

/** Serves the queue; `splits` has room for each entry. */
static size_t serve(const struct scan *scan, const int32_t *by_rank, struct lg_heap *queue, uint8_t *taken,
                    struct lg_split *splits)
{
    size_t n = 0;
    while (queue->n > 0) {
        uint64_t key = lg_heap_pop(queue);
        size_t pos = (uint32_t)key;
        int32_t id = by_rank[key >> 32];
        size_t len = scan->vocab->tokens[id].text.len;
        if (is_taken(taken, pos))
            continue;
        // What is taken is at least as long as this token, so it cannot lie between the ends.
        if (!is_taken(taken, pos + len - 1)) {
            splits[n++] = take(scan, taken, id, pos);
            continue;
        }
        const struct lg_special *shorter = longest_at(scan, pos, len);
        if (shorter)
            lg_heap_push(queue, queue_key(shorter, pos));
    }
    return n;
}

int lg_split_specials(const struct lg_vocab *vocab, struct lg_env *env, const char *text, size_t len,
                      bool control, struct lg_split **out, size_t *n)
{
    *out = NULL;
    *n = 0;
    struct scan scan = {.vocab = vocab, .text = text, .len = len, .control = control};
    struct lg_heap queue = {0};
    struct lg_split *splits = NULL;
    uint8_t *taken = NULL;
    int rc = fill_queue(&scan, env, &queue);
    if (rc < 0 || queue.n == 0)
        goto done;
    splits = lg_alloc_array(env, queue.n, sizeof(*splits));
    taken = lg_alloc(env, len / 8 + 1);
    if (!splits || !taken) {
        rc = lg_fail_nomem(env, "special tokens", (uint64_t)queue.n * sizeof(*splits) + len / 8);
        goto done;
    }
    *n = serve(&scan, vocab->special_by_rank, &queue, taken, splits);
    qsort(splits, *n, sizeof(*splits), compare_starts);
    *out = splits;
    splits = NULL;
done:
    lg_free(env, queue.keys);
    lg_free(env, taken);
    lg_free(env, splits);
    return rc;
}

/** Orders by text; of equal texts the user-defined token comes first, then the smaller id. */
static int compare_texts(const void *a, const void *b, void *user)
{
    const struct lg_token *tokens = user;
    int32_t x = ((const struct lg_special *)a)->token, y = ((const struct lg_special *)b)->token;
    struct lg_str s = tokens[x].text, t = tokens[y].text;
    int order = memcmp(s.ptr, t.ptr, s.len < t.len ? s.len : t.len);
    if (order != 0)
        return order;
    if (s.len != t.len)
        return s.len < t.len ? -1 : 1;
    int control_x = (tokens[x].attr & LG_TOKEN_USER_DEFINED) == 0;
    int control_y = (tokens[y].attr & LG_TOKEN_USER_DEFINED) == 0;
    return control_x != control_y ? control_x - control_y : x < y ? -1 : x > y;
}

/** Orders by length, the longest first, then by id. */
static int compare_lengths(const void *a, const void *b, void *user)
{
    const struct lg_token *tokens = user;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (tokens[x].text.len != tokens[y].text.len)
        return tokens[x].text.len > tokens[y].text.len ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool is_special(const struct lg_token *token)
{
    return token->attr & (LG_TOKEN_CONTROL | LG_TOKEN_USER_DEFINED | LG_TOKEN_UNKNOWN) && token->text.len > 0;
}

/** Sorts the specials by text and drops those whose text another has. */
static void sort_specials(struct lg_vocab *vocab)
{
    struct lg_special *s = vocab->specials;
    qsort_r(s, vocab->n_specials, sizeof(*s), compare_texts, vocab->tokens);
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab->n_specials; i++) {
        struct lg_str text = vocab->tokens[s[i].token].text;
        if (n > 0) {
            struct lg_str last = vocab->tokens[s[n - 1].token].text;
            if (last.len == text.len && memcmp(last.ptr, text.ptr, text.len) == 0)
                continue;
        }
        s[n++] = s[i];
    }
    vocab->n_specials = n;
}

int lg_split_index(struct lg_env *env, struct lg_vocab *vocab)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        n += is_special(&vocab->tokens[i]);
    vocab->specials = lg_alloc_array(env, n, sizeof(*vocab->specials));
    vocab->special_by_rank = lg_alloc_array(env, n, sizeof(*vocab->special_by_rank));
    int32_t *rank_of = lg_alloc_array(env, vocab->n_tokens, sizeof(*rank_of));
    if (!vocab->specials || !vocab->special_by_rank || !rank_of) {
        lg_free(env, rank_of);
        return lg_fail_nomem(env, "special tokens", vocab->n_tokens * sizeof(*rank_of));
    }
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        if (is_special(&vocab->tokens[i]))
            vocab->specials[vocab->n_specials++].token = (int32_t)i;
    sort_specials(vocab);

    n = vocab->n_specials;
    for (uint32_t i = 0; i < n; i++)
        vocab->special_by_rank[i] = vocab->specials[i].token;
    qsort_r(vocab->special_by_rank, n, sizeof(*vocab->special_by_rank), compare_lengths, vocab->tokens);
    for (uint32_t i = 0; i < n; i++)
        rank_of[vocab->special_by_rank[i]] = (int32_t)i;
    for (uint32_t i = 0; i < n; i++)
        vocab->specials[i].rank = (uint32_t)rank_of[vocab->specials[i].token];
    lg_free(env, rank_of);

    for (int byte = 0; byte <= 256; byte++)
        vocab->first_special[byte] = lower_bound(vocab, 0, n, 0, byte);
    return 0;
}
