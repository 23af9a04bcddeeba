/* SPDX-License-Identifier: MIT */
#include "gguf/gguf.h"

#include <assert.h>

#include "gguf/internal.h"

enum {
    PIECE = 1 << 20,         // bytes of a read, so that it can be cancelled before the next
    FIRST_WINDOW = 64 << 10, // bytes of the first one
    MAX_WINDOW = 1 << 30,    // bytes; the largest vocabularies take some ten million
};

static int create(struct lg_env *env, const char *name, struct lg_gguf **out)
{
    struct lg_gguf *gguf = lg_alloc(env, sizeof(*gguf));
    if (!gguf)
        return lg_fail_nomem(env, "a GGUF file", sizeof(*gguf));
    gguf->env = env;
    struct lg_gguf_priv *priv = gguf->priv = lg_alloc(env, sizeof(*priv));
    if (!priv) {
        lg_gguf_close(gguf);
        return lg_fail_nomem(env, "a GGUF file", sizeof(struct lg_gguf_priv));
    }
    size_t len = strlen(name);
    if (len >= LG_GGUF_LABEL) { // the end of a path tells more than its beginning
        name += len - (LG_GGUF_LABEL - 1);
        while (((unsigned char)*name & 0xc0) == 0x80) // not from within a UTF-8 character
            name++;
    }
    memcpy(priv->label, name, strlen(name));
    *out = gguf;
    return 0;
}

/** Reads more of the beginning of a file that callbacks read: twice as much, and at least what is wanted. */
static int widen(struct lg_gguf *gguf, uint64_t wanted)
{
    struct lg_gguf_priv *priv = gguf->priv;
    uint64_t size = priv->io.window ? priv->io.window : FIRST_WINDOW;
    if (priv->window)
        size = 2 * priv->window_size;
    size = size > wanted ? size : wanted;
    size = size < gguf->file_size ? size : gguf->file_size;
    if (wanted > MAX_WINDOW)
        return lg_fail(gguf->env, LLMGPU_E_UNSUPPORTED, "%s: a header of %llu bytes or more", priv->label,
                       (unsigned long long)wanted);
    uint8_t *window = lg_resize(gguf->env, priv->window, (size_t)size);
    if (!window)
        return lg_fail_nomem(gguf->env, "the header of a GGUF file", size);
    priv->window = window;
    LG_TRY(lg_gguf_fetch(gguf, gguf->env, priv->window_size, size - priv->window_size,
                         window + priv->window_size));
    priv->window_size = size;
    return 0;
}

/** Reads the header of a gguf that knows where its bytes are; closes it on failure. */
static int read_header(struct lg_gguf *gguf, struct lg_gguf **out)
{
    struct lg_gguf_priv *priv = gguf->priv;
    uint64_t wanted;
    int rc;
    lg_watch_begin(gguf->env, gguf->file_size);
    do {
        rc = lg_gguf_read(gguf, priv->io.read ? priv->window : gguf->file,
                          priv->io.read ? priv->window_size : gguf->file_size, &wanted);
        if (wanted) {
            lg_gguf_clear(gguf);
            rc = widen(gguf, wanted);
        }
    } while (wanted && rc == 0);
    if (rc < 0)
        lg_gguf_close(gguf);
    else
        *out = gguf;
    return rc;
}

int lg_gguf_open(struct lg_env *env, const char *path, struct lg_gguf **out)
{
    return lg_gguf_open_part(env, path, 0, 0, out);
}

int lg_gguf_open_part(struct lg_env *env, const char *path, uint64_t offset, uint64_t size,
                      struct lg_gguf **out)
{
    struct lg_gguf *gguf = NULL;
    *out = NULL;
    LG_TRY(create(env, path, &gguf));
    struct lg_gguf_priv *priv = gguf->priv;
    int rc = lg_filemap_open_part(env, path, offset, size, &priv->map);
    if (rc < 0) {
        lg_gguf_close(gguf);
        return rc;
    }
    gguf->file = priv->map.data;
    gguf->file_size = priv->map.size;
    return read_header(gguf, out);
}

int lg_gguf_parse(struct lg_env *env, const char *name, const void *data, size_t size, struct lg_gguf **out)
{
    struct lg_gguf *gguf = NULL;
    *out = NULL;
    LG_TRY(create(env, name, &gguf));
    gguf->file = data;
    gguf->file_size = size;
    return read_header(gguf, out);
}

int lg_gguf_open_io(struct lg_env *env, const char *name, const struct lg_gguf_io *io, struct lg_gguf **out)
{
    struct lg_gguf *gguf = NULL;
    *out = NULL;
    int rc = create(env, name, &gguf);
    if (rc < 0) {
        if (io->close)
            io->close(io->user);
        return rc;
    }
    ((struct lg_gguf_priv *)gguf->priv)->io = *io;
    gguf->file_size = (size_t)io->size;
    return read_header(gguf, out);
}

void lg_gguf_clear(struct lg_gguf *gguf)
{
    struct lg_env *env = gguf->env;
    struct lg_gguf_priv *priv = gguf->priv;
    for (uint64_t i = 0; i < gguf->n_kv; i++)
        lg_free(env, (void *)gguf->kv[i].strings);
    lg_free(env, gguf->kv);
    lg_free(env, gguf->tensors);
    gguf->kv = NULL;
    gguf->tensors = NULL;
    gguf->n_kv = gguf->n_tensors = 0;
    lg_gguf_index_finish(&priv->keys, env);
    lg_gguf_index_finish(&priv->names, env);
}

void lg_gguf_close(struct lg_gguf *gguf)
{
    if (!gguf)
        return;
    struct lg_env *env = gguf->env;
    struct lg_gguf_priv *priv = gguf->priv;
    if (priv) {
        lg_gguf_clear(gguf);
        lg_readahead_stop(&priv->ahead);
        lg_filemap_close(&priv->map);
        lg_free(env, priv->window);
        if (priv->io.close)
            priv->io.close(priv->io.user);
    }
    lg_free(env, priv);
    lg_free(env, gguf);
}

int lg_gguf_fetch(const struct lg_gguf *gguf, struct lg_env *env, uint64_t offset, uint64_t size, void *to)
{
    const struct lg_gguf_priv *priv = gguf->priv;
    assert(offset <= gguf->file_size && size <= gguf->file_size - offset);
    if (!priv->io.read) {
        memcpy(to, gguf->file + offset, size);
        return 0;
    }
    const struct lg_gguf_io *io = &priv->io;
    for (uint64_t done = 0, n; done < size; done += n) {
        uint64_t at = offset + done;
        n = size - done < PIECE ? size - done : PIECE;
        LG_TRY(lg_poll(env));
        if (io->read(io->user, io->offset + at, (uint8_t *)to + done, (size_t)n) != 0)
            return lg_fail(env, LLMGPU_E_IO, "%s: %llu bytes at offset %llu cannot be read", priv->label,
                           (unsigned long long)n, (unsigned long long)at);
    }
    return 0;
}

void lg_gguf_read_ahead(struct lg_gguf *gguf, uint64_t first, bool in_place)
{
    struct lg_gguf_priv *priv = gguf->priv;
    lg_readahead_start(&priv->ahead, &priv->map, (size_t)first, in_place);
}

const uint8_t *lg_gguf_lend(const struct lg_gguf *gguf, uint64_t offset, uint64_t size)
{
    const struct lg_gguf_priv *priv = gguf->priv;
    assert(offset <= gguf->file_size && size <= gguf->file_size - offset);
    lg_filemap_enter(&priv->map, (size_t)offset, (size_t)size);
    return gguf->file ? gguf->file + offset : NULL;
}

void lg_gguf_take_back(const struct lg_gguf *gguf, uint64_t offset, uint64_t size)
{
    const struct lg_gguf_priv *priv = gguf->priv;
    lg_filemap_leave(&priv->map, (size_t)offset, (size_t)size);
}

const struct lg_gguf_kv *lg_gguf_find(const struct lg_gguf *gguf, const char *key)
{
    const struct lg_gguf_priv *priv = gguf->priv;
    return lg_gguf_index_find(&priv->keys, key, strlen(key));
}

const struct lg_gguf_tensor *lg_gguf_find_tensor(const struct lg_gguf *gguf, const char *name)
{
    const struct lg_gguf_priv *priv = gguf->priv;
    return lg_gguf_index_find(&priv->names, name, strlen(name));
}
