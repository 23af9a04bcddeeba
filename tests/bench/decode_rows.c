/* SPDX-License-Identifier: MIT
 *
 * How long passes take that decode a token for each of several sessions, as a server makes them:
 *
 *     bench_decode_rows DEVICE MODEL [ROWS [POS]]
 *
 * One line for 1, 2, 4 ... ROWS sessions, whose tokens are at position POS: the time of a pass, the least of some, tokens a
 * second of all sessions together, how many times those of a session alone that is, and the processors' time for a token,
 * which others cannot take away. Without a model nothing is done.
 */
#include <time.h>

#include "../decode_rows.h"

#include "util/clock.h"

enum { ROUNDS = 10, MAX_ROWS = 32, POS = 16 };

/* Milliseconds of a pass. */
struct figure {
    double wall, cpu;
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static struct figure time_rows(struct lg_engine *e, struct lg_pass *pass, uint32_t n, uint32_t pos)
{
    struct figure best = {INFINITY, INFINITY};
    double spent = 0;
    for (uint32_t i = 0; i < n; i++)
        rows_set(e, i, i, 100 + i, pos);
    rows_run(e, pass, n);
    for (int round = 0; round < ROUNDS && (round < 3 || spent < 3000); round++) {
        uint64_t begin = lg_now_ns();
        double cpu = cpu_ms();
        rows_run(e, pass, n);
        double wall = (double)(lg_now_ns() - begin) * 1e-6;
        best.cpu = fmin(best.cpu, cpu_ms() - cpu);
        best.wall = fmin(best.wall, wall);
        spent += wall;
    }
    return best;
}

static void bench(struct use *use, uint32_t max_rows, uint32_t pos)
{
    struct lg_pass pass = {0};
    rows_start(&use->engine, max_rows, pos + 1);
    REQUIRE_INT(lg_pass_build(&use->engine, &pass, NULL, LG_DECODE, LG_TAIL_SAMPLE, max_rows), ==, 0);
    printf("%8s %10s %10s %10s %14s\n", "sessions", "ms", "tok/s", "ratio", "cpu ms a token");
    double first = 0;
    for (uint32_t n = 1; n <= max_rows; n *= 2) {
        struct figure f = time_rows(&use->engine, &pass, n, pos);
        double rate = n / f.wall * 1e3;
        first = n == 1 ? rate : first;
        printf("%8u %10.2f %10.2f %10.2f %14.2f\n", n, f.wall, rate, rate / first, f.cpu / n);
        fflush(stdout);
    }
    lg_pass_finish(&pass);
}

int main(int argc, char **argv)
{
    struct lg_env env;
    struct use use = {.env = &env};
    if (argc < 3)
        return TEST_SKIP;
    lg_env_init(&env);
    if (lg_device_open(&env, &(struct lg_device_options){.name = argv[1]}, &use.dev) < 0 ||
        lg_model_load(&env, use.dev, argv[2], false, &use.model) < 0 || use_engine(&use) < 0) {
        fprintf(stderr, "%s\n", env.error);
        return 1;
    }
    printf("%s, %s\n", use.dev->info.name, use.dev->info.driver);
    bench(&use, argc > 3 ? (uint32_t)atoi(argv[3]) : MAX_ROWS, argc > 4 ? (uint32_t)atoi(argv[4]) : POS);
    use_end(&use);
    lg_device_close(use.dev);
    return 0;
}
