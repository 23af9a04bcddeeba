/* SPDX-License-Identifier: MIT */
#include "text/internal.h"
#include "text/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd"

/** Where text goes; `n` goes on when `cap` is reached. */
struct sink {
    char *out;
    size_t n, cap;
};

static void put(struct sink *sink, const char *bytes, size_t n)
{
    if (sink->n + n <= sink->cap)
        memcpy(sink->out + sink->n, bytes, n);
    sink->n += n;
}

static void put_byte(struct sink *sink, struct lg_decoder *d, char byte)
{
    char *pending = (char *)d->pending;
    pending[d->n_pending++] = byte;
    while (d->n_pending > 0) {
        int len = lg_utf8_len(pending, d->n_pending);
        if (len == 0)
            return;
        if (len > 0)
            put(sink, pending, (size_t)len);
        else
            put(sink, REPLACEMENT, 3);
        int used = len > 0 ? len : -len;
        d->n_pending = (uint8_t)(d->n_pending - used);
        memmove(pending, pending + used, d->n_pending);
    }
}

int lg_decoder_push(struct lg_decoder *d, const struct lg_vocab *vocab, int32_t token, bool special,
                    char *out, size_t cap)
{
    struct lg_str piece;
    lg_vocab_piece(vocab, token, special, &piece);
    struct lg_decoder next = *d;
    struct sink sink = {.out = out, .cap = cap};
    for (size_t i = 0; i < piece.len; i++) {
        bool is_prefix = !next.started && piece.ptr[i] == ' ' && vocab->add_space_prefix;
        next.started = true;
        if (!is_prefix)
            put_byte(&sink, &next, piece.ptr[i]);
    }
    if (sink.n > cap || sink.n > INT32_MAX)
        return LLMGPU_E_RANGE;
    *d = next;
    return (int)sink.n;
}

int lg_decoder_finish(struct lg_decoder *d, char *out, size_t cap)
{
    struct sink sink = {.out = out, .cap = cap};
    if (d->n_pending > 0)
        put(&sink, REPLACEMENT, 3);
    if (sink.n > cap)
        return LLMGPU_E_RANGE;
    *d = (struct lg_decoder){0};
    return (int)sink.n;
}
