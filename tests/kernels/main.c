/* SPDX-License-Identifier: MIT
 *
 * Holds every kernel of a device against its C reference:
 *
 *     test_kernels DEVICE [--seed N] [--kernel NAME] [--part I/N] [--bench]
 *
 * DEVICE is a name that lg_device_open() knows. --kernel takes the kernels whose names begin with NAME, --part the I-th
 * and every N-th after it. A kernel of kernels/meson.build without its check_NAME() does not link.
 */
#include <errno.h>
#include <time.h>

#include "check.h"

static const struct {
    const char *name;
    void (*fn)(struct check *c);
} checks[] = {
#define CHECK_ROW(name, n_views, access) {#name, check_##name},
    LG_KERNELS(CHECK_ROW)
#undef CHECK_ROW
};

struct args {
    const char *device;
    const char *kernel; // beginning of the names to check
    uint64_t seed;
    unsigned part, n_parts; // which every N-th kernel, from 1
    bool bench;
};

static bool parse(int argc, char **argv, struct args *out)
{
    *out = (struct args){.kernel = "", .seed = (uint64_t)time(NULL), .part = 1, .n_parts = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            out->bench = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            out->seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--kernel") == 0 && i + 1 < argc)
            out->kernel = argv[++i];
        else if (strcmp(argv[i], "--part") == 0 && i + 1 < argc) {
            if (sscanf(argv[++i], "%u/%u", &out->part, &out->n_parts) != 2 || out->part < 1 || out->part > out->n_parts)
                return false;
        }
        else if (argv[i][0] != '-' && !out->device)
            out->device = argv[i];
        else
            return false;
    }
    return out->device != NULL;
}

static void print_log(void *user, int level, const char *text)
{
    (void)user;
    if (level <= LG_LOG_WARN)
        fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
    struct args args;
    if (!parse(argc, argv, &args)) {
        fprintf(stderr, "usage: %s DEVICE [--seed N] [--kernel NAME] [--part I/N] [--bench]\n", argv[0]);
        return 2;
    }
    struct check c = {.bench = args.bench};
    lg_env_init(&c.env);
    c.env.log = print_log;
    struct lg_device_options options = {.name = args.device, .check = !args.bench};
    int rc = lg_device_open(&c.env, &options, &c.dev);
    if (rc < 0) {
        fprintf(stderr, "%s\n", c.env.error);
        return rc == LLMGPU_E_NO_DEVICE ? TEST_SKIP : 1;
    }
    printf("%s, seed %llu\n", c.dev->info.name, (unsigned long long)args.seed);

    uint32_t n_run = 0;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (strncmp(checks[i].name, args.kernel, strlen(args.kernel)) != 0 || i % args.n_parts != args.part - 1)
            continue;
        c.rng.state = args.seed; // a kernel's cases do not depend on the kernels before it
        checks[i].fn(&c);
        n_run++;
    }
    REQUIRE_INT(n_run, >, 0);
    REQUIRE_INT(c.dev->check_messages, ==, 0);
    lg_device_close(c.dev);
    printf("%u kernels, %u cases, %u failures\n", n_run, c.n_cases, c.n_failed);
    return c.n_failed != 0;
}
