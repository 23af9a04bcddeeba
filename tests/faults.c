/* SPDX-License-Identifier: MIT
 *
 * Allocations that fail, one after another, from opening a device to the last token, on the device that the
 * first argument names: each failure is a code and a sentence, nothing is left behind, and what went on
 * before goes on as if nothing had been. A Vulkan driver's own allocations are its own.
 */
#include "heap.h"
#include "model_use.h"

enum { N_OUT = 6 };

static struct model_build m;
static const char *device;
static int32_t expected[3][N_OUT]; // of sessions that begin at 3, 50 and 90

static void make_model(void)
{
    struct model_shape shape = model_tiny("qwen2");
    model_init(&m, &shape);
    model_add(&m, "rope_freqs.weight", 0, 0, 4, LG_TYPE_F32)->filled = true;
    model_tensor(&m, "rope_freqs.weight")->fill = 2;
    model_write(&m);
}

static int open_device(struct lg_env *env, struct lg_device **out)
{
    struct lg_device_options options = {.name = device, .n_threads = 2};
    return lg_device_open(env, &options, out);
}

/** Fails the request that comes `after` those so far; 0: none. */
static void fail_after(struct test_heap *heap, uint64_t after)
{
    heap->fail_at = after ? heap->n + after : 0;
}

static void require_failed(const struct lg_env *env, int rc, uint64_t n)
{
    if (rc != LLMGPU_E_NOMEM || !*env->error)
        fprintf(stderr, "request %llu: %d '%s'\n", (unsigned long long)n, rc, env->error);
    REQUIRE_INT(rc, ==, LLMGPU_E_NOMEM);
    REQUIRE(*env->error);
}

static int run(struct use *u, int32_t out[N_OUT])
{
    float log_probs[4], logits[5 * 512];
    LG_TRY(use_load(u, m.file.data, m.file.size));
    LG_TRY(use_start(u, 32, true));
    LG_TRY(use_generate(&u->session, 3, 6, out, N_OUT));
    return lg_session_score(&u->session, (const int32_t[]){7, 8, 9, 10, 11}, 5,
                            &(struct lg_scores){.log_probs = log_probs, .logits = logits});
}

/** From nothing to a score; the device is opened each time, or once. Returns how many requests could fail. */
static uint64_t sweep_run(bool reopen)
{
    struct test_heap heap;
    struct lg_env env;
    struct use u = {.env = &env};
    uint64_t n = 0;
    test_heap_env(&env, &heap, 0);
    if (!reopen)
        REQUIRE_INT(open_device(&env, &u.dev), ==, 0);
    for (bool failed = true; failed;) {
        int32_t out[N_OUT];
        size_t before = heap.live;
        env.error[0] = '\0';
        fail_after(&heap, ++n);
        int rc = reopen ? open_device(&env, &u.dev) : 0;
        if (rc == 0)
            rc = run(&u, out);
        failed = heap.n >= heap.fail_at;
        if (rc < 0)
            require_failed(&env, rc, n);
        else // also without what is only faster, such as compiled regular expressions
            REQUIRE(memcmp(out, expected[0], sizeof(out)) == 0);
        use_end(&u);
        if (reopen)
            lg_device_close(u.dev);
        else
            REQUIRE_INT(atomic_load(&u.dev->stats.memory_used), ==, 0);
        if (reopen)
            u.dev = NULL;
        REQUIRE(!reopen || heap.live == before);
    }
    fail_after(&heap, 0);
    lg_device_close(u.dev);
    REQUIRE_INT(heap.live, ==, 0);
    return n - 1;
}

/** Three sessions; the third is larger than what is there. Each allocation of its creation fails once. */
static uint64_t sweep_growth(void)
{
    struct test_heap heap;
    struct lg_env env;
    struct use u = {.env = &env};
    struct lg_session second, third;
    struct lg_session_params params = use_params(32, true);
    int32_t a[N_OUT], b[N_OUT], c[N_OUT];
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(open_device(&env, &u.dev), ==, 0);
    REQUIRE_INT(use_load(&u, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use_start(&u, 32, true), ==, 0);
    REQUIRE_INT(lg_session_init(&second, &env, &u.sched, &u.engine, &params), ==, 0);
    REQUIRE_INT(use_generate(&u.session, 3, 6, a, 1), ==, 0);
    REQUIRE_INT(use_generate(&second, 50, 6, b, 2), ==, 0);

    struct lg_session_params large = use_params(200, true);
    large.n_batch = 16;
    uint64_t n = 0;
    int rc = LLMGPU_E_NOMEM, done = 1;
    while (rc < 0) {
        uint64_t used = atomic_load(&u.dev->stats.memory_used);
        fail_after(&heap, ++n);
        env.error[0] = '\0';
        rc = lg_session_init(&third, &env, &u.sched, &u.engine, &large);
        fail_after(&heap, 0);
        if (rc < 0) {
            require_failed(&env, rc, n);
            REQUIRE_INT(atomic_load(&u.dev->stats.memory_used), <=, used); // passes are built again when they are wanted
            lg_session_finish(&third);
            if (done < N_OUT / 2) // the first one goes on between failures
                REQUIRE_INT(use_generate(&u.session, 0, 0, &a[done++], 1), ==, 0);
        }
    }
    // Recording the passes anew may fail as well; then the token is asked for again.
    uint64_t k = 0;
    for (rc = -1; rc < 0;) {
        fail_after(&heap, ++k);
        rc = use_generate(&second, 0, 0, &b[2], 1);
        fail_after(&heap, 0);
        if (rc < 0)
            require_failed(&env, rc, k);
    }
    REQUIRE_INT(use_generate(&u.session, 0, 0, &a[done], (uint32_t)(N_OUT - done)), ==, 0);
    REQUIRE_INT(use_generate(&second, 0, 0, &b[3], N_OUT - 3), ==, 0);
    REQUIRE_INT(use_generate(&third, 90, 6, c, N_OUT), ==, 0);
    REQUIRE(memcmp(a, expected[0], sizeof(a)) == 0);
    REQUIRE(memcmp(b, expected[1], sizeof(b)) == 0);
    REQUIRE(memcmp(c, expected[2], sizeof(c)) == 0);
    lg_session_finish(&second);
    lg_session_finish(&third);
    use_end(&u);
    lg_device_close(u.dev);
    REQUIRE_INT(heap.live, ==, 0);
    return n - 1 + k - 1;
}

/** What a session of the grown engine gives back is its own pages, and no others'. */
static void check_pages_after_growth(void)
{
    struct lg_env env;
    struct use u = {.env = &env};
    struct lg_session second, third, fourth;
    struct lg_session_params params = use_params(32, true), large = use_params(200, true);
    int32_t a[N_OUT], other[N_OUT];
    lg_env_init(&env);
    REQUIRE_INT(open_device(&env, &u.dev), ==, 0);
    REQUIRE_INT(use_load(&u, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use_start(&u, 32, true), ==, 0);
    REQUIRE_INT(lg_session_init(&second, &env, &u.sched, &u.engine, &params), ==, 0);
    REQUIRE_INT(use_generate(&u.session, 3, 6, a, 2), ==, 0);
    REQUIRE_INT(lg_session_init(&third, &env, &u.sched, &u.engine, &large), ==, 0);
    lg_session_finish(&second);
    REQUIRE_INT(lg_session_init(&fourth, &env, &u.sched, &u.engine, &params), ==, 0);
    REQUIRE_INT(use_generate(&fourth, 50, 12, other, N_OUT), ==, 0);
    REQUIRE_INT(use_generate(&u.session, 0, 0, &a[2], N_OUT - 2), ==, 0);
    REQUIRE(memcmp(a, expected[0], sizeof(a)) == 0);
    lg_session_finish(&third);
    lg_session_finish(&fourth);
    use_end(&u);
    lg_device_close(u.dev);
}

/** Answers when nothing fails. */
static void make_expected(void)
{
    struct lg_env env;
    struct use u = {.env = &env};
    static const int32_t first[] = {3, 50, 90};
    lg_env_init(&env);
    int rc = open_device(&env, &u.dev);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", env.error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_INT(use_load(&u, m.file.data, m.file.size), ==, 0);
    for (int i = 0; i < 3; i++) {
        REQUIRE_INT(use_start(&u, 32, true), ==, 0);
        REQUIRE_INT(use_generate(&u.session, first[i], 6, expected[i], N_OUT), ==, 0);
        lg_session_finish(&u.session);
    }
    use_end(&u);
    lg_device_close(u.dev);
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : "cpu";
    make_model();
    make_expected();
    check_pages_after_growth();
    uint64_t n_run = sweep_run(strcmp(device, "cpu") == 0), n_growth = sweep_growth();
    printf("%s: %llu requests fail on the way to a score, %llu when an engine grows\n", device,
           (unsigned long long)n_run, (unsigned long long)n_growth);
    REQUIRE(n_run > 100 && n_growth > 20);
    return 0;
}
