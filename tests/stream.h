/* SPDX-License-Identifier: MIT
 *
 * A file behind callbacks: it holds each read against the file's end, counts, and fails on request.
 */
#ifndef LG_TESTS_STREAM_H
#define LG_TESTS_STREAM_H

#include "gguf/gguf.h"
#include "test.h"

struct stream {
    const uint8_t *data;
    uint64_t size;
    uint64_t n_reads, n_bytes; // so far
    uint64_t fail_at;          // the read that fails, from 1; 0: none
    int n_closed;
};

static inline int stream_read(void *user, uint64_t offset, void *to, size_t n)
{
    struct stream *s = user;
    REQUIRE_INT(s->n_closed, ==, 0);
    REQUIRE(n > 0 && offset <= s->size && n <= s->size - offset);
    s->n_bytes += n;
    if (++s->n_reads == s->fail_at)
        return -1;
    memcpy(to, s->data + offset, n);
    return 0;
}

static inline void stream_close(void *user)
{
    struct stream *s = user;
    s->n_closed++;
}

/** The stream as the GGUF reader takes it; `window` bytes are read at first, 0: as many as it wants. */
static inline struct lg_gguf_io stream_io(struct stream *s, uint64_t window)
{
    return (struct lg_gguf_io){
        .read = stream_read, .close = stream_close, .user = s, .size = s->size, .window = window};
}

#endif
