/* SPDX-License-Identifier: MIT
 *
 * Saving and restoring sessions. A compact state needs no device: it is saved and restored without waiting
 * for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/handles.h"
#include "util/checked.h"
#include "util/newfile.h"

/** Begins a call: errors from here on are this call's. */
static void clear(llmgpu_session *s)
{
    s->env.error[0] = '\0';
}

int lg_api_identify(struct lg_env *env, llmgpu_model *model)
{
    if (atomic_load(&model->identified))
        return 0;
    struct lg_scheduler *sched = &model->ctx->sched;
    int rc = 0;
    if (lg_turn_take(&sched->turn, UINT64_MAX) < 0) // the file is read by one thread at a time
        return lg_fail(env, LLMGPU_E_BUSY, "called from within a callback");
    if (!atomic_load(&model->identified)) {
        rc = lg_save_identify(model->model, env, &model->identity);
        atomic_store(&model->identified, rc == 0);
    }
    lg_scheduler_give(sched);
    return rc;
}

/* ---- saving */

static int check_save(llmgpu_session *s, int kind, const llmgpu_session *base)
{
    if (kind != LLMGPU_STATE_COMPACT && kind != LLMGPU_STATE_FULL)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "there is no kind %d of saved states", kind);
    LG_TRY(lg_api_identify(&s->env, s->model));
    if (!base || base->model == s->model)
        return 0;
    LG_TRY(lg_api_identify(&s->env, base->model));
    if (base->model->identity.fingerprint != s->model->identity.fingerprint)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "the base is a session of another model");
    return 0;
}

/** Where a saved state goes. */
typedef int save_fn(llmgpu_session *s, const struct lg_save *save, void *user);

static int save_with(llmgpu_session *s, bool full, const llmgpu_session *base, save_fn *fn, void *user)
{
    struct lg_save save = {0};
    int rc = lg_save_begin(&save, &s->session, full, base ? &base->session : NULL, &s->model->identity);
    if (rc == 0)
        rc = fn(s, &save, user);
    lg_save_finish(&save);
    return rc;
}

static int save_as(llmgpu_session *s, int kind, const llmgpu_session *base, save_fn *fn, void *user)
{
    clear(s);
    LG_TRY(check_save(s, kind, base));
    if (kind == LLMGPU_STATE_COMPACT)
        return save_with(s, false, base, fn, user);
    LG_TRY(lg_api_enter(s->model->ctx, &s->env));
    return lg_api_leave(s->model->ctx, &s->env, save_with(s, true, base, fn, user));
}

/** Memory of the caller. */
struct memory {
    uint8_t *at;
    size_t capacity;
    size_t *size;
};

static int put_memory(void *user, const void *data, size_t size)
{
    struct memory *m = user;
    memcpy(m->at, data, size);
    m->at += size;
    return 0;
}

static int save_memory(llmgpu_session *s, const struct lg_save *save, void *user)
{
    struct memory *m = user;
    if (save->size > SIZE_MAX)
        return lg_fail_nomem(&s->env, "a saved state", save->size);
    *m->size = (size_t)save->size;
    if (save->size > m->capacity)
        return lg_fail(&s->env, LLMGPU_E_RANGE, "the saved state takes %llu bytes, there is room for %zu",
                       (unsigned long long)save->size, m->capacity);
    return lg_save_write(save, put_memory, m);
}

int llmgpu_session_save(llmgpu_session *s, int kind, const llmgpu_session *base, void *buffer,
                        size_t capacity, size_t *size)
{
    if (!s || !size || (!buffer && capacity))
        return LLMGPU_E_INVALID;
    struct memory m = {.at = buffer, .capacity = capacity, .size = size};
    return save_as(s, kind, base, save_memory, &m);
}

static int put_file(void *user, const void *data, size_t size)
{
    return lg_newfile_write(user, data, size);
}

static int save_file(llmgpu_session *s, const struct lg_save *save, void *user)
{
    struct lg_newfile file;
    LG_TRY(lg_newfile_open(&s->env, user, &file));
    return lg_newfile_close(&file, lg_save_write(save, put_file, &file));
}

int llmgpu_session_save_file(llmgpu_session *s, int kind, const llmgpu_session *base, const char *path)
{
    if (!s || !path)
        return LLMGPU_E_INVALID;
    return save_as(s, kind, base, save_file, (void *)path);
}

/* ---- restoring */

/** Tokens at the end of an answer whose text may be held back: a stop text's, and some without any. */
enum { MAX_REPLAY = 2 * LG_MAX_STOP_LEN };

static int restore(llmgpu_session *s, const void *data, size_t size)
{
    const struct lg_state_model *model = &s->model->identity;
    struct lg_state state;
    struct lg_place place;
    LG_TRY(lg_state_parse(&s->env, model, data, size, &state));
    uint32_t n = lg_min_u32(lg_state_answer(&state), MAX_REPLAY);
    const uint8_t *tail = (const uint8_t *)state.tokens + (state.n_tokens - n) * sizeof(int32_t);
    LG_TRY(lg_api_answer_replay(s, tail, n, &place));
    if (state.full)
        LG_TRY(lg_api_enter(s->model->ctx, &s->env));
    int rc = lg_session_restore(&s->session, model, &state);
    if (state.full)
        rc = lg_api_leave(s->model->ctx, &s->env, rc);
    LG_TRY(rc);
    lg_api_answer_resume(s, &place);
    return 0;
}

int llmgpu_session_restore(llmgpu_session *s, const void *state, size_t size)
{
    if (!s || (!state && size))
        return LLMGPU_E_INVALID;
    clear(s);
    LG_TRY(lg_api_identify(&s->env, s->model));
    return restore(s, state, size);
}

/** Bytes of a file in memory of our own: a map would change with the file after it was checked. */
static int read_all(llmgpu_session *s, const char *path, int fd, uint8_t **out, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return lg_fail(&s->env, LLMGPU_E_IO, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return lg_fail(&s->env, LLMGPU_E_IO, "cannot read '%s': not a regular file", path);
    uint64_t limit = lg_save_limit(&s->model->identity, s->session.params.n_ctx);
    if ((uint64_t)st.st_size > limit)
        return lg_fail(&s->env, LLMGPU_E_CONTEXT_FULL,
                       "'%s' has %lld bytes; a state of a context of %u tokens has at "
                       "most %llu",
                       path, (long long)st.st_size, s->session.params.n_ctx, (unsigned long long)limit);
    *size = (size_t)st.st_size;
    *out = lg_alloc(&s->env, *size);
    if (!*out)
        return lg_fail_nomem(&s->env, "a saved state", *size);
    for (size_t done = 0; done < *size;) {
        ssize_t n = read(fd, *out + done, *size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return lg_fail(&s->env, LLMGPU_E_IO, "cannot read '%s': %s", path,
                           n < 0 ? strerror(errno) : "it was cut off");
        done += (size_t)n;
    }
    return 0;
}

int llmgpu_session_restore_file(llmgpu_session *s, const char *path)
{
    if (!s || !path)
        return LLMGPU_E_INVALID;
    clear(s);
    LG_TRY(lg_api_identify(&s->env, s->model));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hang the host
    if (fd < 0)
        return lg_fail(&s->env, LLMGPU_E_IO, "cannot open '%s': %s", path, strerror(errno));
    uint8_t *data = NULL;
    size_t size = 0;
    int rc = read_all(s, path, fd, &data, &size);
    close(fd);
    if (rc == 0)
        rc = restore(s, data, size);
    lg_free(&s->env, data);
    return rc;
}
