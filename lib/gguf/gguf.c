/* SPDX-License-Identifier: MIT */
#include "gguf/gguf.h"

#include "gguf/internal.h"

static int create(struct lg_env *env, struct lg_gguf **out)
{
    struct lg_gguf *gguf = lg_alloc(env, sizeof(*gguf));
    if (!gguf)
        return lg_fail_nomem(env, "a GGUF file", sizeof(*gguf));
    gguf->env = env;
    gguf->priv = lg_alloc(env, sizeof(struct lg_gguf_priv));
    if (!gguf->priv) {
        lg_gguf_close(gguf);
        return lg_fail_nomem(env, "a GGUF file", sizeof(struct lg_gguf_priv));
    }
    *out = gguf;
    return 0;
}

int lg_gguf_open(struct lg_env *env, const char *path, struct lg_gguf **out)
{
    struct lg_gguf *gguf = NULL;
    *out = NULL;
    LG_TRY(create(env, &gguf));
    struct lg_gguf_priv *priv = gguf->priv;
    int rc = lg_filemap_open(env, path, &priv->map);
    if (rc < 0)
        goto fail;
    gguf->file = priv->map.data;
    gguf->file_size = priv->map.size;
    rc = lg_gguf_read(gguf, path);
    if (rc < 0)
        goto fail;
    *out = gguf;
    return 0;
fail:
    lg_gguf_close(gguf);
    return rc;
}

int lg_gguf_parse(struct lg_env *env, const char *name, const void *data, size_t size, struct lg_gguf **out)
{
    struct lg_gguf *gguf = NULL;
    *out = NULL;
    LG_TRY(create(env, &gguf));
    gguf->file = data;
    gguf->file_size = size;
    int rc = lg_gguf_read(gguf, name);
    if (rc < 0) {
        lg_gguf_close(gguf);
        return rc;
    }
    *out = gguf;
    return 0;
}

void lg_gguf_close(struct lg_gguf *gguf)
{
    if (!gguf)
        return;
    struct lg_env *env = gguf->env;
    struct lg_gguf_priv *priv = gguf->priv;
    for (uint64_t i = 0; i < gguf->n_kv; i++)
        lg_free(env, (void *)gguf->kv[i].strings);
    lg_free(env, gguf->kv);
    lg_free(env, gguf->tensors);
    if (priv) {
        lg_gguf_index_finish(&priv->keys, env);
        lg_gguf_index_finish(&priv->names, env);
        lg_filemap_close(&priv->map);
    }
    lg_free(env, priv);
    lg_free(env, gguf);
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
