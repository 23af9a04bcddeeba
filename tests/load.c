/* SPDX-License-Identifier: MIT
 *
 * How models come in and go out, on the device that the first argument names: from a file, a part of one,
 * memory and callbacks, all with the same answer; with every read and every allocation failing once,
 * cancelled at every place, and a hundred times with nothing left behind.
 */
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"
#include "large_build.h"
#include "llmgpu/llmgpu.h"
#include "model_use.h"
#include "stream.h"
#include "util/clock.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { WATCHED = 1 };
#else
enum { WATCHED = 0 }; // by a sanitizer, which slows things down and keeps freed memory
#endif

enum { N_OUT = 6, BEFORE = 5000, BEHIND = 3000 }; // tokens; bytes around the file in a pack

static struct model_build m;
static const char *device;
static bool on_cpu;
static struct test_heap heap;
static llmgpu_context *ctx;
static int32_t expected[N_OUT];
static uint8_t *pack; // BEFORE bytes, the file, BEHIND bytes

/* ---- a context and its models */

static void open_context(void)
{
    llmgpu_context_params p;
    char error[512];
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    p.device = device;
    p.n_threads = 2;
    p.alloc = test_heap_alloc;
    p.resize = test_heap_resize;
    p.release = test_heap_release;
    p.alloc_user = &heap;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
}

static uint64_t device_bytes(void)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(ctx, &stats, sizeof(stats)), ==, 0);
    return stats.device_bytes;
}

static llmgpu_model_params part(uint64_t offset, uint64_t length)
{
    llmgpu_model_params p;
    REQUIRE_INT(llmgpu_model_params_init(&p, sizeof(p)), ==, 0);
    p.file_offset = offset;
    p.file_length = length;
    return p;
}

static llmgpu_io stream_file(struct stream *s)
{
    return (llmgpu_io){.size = sizeof(llmgpu_io),
                       .file_size = s->size,
                       .read = stream_read,
                       .close = stream_close,
                       .user = s};
}

static int next_token(llmgpu_session *s, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(s, token)) == LLMGPU_AGAIN)
        LG_TRY(llmgpu_session_wait(s, UINT64_MAX));
    return rc;
}

static int answer(llmgpu_model *model, int32_t out[N_OUT])
{
    static const int32_t prompt[] = {3, 50, 90, 4, 7, 11, 250};
    llmgpu_session_params p;
    llmgpu_sampler_params sampler;
    llmgpu_session *s;
    REQUIRE_INT(llmgpu_session_params_init(&p, sizeof(p)), ==, 0);
    REQUIRE_INT(llmgpu_sampler_params_init(&sampler, sizeof(sampler)), ==, 0);
    p.n_ctx = 32;
    p.n_batch = 4;
    p.ignore_end = 1;
    sampler.temperature = 0.8f;
    LG_TRY(llmgpu_session_create(&s, model, &p));
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
    int rc = llmgpu_session_feed(s, prompt, sizeof(prompt) / sizeof(prompt[0]));
    for (int i = 0; i < N_OUT && rc >= 0; i++) {
        rc = next_token(s, &out[i]);
        REQUIRE(rc < 0 || rc == LLMGPU_TOKEN);
    }
    llmgpu_session_free(s);
    return rc < 0 ? rc : 0;
}

static void require_answer(llmgpu_model *model)
{
    int32_t out[N_OUT];
    REQUIRE_INT(answer(model, out), ==, 0);
    REQUIRE(memcmp(out, expected, sizeof(out)) == 0);
}

static void require_loaded(int rc)
{
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(ctx));
    REQUIRE_INT(rc, ==, 0);
}

/** A model that is there, from `bytes` bytes that callbacks or the device hold. */
static void use_and_free(llmgpu_model *model)
{
    require_answer(model);
    llmgpu_model_free(model);
    REQUIRE_INT(device_bytes(), ==, 0);
}

static void make_temporary(char path[], const void *data, size_t size)
{
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

/* ---- the ways in */

static void make_model(void)
{
    struct model_shape shape = model_tiny("qwen2");
    model_init(&m, &shape);
    model_add(&m, "rope_freqs.weight", 0, 0, 4, LG_TYPE_F32)->filled = true;
    model_tensor(&m, "rope_freqs.weight")->fill = 2;
    model_write(&m);
    pack = malloc(BEFORE + m.file.size + BEHIND);
    REQUIRE(pack);
    memset(pack, 0xa5, BEFORE + m.file.size + BEHIND);
    memcpy(pack + BEFORE, m.file.data, m.file.size);
}

static void check_path(void)
{
    char path[] = "/tmp/llmgpu-test-XXXXXX";
    llmgpu_model *model;
    make_temporary(path, m.file.data, m.file.size);
    require_loaded(llmgpu_model_load(&model, ctx, path, NULL));
    unlink(path); // a file that is gone stays open
    REQUIRE_INT(answer(model, expected), ==, 0);
    uint64_t bytes = device_bytes();
    llmgpu_model_free(model);
    REQUIRE_INT(device_bytes(), ==, 0);
    REQUIRE(bytes > 0);
    bool differ = false;
    for (int i = 1; i < N_OUT; i++)
        differ |= expected[i] != expected[0];
    REQUIRE(differ); // otherwise it would show nothing
}

/** At every offset it lies at in a page, and at none that is a multiple of anything. */
static void check_pack(void)
{
    static const uint64_t offsets[] = {0, 1, 31, 4095, 4096, 4097, 9999};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        char path[] = "/tmp/llmgpu-test-XXXXXX";
        llmgpu_model_params p = part(offsets[i], m.file.size);
        llmgpu_model *model;
        make_temporary(path, m.file.data, m.file.size);
        FILE *f = fopen(path, "wb");
        REQUIRE(f);
        for (uint64_t k = 0; k < offsets[i]; k++)
            fputc(0xa5, f);
        REQUIRE_INT(fwrite(m.file.data, 1, m.file.size, f), ==, m.file.size);
        fflush(f);
        require_loaded(llmgpu_model_load(&model, ctx, path, &p));
        use_and_free(model);
        p.file_length = 0; // to its end, which is here
        require_loaded(llmgpu_model_load(&model, ctx, path, &p));
        use_and_free(model);
        REQUIRE(fwrite(pack, 1, BEHIND, f) == BEHIND && fclose(f) == 0);
        p.file_length = m.file.size;
        require_loaded(llmgpu_model_load(&model, ctx, path, &p));
        use_and_free(model);
        unlink(path);
    }
}

static void check_memory(void)
{
    llmgpu_model *model;
    llmgpu_model_params p = part(BEFORE, m.file.size);
    require_loaded(llmgpu_model_load_memory(&model, ctx, pack, BEFORE + m.file.size + BEHIND, &p));
    use_and_free(model);
    for (size_t askew = 0; askew < 4; askew++) {
        uint8_t *copy = malloc(m.file.size + askew);
        REQUIRE(copy);
        memcpy(copy + askew, m.file.data, m.file.size);
        require_loaded(llmgpu_model_load_memory(&model, ctx, copy + askew, m.file.size, NULL));
        use_and_free(model);
        free(copy);
    }
}

static void check_stream(void)
{
    llmgpu_model *model;
    struct stream s = {.data = m.file.data, .size = m.file.size};
    llmgpu_io io = stream_file(&s);
    require_loaded(llmgpu_model_load_io(&model, ctx, &io, NULL));
    memset(&io, 0xff, sizeof(io)); // it was copied
    REQUIRE_INT(s.n_bytes, <=, 3 * s.size);
    uint64_t reads = s.n_reads;
    require_answer(model);
    REQUIRE(s.n_closed == 0 && s.n_reads == reads);
    llmgpu_model_free(model);
    REQUIRE(s.n_closed == 1 && device_bytes() == 0);

    struct stream packed = {.data = pack, .size = BEFORE + m.file.size + BEHIND};
    llmgpu_model_params p = part(BEFORE, m.file.size);
    io = stream_file(&packed);
    require_loaded(llmgpu_model_load_io(&model, ctx, &io, &p));
    use_and_free(model);
    REQUIRE_INT(packed.n_closed, ==, 1);
}

/** What the device reads in place takes nothing of its memory; the rest is there once. */
static void check_places(void)
{
    llmgpu_model *in_place, *copied;
    struct stream s = {.data = m.file.data, .size = m.file.size};
    llmgpu_io io = stream_file(&s);
    llmgpu_model_info info;
    require_loaded(llmgpu_model_load_memory(&in_place, ctx, m.file.data, m.file.size, NULL));
    uint64_t first = device_bytes();
    require_loaded(llmgpu_model_load_io(&copied, ctx, &io, NULL));
    uint64_t second = device_bytes() - first;
    REQUIRE_INT(llmgpu_model_get_info(copied, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(second, >=, info.weight_bytes);
    REQUIRE(info.put_ns > 0 && info.put_ns < info.load_ns);
    REQUIRE_INT(second, <=, info.weight_bytes + 16 * m.n_tensors);
    if (on_cpu)
        REQUIRE_INT(first, <, second / 4);
    else
        REQUIRE_INT(first, ==, second);
    llmgpu_model_free(in_place);
    use_and_free(copied);
}

static void check_vocab_only(void)
{
    llmgpu_model *model;
    llmgpu_session *session;
    struct stream s = {.data = m.vocab_file.data, .size = m.vocab_file.size};
    llmgpu_io io = stream_file(&s);
    llmgpu_model_params p = part(0, 0);
    int32_t tokens[8];
    size_t n;
    p.vocab_only = 1;
    require_loaded(llmgpu_model_load_io(&model, ctx, &io, &p));
    REQUIRE_INT(llmgpu_tokenize(model, "the", 3, 0, tokens, 8, &n), ==, 0);
    REQUIRE_INT(n, ==, 1);
    REQUIRE_INT(llmgpu_session_create(&session, model, NULL), ==, LLMGPU_E_INVALID);
    llmgpu_model_free(model);
    REQUIRE_INT(s.n_closed, ==, 1);
}

/* ---- what is refused */

static void require_refused(int rc, int code, const char *says, llmgpu_model *const *model)
{
    if (rc != code || !strstr(llmgpu_context_error(ctx), says))
        fprintf(stderr, "%d '%s', not %d '%s'\n", rc, llmgpu_context_error(ctx), code, says);
    REQUIRE(rc == code && !*model && strstr(llmgpu_context_error(ctx), says));
    REQUIRE_INT(device_bytes(), ==, 0);
}

static void refuse_io(llmgpu_io io, llmgpu_model_params p, int code, const char *says)
{
    llmgpu_model *model = (llmgpu_model *)&m;
    struct stream *s = io.user;
    s->n_closed = 0;
    require_refused(llmgpu_model_load_io(&model, ctx, &io, &p), code, says, &model);
    REQUIRE_INT(s->n_closed, ==, 1);
}

static void check_refused_io(void)
{
    struct stream s = {.data = m.file.data, .size = m.file.size};
    llmgpu_io io = stream_file(&s);
    llmgpu_model *model = (llmgpu_model *)&m;
    refuse_io(io, part(m.file.size + 1, 0), LLMGPU_E_INVALID, "not in a file of");
    refuse_io(io, part(1, m.file.size), LLMGPU_E_INVALID, "not in a file of");
    refuse_io(io, part(UINT64_MAX, UINT64_MAX), LLMGPU_E_INVALID, "not in a file of");
    refuse_io(io, part(m.file.size, 0), LLMGPU_E_FORMAT, "it is empty");
    refuse_io(io, part(1, 0), LLMGPU_E_FORMAT, "does not begin with");
    refuse_io(io, part(0, m.file.size - 64), LLMGPU_E_FORMAT, "beyond the file");
    llmgpu_model_params p = part(0, 0);
    p.size = 3;
    refuse_io(io, p, LLMGPU_E_INVALID, "its init function sets the size");
    io.file_size = UINT64_MAX;
    refuse_io(io, part(0, 0), LLMGPU_E_INVALID, "a file of 18446744073709551615 bytes");
    io = stream_file(&s);
    io.read = NULL;
    refuse_io(io, part(0, 0), LLMGPU_E_INVALID, "without a callback to read with");

    io = stream_file(&s);
    s.n_closed = 0;
    REQUIRE_INT(llmgpu_model_load_io(&model, NULL, &io, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_model_load_io(NULL, ctx, &io, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE(s.n_closed == 2 && !model);
    require_refused(llmgpu_model_load_io(&model, ctx, NULL, NULL), LLMGPU_E_INVALID, "no llmgpu_io", &model);
    io.size = 8; // whether there is a close() cannot be known
    require_refused(llmgpu_model_load_io(&model, ctx, &io, NULL), LLMGPU_E_INVALID, "no llmgpu_io", &model);
    io = stream_file(&s);
    io.close = NULL;
    s.n_closed = 0;
    require_loaded(llmgpu_model_load_io(&model, ctx, &io, NULL));
    use_and_free(model);
    REQUIRE_INT(s.n_closed, ==, 0);
}

static void check_refused(void)
{
    char path[] = "/tmp/llmgpu-test-XXXXXX";
    llmgpu_model *model = (llmgpu_model *)&m;
    llmgpu_model_params p = part(0, 0);
    REQUIRE_INT(llmgpu_model_params_init(NULL, sizeof(p)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_model_params_init(&p, 4), ==, LLMGPU_E_INVALID);
    require_refused(llmgpu_model_load(&model, ctx, NULL, NULL), LLMGPU_E_INVALID, "no path", &model);
    require_refused(llmgpu_model_load_memory(&model, ctx, NULL, 8, NULL), LLMGPU_E_INVALID, "no memory",
                    &model);
    require_refused(llmgpu_model_load_memory(&model, ctx, "", 0, NULL), LLMGPU_E_FORMAT, "is empty", &model);
    p = part(5, 0);
    require_refused(llmgpu_model_load_memory(&model, ctx, "GGUF", 4, &p), LLMGPU_E_INVALID, "not in a file",
                    &model);
    make_temporary(path, m.file.data, m.file.size);
    p = part(m.file.size + 1, 0);
    require_refused(llmgpu_model_load(&model, ctx, path, &p), LLMGPU_E_IO, "but it ends at", &model);
    p = part(m.file.size, 0);
    require_refused(llmgpu_model_load(&model, ctx, path, &p), LLMGPU_E_FORMAT, "is empty", &model);
    p = part(4096, UINT64_MAX);
    require_refused(llmgpu_model_load(&model, ctx, path, &p), LLMGPU_E_IO, "but it ends at", &model);
    p = part(UINT64_MAX, 0);
    require_refused(llmgpu_model_load(&model, ctx, path, &p), LLMGPU_E_IO, "but it ends at", &model);
    unlink(path);
    check_refused_io();
}

/** Each read of a load fails once; then all of them succeed. Returns how many there are. */
static uint64_t sweep_reads(void)
{
    for (uint64_t k = 1;; k++) {
        llmgpu_model *model = NULL;
        struct stream s = {.data = m.file.data, .size = m.file.size, .fail_at = k};
        llmgpu_io io = stream_file(&s);
        size_t live = heap.live;
        int rc = llmgpu_model_load_io(&model, ctx, &io, NULL);
        if (rc == 0) {
            use_and_free(model);
            REQUIRE(s.n_closed == 1 && heap.live == live);
            return k - 1;
        }
        require_refused(rc, LLMGPU_E_IO, "the stream: ", &model);
        REQUIRE(strstr(llmgpu_context_error(ctx), "cannot be read"));
        REQUIRE(s.n_closed == 1 && heap.live == live);
    }
}

/** Each allocation fails once, on the way to a model from callbacks or to an estimate. */
static uint64_t sweep_allocations(bool estimate)
{
    char path[] = "/tmp/llmgpu-test-XXXXXX";
    make_temporary(path, m.file.data, m.file.size);
    for (uint64_t k = 1;; k++) {
        llmgpu_model *model = NULL;
        llmgpu_estimate e;
        struct stream s = {.data = m.file.data, .size = m.file.size};
        llmgpu_io io = stream_file(&s);
        size_t live = heap.live;
        heap.fail_at = heap.n + k;
        int rc = estimate ? llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, NULL, 2)
                          : llmgpu_model_load_io(&model, ctx, &io, NULL);
        bool failed = heap.n >= heap.fail_at;
        heap.fail_at = 0;
        if (rc < 0)
            require_refused(rc, LLMGPU_E_NOMEM, " ", &model);
        if (model)
            use_and_free(model);
        REQUIRE_INT(s.n_closed, ==, estimate ? 0 : 1);
        REQUIRE_INT(heap.live, ==, live);
        if (!failed) {
            REQUIRE_INT(rc, ==, 0);
            unlink(path);
            return k - 1;
        }
    }
}

/* ---- progress and cancelling */

struct told {
    uint64_t n, done, total; // calls, and the last one
    uint64_t stop_at;        // the call that ends the load, from 1; 0: none
};

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    struct told *t = user;
    REQUIRE(done >= t->done && done <= total && (t->n == 0 || total == t->total));
    t->n++;
    t->done = done;
    t->total = total;
    return t->n == t->stop_at ? -7 : 0;
}

static int load_told(struct told *t, bool io, llmgpu_model **out)
{
    struct stream s = {.data = m.file.data, .size = m.file.size};
    llmgpu_io file = stream_file(&s);
    llmgpu_model_params p = part(0, 0);
    p.progress = on_progress;
    p.progress_user = t;
    if (!io)
        return llmgpu_model_load_memory(out, ctx, m.file.data, m.file.size, &p);
    int rc = llmgpu_model_load_io(out, ctx, &file, &p);
    if (rc == 0) { // the stream ends with this function
        llmgpu_model_free(*out);
        *out = NULL;
    }
    REQUIRE_INT(s.n_closed, ==, 1);
    return rc;
}

/** Cancelled at each call of the callback; a load that is not goes to the end. */
static void check_progress(bool io)
{
    llmgpu_model *model = NULL;
    struct told all = {0};
    require_loaded(load_told(&all, io, &model));
    REQUIRE(all.n > m.n_tensors && all.done == all.total && all.total == m.file.size);
    llmgpu_model_free(model);
    for (uint64_t k = 1; k <= all.n; k++) {
        struct told t = {.stop_at = k};
        size_t live = heap.live;
        model = NULL;
        require_refused(load_told(&t, io, &model), LLMGPU_E_CANCELLED, "cancelled", &model);
        REQUIRE(t.n == k && heap.live == live);
    }
    check_path(); // nothing of it stays
}

/** What a thread that loads and one that cancels share. */
struct race {
    struct large *large;
    llmgpu_io io;        // .read NULL: from memory
    uint64_t stop_after; // calls of the callback
    _Atomic uint64_t n_told;
    _Atomic uint64_t cancel_ns; // moment of the cancel
    uint64_t end_ns;
    int rc;
};

static int count_calls(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    atomic_fetch_add(&((struct race *)user)->n_told, 1);
    return 0;
}

static void *load_large(void *user)
{
    struct race *race = user;
    llmgpu_model *model = NULL;
    llmgpu_model_params p = part(0, 0);
    p.progress = count_calls;
    p.progress_user = race;
    race->rc = llmgpu_model_load_io(&model, ctx, &race->io, &p);
    race->end_ns = lg_now_ns();
    llmgpu_model_free(model);
    return NULL;
}

/** Loads on another thread and cancels on this one. Returns nanoseconds from the cancel to the end. */
static uint64_t run_race(struct race *race)
{
    pthread_t thread;
    race->n_told = 0;
    REQUIRE_INT(pthread_create(&thread, NULL, load_large, race), ==, 0);
    while (atomic_load(&race->n_told) < race->stop_after)
        sched_yield();
    uint64_t cancel_ns = lg_now_ns();
    if (race->stop_after != UINT64_MAX)
        llmgpu_context_cancel(ctx);
    pthread_join(thread, NULL);
    return race->end_ns - cancel_ns;
}

/**
 * The vocabulary of 151,936 tokens and the weights of a model of half a billion: wherever loading is, it is
 * over 50 ms after another thread has cancelled it.
 */
static void check_latency(void)
{
    static struct large large;
    struct told all = {0};
    llmgpu_model *model = NULL;
    llmgpu_model_params p = part(0, 0);
    const uint64_t limit = (WATCHED ? 40 : 1) * UINT64_C(50000000);
    large_make(&large, LG_TYPE_Q8_0, WATCHED ? 2 : 24);
    struct race race = {
        .large = &large,
        .io = {.size = sizeof(llmgpu_io), .file_size = large.size, .read = large_read, .user = &large},
    };
    p.progress = on_progress;
    p.progress_user = &all;
    uint64_t begin = lg_now_ns();
    require_loaded(llmgpu_model_load_io(&model, ctx, &race.io, &p));
    uint64_t load_ns = lg_now_ns() - begin, worst = 0;
    llmgpu_model_free(model);

    enum { PLACES = 16, TRIES = 8 };
    for (uint64_t i = 0; i < PLACES; i++) {
        uint64_t ns = UINT64_MAX; // the best of a few, because the machine has others to run
        race.stop_after = 1 + i * (all.n - 200) / (PLACES - 1);
        for (int k = 0; k < TRIES && ns > limit; k++) {
            uint64_t now = run_race(&race);
            REQUIRE_INT(race.rc, ==, LLMGPU_E_CANCELLED);
            REQUIRE_INT(device_bytes(), ==, 0);
            ns = now < ns ? now : ns;
        }
        REQUIRE_INT(ns, <=, limit);
        worst = ns > worst ? ns : worst;
    }
    printf("%s: %.0f MB in %.0f ms, told %llu times; cancelled within %.1f ms\n", device,
           (double)large.size * 1e-6, (double)load_ns * 1e-6, (unsigned long long)all.n,
           (double)worst * 1e-6);
    large_free(&large);
}

/** A cancel is for the loads that run, not for the next. */
static void check_stale_cancel(void)
{
    llmgpu_model *model;
    llmgpu_context_cancel(ctx);
    require_loaded(llmgpu_model_load_memory(&model, ctx, m.file.data, m.file.size, NULL));
    use_and_free(model);
}

/** Weights come back from where they came from: each read of that fails once, then none. */
static void check_recover(void)
{
    llmgpu_model *streamed, *in_place, *vocab;
    struct stream s = {.data = m.file.data, .size = m.file.size};
    llmgpu_io io = stream_file(&s);
    llmgpu_model_params p = part(0, 0);
    p.vocab_only = 1;
    require_loaded(llmgpu_model_load_io(&streamed, ctx, &io, NULL));
    require_loaded(llmgpu_model_load_memory(&in_place, ctx, m.file.data, m.file.size, NULL));
    require_loaded(llmgpu_model_load_memory(&vocab, ctx, m.vocab_file.data, m.vocab_file.size, &p));
    uint64_t bytes = device_bytes(), n_reads = s.n_reads;
    require_loaded(llmgpu_context_recover(ctx, NULL));
    REQUIRE_INT(device_bytes(), ==, bytes);
    n_reads = s.n_reads - n_reads;
    REQUIRE(n_reads > 0);
    for (uint64_t k = 1; k <= n_reads; k += on_cpu ? 1 : n_reads / 3) {
        int32_t out[N_OUT];
        s.fail_at = s.n_reads + k;
        REQUIRE_INT(llmgpu_context_recover(ctx, NULL), ==, LLMGPU_E_IO);
        REQUIRE(strstr(llmgpu_context_error(ctx), "the stream: "));
        REQUIRE_INT(answer(in_place, out), ==, LLMGPU_E_DEVICE_LOST);
    }
    s.fail_at = 0;
    require_loaded(llmgpu_context_recover(ctx, NULL));
    require_answer(streamed);
    llmgpu_model_free(vocab);
    llmgpu_model_free(streamed);
    REQUIRE_INT(s.n_closed, ==, 1);
    use_and_free(in_place);
}

/* ---- again and again */

static uint64_t resident(void)
{
    unsigned long long pages[2];
    FILE *f = fopen("/proc/self/statm", "r");
    REQUIRE(f && fscanf(f, "%llu %llu", &pages[0], &pages[1]) == 2 && fclose(f) == 0);
    return pages[1] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void load_once(int way, const char *path, const uint8_t *data, size_t size)
{
    llmgpu_model *model;
    struct stream s = {.data = data, .size = size};
    llmgpu_io io = stream_file(&s);
    int32_t out[N_OUT];
    if (way == 0)
        require_loaded(llmgpu_model_load(&model, ctx, path, NULL));
    else if (way == 1)
        require_loaded(llmgpu_model_load_memory(&model, ctx, data, size, NULL));
    else
        require_loaded(llmgpu_model_load_io(&model, ctx, &io, NULL));
    REQUIRE_INT(answer(model, out), ==, 0);
    llmgpu_model_free(model);
}

/** A hundred loads of the bundled model: the heap, the device and the process are as after the first few. */
static void check_hundred(void)
{
    enum { WARM = 9, LOADS = 100 };
    struct stat st;
    char path[1024];
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    FILE *f = fopen(path, "rb");
    REQUIRE(f && fstat(fileno(f), &st) == 0);
    uint8_t *data = malloc((size_t)st.st_size);
    REQUIRE(data && fread(data, 1, (size_t)st.st_size, f) == (size_t)st.st_size && fclose(f) == 0);
    size_t live = 0;
    uint64_t before = 0, after;
    for (int i = 0; i < WARM + LOADS; i++) {
        if (i == WARM) {
            live = heap.live;
            before = resident();
        }
        load_once(i % 3, path, data, (size_t)st.st_size);
        REQUIRE_INT(device_bytes(), ==, 0);
    }
    after = resident();
    REQUIRE_INT(heap.live, ==, live);
    printf("%s: resident %.1f MB after %d loads, %.1f MB after %d\n", device, (double)before * 1e-6, WARM,
           (double)after * 1e-6, WARM + LOADS);
    if (!WATCHED) // drivers keep some of their own
        REQUIRE_INT(after, <=, before + ((on_cpu ? 2 : 8) << 20));
    free(data);
}

/* ---- weights that go and come back, inside */

static void require_same(struct use *u, const int32_t *tokens)
{
    int32_t out[N_OUT];
    REQUIRE_INT(use_start(u, 32, true), ==, 0);
    REQUIRE_INT(use_generate(&u->session, 3, 6, out, N_OUT), ==, 0);
    REQUIRE(memcmp(out, tokens, sizeof(out)) == 0);
    lg_session_finish(&u->session);
    lg_engine_finish(&u->engine);
    lg_scheduler_finish(&u->sched);
    u->sched.env = NULL;
}

static int stop_at(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return --*(int *)user == 0;
}

/** To another device, from the same stream; with each read failing, and cancelled. */
static void check_reload(void)
{
    struct lg_env env;
    struct lg_device *devs[2];
    struct lg_device_options options = {.name = device, .n_threads = 2};
    struct stream s = {.data = m.file.data, .size = m.file.size};
    struct lg_gguf_io io = stream_io(&s, 0);
    struct lg_gguf *gguf;
    struct use u = {.env = &env};
    int32_t out[N_OUT];
    int left = 0;
    struct lg_watch watch = {.tell = stop_at, .user = &left};
    lg_env_init(&env);
    for (int i = 0; i < 2; i++)
        REQUIRE_INT(lg_device_open(&env, &options, &devs[i]), ==, 0);
    REQUIRE_INT(lg_gguf_open_io(&env, "stream", &io, &gguf), ==, 0);
    REQUIRE_INT(lg_model_load_gguf(&env, devs[0], gguf, false, &u.model), ==, 0);
    u.dev = devs[0];
    REQUIRE_INT(use_engine(&u), ==, 0);
    REQUIRE_INT(use_start(&u, 32, true), ==, 0);
    REQUIRE_INT(use_generate(&u.session, 3, 6, out, N_OUT), ==, 0);
    uint64_t n_params = u.model->n_params, weight_bytes = u.model->weight_bytes, first = s.n_reads;
    lg_session_finish(&u.session);
    lg_engine_finish(&u.engine);
    lg_scheduler_finish(&u.sched);
    u.sched.env = NULL;

    uint64_t bytes = devs[0]->stats.memory_used;
    lg_model_drop_weights(u.model);
    lg_model_drop_weights(u.model);
    REQUIRE(devs[0]->stats.memory_used == 0 && !u.model->w.output.view.buf && !u.model->dev);
    lg_device_close(devs[0]);
    for (uint64_t k = 1; k < first; k++) { // the header is not read again
        s.fail_at = s.n_reads + k;
        int rc = lg_model_put_weights(u.model, devs[1]);
        if (rc == 0) {
            REQUIRE(s.n_reads < s.fail_at);
            lg_model_drop_weights(u.model);
            break;
        }
        REQUIRE(rc == LLMGPU_E_IO && strstr(env.error, "cannot be read"));
        REQUIRE_INT(devs[1]->stats.memory_used, ==, 0);
    }
    s.fail_at = 0;
    env.watch = &watch;
    for (left = 1; left > 0;) {
        int k = left;
        int rc = lg_model_put_weights(u.model, devs[1]);
        if (rc == 0)
            break;
        REQUIRE_INT(rc, ==, LLMGPU_E_CANCELLED);
        REQUIRE_INT(devs[1]->stats.memory_used, ==, 0);
        left = k + 1;
    }
    env.watch = NULL;
    REQUIRE(u.model->n_params == n_params && u.model->weight_bytes == weight_bytes);
    REQUIRE_INT(devs[1]->stats.memory_used, ==, bytes);
    u.dev = devs[1];
    REQUIRE_INT(use_engine(&u), ==, 0);
    require_same(&u, out);
    use_end(&u);
    REQUIRE_INT(s.n_closed, ==, 1);
    lg_device_close(devs[1]);
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : "cpu";
    on_cpu = strcmp(device, "cpu") == 0;
    make_model();
    open_context();
    check_path();
    check_pack();
    check_memory();
    check_stream();
    check_places();
    check_vocab_only();
    check_refused();
    uint64_t n_reads = sweep_reads(), n_load = sweep_allocations(false), n_estimate = sweep_allocations(true);
    printf("%s: %llu reads, %llu requests of a load and %llu of an estimate fail\n", device,
           (unsigned long long)n_reads, (unsigned long long)n_load, (unsigned long long)n_estimate);
    REQUIRE(n_reads > m.n_tensors && n_load > 50 && n_estimate > 50);
    check_progress(false);
    check_progress(true);
    check_stale_cancel();
    check_recover();
    if (on_cpu)
        check_latency();
    check_hundred();
    llmgpu_context_free(ctx);
    REQUIRE_INT(heap.live, ==, 0);
    check_reload();
    free(pack);
    return 0;
}
