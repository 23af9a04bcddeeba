/* SPDX-License-Identifier: MIT
 *
 * nvidia-smi, where nothing else tells of an NVIDIA card: one process that goes on writing lines, which are
 * taken from its pipe when there are some. It gets no terminal, no signals of ours and an environment of its
 * own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pacer/source.h"
#include "util/clock.h"

enum {
    MAX_LINE = 512,
    MAX_STARTS = 6,  // ever
    MAX_READS = 64,  // of a pipe at once
    END_TRIES = 200, // of a millisecond each, until a killed process is gone
};
#define RESTART_NS UINT64_C(1000000000)
#define MAX_WAIT_NS UINT64_C(10000000000) // lines that lay in the pipe for longer than that may be any age

struct smi {
    char path[LG_SYSFS_PATH];
    char id[LG_PCI_TEXT + 8];
    pid_t pid; // 0: none runs
    int fd;
    uint32_t n_starts, n_fields; // of the list of fields that it is asked for
    bool told;                   // the process has told something
    uint64_t start_ns, drain_ns; // when it was started, and its pipe was empty
    char line[MAX_LINE];
    size_t len;
    bool too_long; // what comes until the line ends is dropped
    struct lg_readings last;
};

#define FIELDS                                                                                             \
    "temperature.gpu,power.draw,enforced.power.limit,clocks.gr,clocks.max.gr,utilization.gpu,memory.used," \
    "memory.total"

/* The last field has had two names, and drivers may come to know neither. */
static const char *const queries[] = {
    "--query-gpu=" FIELDS ",clocks_throttle_reasons.active",
    "--query-gpu=" FIELDS ",clocks_event_reasons.active",
    "--query-gpu=" FIELDS,
};

/* ---- the text --------------------------------------------------------------------------------- */

void lg_smi_parse(const char *line, size_t len, uint64_t at_ns, struct lg_readings *out)
{
    static const struct {
        enum lg_measure measure;
        double scale;
    } fields[] = {
        {LG_MEASURE_TEMPERATURE, 1},      {LG_MEASURE_POWER, 1},
        {LG_MEASURE_POWER_LIMIT, 1},      {LG_MEASURE_CLOCK, 1},
        {LG_MEASURE_CLOCK_MAX, 1},        {LG_MEASURE_BUSY, 1e-2},
        {LG_MEASURE_MEMORY_USED, 0x1p20}, {LG_MEASURE_MEMORY_TOTAL, 0x1p20},
    };
    const size_t n = sizeof(fields) / sizeof(*fields);
    const char *end = line + len;
    for (size_t i = 0; line <= end && i <= n; i++) {
        const char *comma = memchr(line, ',', (size_t)(end - line));
        size_t size = (size_t)((comma ? comma : end) - line);
        double value;
        uint64_t bits;
        if (i < n && lg_parse_number(line, size, &value))
            lg_reading_set(out, fields[i].measure, value * fields[i].scale, at_ns, "nvidia-smi");
        else if (i == n && lg_parse_hex(line, size, &bits))
            lg_reading_set(out, LG_MEASURE_THROTTLE, lg_nvidia_throttle(bits), at_ns, "nvidia-smi");
        line += size + 1;
    }
}

static bool knows_some(const struct lg_readings *r)
{
    for (int i = 0; i < LG_N_MEASURES; i++)
        if (r->of[i].known)
            return true;
    return false;
}

static void end_line(struct smi *s, uint64_t now_ns)
{
    struct lg_readings found = {0};
    if (!s->too_long)
        lg_smi_parse(s->line, s->len, now_ns, &found);
    s->last = found;
    s->told |= knows_some(&found);
    s->len = 0;
    s->too_long = false;
}

static void take(struct smi *s, const char *text, size_t n, uint64_t now_ns)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            end_line(s, now_ns);
        else if (s->len < sizeof(s->line))
            s->line[s->len++] = text[i];
        else
            s->too_long = true;
    }
}

/* ---- the process ------------------------------------------------------------------------------ */

/* Spawns with the pipe's end as its output. */
static bool spawn(struct smi *s, int out)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files) != 0)
        return false;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return false;
    }
    char *const argv[] = {
        s->path, s->id, (char *)queries[s->n_fields], "--format=csv,noheader,nounits", "-lms", "500", NULL};
    char *const envp[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
    bool ok = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0) == 0 &&
              posix_spawn_file_actions_adddup2(&files, out, 1) == 0 &&
              posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0) == 0 &&
              posix_spawnattr_setsigmask(&attr, &none) == 0 &&
              posix_spawnattr_setsigdefault(&attr, &all) == 0 && posix_spawnattr_setpgroup(&attr, 0) == 0 &&
              posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                  POSIX_SPAWN_SETPGROUP) == 0 &&
              posix_spawn(&s->pid, s->path, &files, &attr, argv, envp) == 0;
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return ok;
}

static void start(struct smi *s, uint64_t now_ns)
{
    int fds[2];
    s->n_starts++;
    s->start_ns = s->drain_ns = now_ns;
    s->len = 0;
    s->told = s->too_long = false;
    s->last = (struct lg_readings){0};
    if (pipe2(fds, O_CLOEXEC) != 0)
        return;
    bool ok = fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 && spawn(s, fds[1]);
    close(fds[1]);
    if (ok)
        s->fd = fds[0];
    else
        close(fds[0]);
    if (!ok)
        s->pid = 0;
}

/* Ends the process and what it told. */
static void stop(struct smi *s)
{
    if (!s->pid)
        return;
    close(s->fd);
    // Somebody else in this process may have waited for it: then its number is no longer ours to kill.
    for (int i = 0; i < END_TRIES && waitpid(s->pid, NULL, WNOHANG) == 0; i++) {
        if (i == 0)
            kill(s->pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    s->pid = 0;
    s->last = (struct lg_readings){0};
}

/* Takes what is in the pipe; false when the process is gone. */
static bool drain(struct smi *s, uint64_t now_ns)
{
    char text[4096];
    bool late = now_ns - s->drain_ns > MAX_WAIT_NS;
    s->drain_ns = now_ns;
    for (int i = 0; i < MAX_READS; i++) {
        ssize_t n = read(s->fd, text, sizeof(text));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (late)
                s->last = (struct lg_readings){0};
            return n < 0 && errno == EAGAIN;
        }
        take(s, text, (size_t)n, now_ns);
    }
    return true;
}

/* ---- the source ------------------------------------------------------------------------------- */

/* Finds the program; false when there is none. */
static bool find_program(struct smi *s, const struct lg_place *place)
{
    static const char *const usual[] = {
        "/usr/bin/nvidia-smi",
        "/usr/local/bin/nvidia-smi",
        "/usr/lib/wsl/lib/nvidia-smi",
        "/opt/bin/nvidia-smi",
        "/run/current-system/sw/bin/nvidia-smi",
    };
    const char *const *paths = place->smi ? (const char *const *)&place->smi : usual;
    size_t n = place->smi ? 1 : sizeof(usual) / sizeof(*usual);
    for (size_t i = 0; i < n; i++) {
        if (access(paths[i], X_OK) != 0 || strlen(paths[i]) >= sizeof(s->path))
            continue;
        memcpy(s->path, paths[i], strlen(paths[i]) + 1);
        return true;
    }
    return false;
}

static void *smi_open(struct lg_env *env, const struct lg_place *place, char why[LG_SOURCE_WHY])
{
    const char *no = place->smi && !*place->smi                           ? "it is not to be used"
                     : place->vendor && place->vendor != LG_VENDOR_NVIDIA ? "the device is not NVIDIA's"
                     : !place->pci.known ? "where the device is on the bus is not known"
                                         : NULL;
    struct smi *s = no ? NULL : lg_alloc(env, sizeof(*s));
    if (s && !find_program(s, place)) {
        no = "there is no such program";
        lg_free(env, s);
        s = NULL;
    }
    if (no)
        snprintf(why, LG_SOURCE_WHY, "%s", no);
    if (!s)
        return NULL;
    char id[LG_PCI_TEXT];
    lg_pci_format(&place->pci, id);
    snprintf(s->id, sizeof(s->id), "--id=%s", id);
    start(s, lg_now_ns());
    return s;
}

static bool may_start(const struct smi *s)
{
    return s->n_starts < MAX_STARTS;
}

static void smi_read(void *source, uint64_t now_ns, struct lg_readings *out)
{
    struct smi *s = source;
    if (!s->pid && may_start(s) && now_ns - s->start_ns >= RESTART_NS)
        start(s, now_ns);
    if (s->pid && !drain(s, now_ns)) {
        if (!s->told && s->n_fields + 1 < sizeof(queries) / sizeof(*queries))
            s->n_fields++;
        stop(s);
    }
    for (int i = 0; i < LG_N_MEASURES; i++) {
        const struct lg_reading *r = &s->last.of[i];
        if (r->known)
            lg_reading_set(out, (enum lg_measure)i, r->value, r->at_ns, r->source);
    }
}

static bool smi_is_pending(const void *source)
{
    const struct smi *s = source;
    return !s->told && (s->pid || may_start(s));
}

static void smi_close(struct lg_env *env, void *source)
{
    stop(source);
    lg_free(env, source);
}

const struct lg_source_ops lg_source_smi = {
    .name = "nvidia-smi",
    .of_device = true,
    .last_resort = true,
    .open = smi_open,
    .read = smi_read,
    .is_pending = smi_is_pending,
    .close = smi_close,
};
