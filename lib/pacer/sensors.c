/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pacer/source.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/thread.h"

enum { MAX_SOURCES = 8, PERIOD_MS = 500, STALE_MS = 5000, REST_MS = 10000, PENDING_MS = 50 };
#define MS UINT64_C(1000000)

/* A source, and what became of it. */
struct source {
    const struct lg_source_ops *ops;
    void *state; // NULL: it is not open
    char why[LG_SOURCE_WHY];
};

struct lg_sensors {
    struct lg_env env; // of who asks the sources
    struct lg_place place;
    lg_sensors_host_fn *host;
    void *host_user;
    uint64_t period_ns, stale_ns, rest_ns;
    bool on_call;

    /* of who asks the sources: the thread, or in the mode on_call whoever holds `asking` */
    pthread_mutex_t asking;
    struct source sources[MAX_SOURCES];
    uint32_t n_sources;
    struct lg_readings found;
    struct lg_energy energy;

    /* of all, by `mutex` */
    pthread_mutex_t mutex;
    pthread_cond_t work; // somebody reads, or `stop`
    pthread_cond_t done; // n_done went up
    struct lg_readings readings;
    struct lg_energy_total total;
    char text[2048]; // the description
    uint64_t n_begun, n_done;
    uint64_t begun_ns, wanted_ns; // when sources were asked last, and somebody wanted to know
    uint64_t hurry_to;            // n_done that somebody waits for
    uint32_t n_hurried;           // who wait for them, and for what is pending
    bool opened, pending, stop, started;
    pthread_t thread;
};

/* ---- sources ---------------------------------------------------------------------------------- */

static void open_sources(struct lg_sensors *s)
{
    bool has_device = false;
    for (uint32_t i = 0; lg_sources[i] && i < MAX_SOURCES; i++) {
        struct source *to = &s->sources[i];
        to->ops = lg_sources[i];
        if (to->ops->last_resort && has_device)
            snprintf(to->why, sizeof(to->why), "another source measures the device");
        else
            to->state = to->ops->open(&s->env, &s->place, to->why);
        has_device |= to->state && to->ops->of_device;
        s->n_sources = i + 1;
    }
}

static void describe(struct lg_sensors *s)
{
    size_t len = 0, size = sizeof(s->text);
    if (s->host)
        len += (size_t)snprintf(s->text, size, "host: used\n");
    for (uint32_t i = 0; i < s->n_sources; i++) {
        const struct source *from = &s->sources[i];
        const char *why = *from->why ? from->why : "there is no memory for it";
        len += (size_t)snprintf(s->text + len, size - len, "%s: %s%s\n", from->ops->name,
                                from->state ? "" : "not used: ", from->state ? "used" : why);
    }
}

static void add_energy(struct lg_sensors *s, uint64_t now_ns)
{
    const struct lg_reading *power = &s->found.of[LG_MEASURE_POWER],
                            *counter = &s->found.of[LG_MEASURE_ENERGY];
    lg_energy_add(&s->energy, &(struct lg_energy_sample){
                                  .now_ns = now_ns,
                                  .power_ns = power->known ? power->at_ns : 0,
                                  .counter_ns = counter->known ? counter->at_ns : 0,
                                  .power = power->value,
                                  .counter = counter->value,
                              });
}

/* What was known and is not now: keeps from when and where that was. */
static void remember(struct lg_readings *now, const struct lg_readings *before)
{
    for (int i = 0; i < LG_N_MEASURES; i++) {
        struct lg_reading *r = &now->of[i];
        if (r->known)
            continue;
        *r = before->of[i];
        r->known = false;
        r->value = 0;
        if (!r->source)
            r->source = "";
    }
}

/* Asks the host and all sources; says whether one will know more soon. */
static bool ask(struct lg_sensors *s)
{
    struct lg_readings now = {0};
    bool pending = false;
    if (s->host && s->host(s->host_user, lg_now_ns(), &now) < 0)
        now = (struct lg_readings){0};
    for (uint32_t i = 0; i < s->n_sources; i++) {
        const struct source *from = &s->sources[i];
        if (!from->state)
            continue;
        from->ops->read(from->state, lg_now_ns(), &now);
        pending |= from->ops->is_pending && from->ops->is_pending(from->state);
    }
    struct lg_reading *used = &now.of[LG_MEASURE_MEMORY_USED], *total = &now.of[LG_MEASURE_MEMORY_TOTAL];
    if (total->known && used->value > total->value)
        used->known = false;
    remember(&now, &s->found);
    s->found = now;
    add_energy(s, lg_now_ns());
    return pending;
}

/* ---- the thread ------------------------------------------------------------------------------- */

/* Asks once, opening the sources before the first time; mutex is held on entry and on return, and not in
 * between. */
static void round_of(struct lg_sensors *s)
{
    bool opened = s->opened;
    uint64_t number = ++s->n_begun;
    s->begun_ns = lg_now_ns();
    pthread_mutex_unlock(&s->mutex);
    if (!opened)
        open_sources(s);
    bool pending = ask(s);
    struct lg_energy_total total;
    lg_energy_total(&s->energy, &total);
    pthread_mutex_lock(&s->mutex);
    if (!opened)
        describe(s);
    s->opened = true;
    s->pending = pending;
    s->readings = s->found;
    s->total = total;
    s->n_done = number;
    pthread_cond_broadcast(&s->done);
}

/* When the sources are to be asked next; UINT64_MAX: when somebody wants to know. */
static uint64_t next_ns(const struct lg_sensors *s)
{
    if (s->n_begun < s->hurry_to)
        return 0;
    if (s->n_hurried && s->pending)
        return s->begun_ns + PENDING_MS * MS;
    return s->begun_ns < s->wanted_ns + s->rest_ns ? s->begun_ns + s->period_ns : UINT64_MAX;
}

static bool wait_until(struct lg_sensors *s, pthread_cond_t *cond, uint64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    return pthread_cond_timedwait(cond, &s->mutex, &until) == 0;
}

static void *run(void *user)
{
    struct lg_sensors *s = user;
    pthread_mutex_lock(&s->mutex);
    while (!s->stop) {
        uint64_t next = s->opened ? next_ns(s) : 0;
        if (lg_now_ns() >= next)
            round_of(s);
        else if (next == UINT64_MAX)
            pthread_cond_wait(&s->work, &s->mutex);
        else
            wait_until(s, &s->work, next);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* In the mode on_call: asks if it is time to, unless somebody else is doing so. */
static void ask_here(struct lg_sensors *s, uint64_t older_ns)
{
    if (pthread_mutex_trylock(&s->asking) != 0)
        return;
    pthread_mutex_lock(&s->mutex);
    if (!s->opened || lg_now_ns() - s->begun_ns >= older_ns)
        round_of(s);
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_unlock(&s->asking);
}

/* ---- the handle ------------------------------------------------------------------------------- */

static void init_sync(struct lg_sensors *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->asking, NULL);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->work, &attr);
    pthread_cond_init(&s->done, &attr);
    pthread_condattr_destroy(&attr);
}

/* A copy of a text, or NULL for NULL; false when there is no memory. */
static bool copy_text(struct lg_env *env, const char *text, char **out)
{
    *out = text ? lg_strndup(env, text, strlen(text)) : NULL;
    return !text || *out;
}

/* The only GPU in the place of a device that is nowhere on the bus; then that is no processor. */
static void find_gpu(struct lg_place *place)
{
    struct lg_pci only = lg_place_only_gpu(place->root);
    if (place->pci.known || !only.known)
        return;
    if (place->kind == LG_DEVICE_CPU || place->kind == LG_DEVICE_SOFTWARE)
        place->kind = LG_DEVICE_OTHER;
    place->pci = only;
}

static int fill(struct lg_sensors *s, const struct lg_sensors_options *o)
{
    const char *root = o->root && strcmp(o->root, "/") != 0 ? o->root : "";
    uint32_t period = o->period_ms ? o->period_ms : PERIOD_MS;
    s->place.kind = o->device->kind;
    s->place.vendor = o->device->vendor;
    s->place.pci = o->device->pci;
    s->host = o->host;
    s->host_user = o->host_user;
    s->period_ns = period * MS;
    s->rest_ns = (o->rest_ms ? o->rest_ms : REST_MS) * MS;
    s->stale_ns = (o->stale_ms ? o->stale_ms : STALE_MS) * MS;
    s->energy.max_gap_ns = lg_max_u64(4 * s->period_ns, 2000 * MS);
    s->on_call = o->on_call;
    if (strlen(root) > LG_SYSFS_PATH / 2)
        return LLMGPU_E_INVALID;
    bool copied = copy_text(&s->env, root, &s->place.root) && copy_text(&s->env, o->nvml, &s->place.nvml) &&
                  copy_text(&s->env, o->smi, &s->place.smi);
    if (copied && o->any_gpu)
        find_gpu(&s->place);
    return copied ? 0 : LLMGPU_E_NOMEM;
}

int lg_sensors_open(struct lg_env *env, const struct lg_sensors_options *options, struct lg_sensors **out)
{
    *out = NULL;
    struct lg_sensors *s = lg_alloc(env, sizeof(*s));
    if (!s)
        return lg_fail_nomem(env, "sensors", sizeof(*s));
    lg_env_child(&s->env, env);
    init_sync(s);
    remember(&s->readings, &s->found);
    int rc = fill(s, options);
    if (rc < 0) {
        lg_sensors_close(s);
        return rc == LLMGPU_E_NOMEM ? lg_fail_nomem(env, "the names of sensors", 0)
                                    : lg_fail(env, rc, "the folder for sensors has too long a name");
    }
    s->wanted_ns = lg_now_ns();
    s->started = !s->on_call && lg_thread_start(&s->thread, run, s);
    s->on_call = !s->started; // without a thread, who reads has to wait
    *out = s;
    return 0;
}

void lg_sensors_close(struct lg_sensors *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->mutex);
    if (s->started)
        pthread_join(s->thread, NULL);
    for (uint32_t i = 0; i < s->n_sources; i++)
        if (s->sources[i].state)
            s->sources[i].ops->close(&s->env, s->sources[i].state);
    pthread_cond_destroy(&s->done);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->mutex);
    pthread_mutex_destroy(&s->asking);
    struct lg_env env = s->env;
    lg_free(&env, s->place.root);
    lg_free(&env, s->place.nvml);
    lg_free(&env, s->place.smi);
    lg_free(&env, s);
}

/* Somebody wants to know; wakes the thread if it sleeps for long. */
static void want(struct lg_sensors *s)
{
    bool sleeps = s->opened && next_ns(s) == UINT64_MAX;
    s->wanted_ns = lg_now_ns();
    if (sleeps)
        pthread_cond_signal(&s->work);
}

void lg_sensors_read(struct lg_sensors *s, struct lg_readings *out)
{
    if (s->on_call)
        ask_here(s, s->period_ns);
    pthread_mutex_lock(&s->mutex);
    want(s);
    uint64_t now = s->wanted_ns;
    *out = s->readings;
    pthread_mutex_unlock(&s->mutex);
    for (int i = 0; i < LG_N_MEASURES; i++) {
        struct lg_reading *r = &out->of[i];
        if (!r->known || now < r->at_ns || now - r->at_ns <= s->stale_ns)
            continue;
        r->known = false;
        r->value = 0;
    }
}

/* The same without a thread. */
static bool refresh_here(struct lg_sensors *s, uint64_t until_ns)
{
    ask_here(s, 0);
    while (s->pending && lg_now_ns() + PENDING_MS * MS < until_ns) {
        nanosleep(&(struct timespec){.tv_nsec = PENDING_MS * (long)MS}, NULL);
        ask_here(s, 0);
    }
    return !s->pending;
}

bool lg_sensors_refresh(struct lg_sensors *s, uint32_t timeout_ms)
{
    uint64_t until = lg_now_ns() + timeout_ms * MS;
    if (s->on_call)
        return refresh_here(s, until);
    pthread_mutex_lock(&s->mutex);
    uint64_t target = s->n_begun + 1;
    bool in_time = true;
    s->hurry_to = target;
    s->n_hurried++;
    s->wanted_ns = lg_now_ns();
    pthread_cond_signal(&s->work);
    while ((s->n_done < target || s->pending) && in_time)
        in_time = wait_until(s, &s->done, until);
    in_time = s->n_done >= target && !s->pending;
    s->n_hurried--;
    pthread_mutex_unlock(&s->mutex);
    return in_time;
}

void lg_sensors_energy(struct lg_sensors *s, struct lg_energy_total *out)
{
    pthread_mutex_lock(&s->mutex);
    want(s);
    *out = s->total;
    pthread_mutex_unlock(&s->mutex);
}

size_t lg_sensors_describe(struct lg_sensors *s, char *out, size_t size)
{
    pthread_mutex_lock(&s->mutex);
    int n = snprintf(out, size, "%s", s->text);
    pthread_mutex_unlock(&s->mutex);
    return n > 0 ? (size_t)n : 0;
}
