/* SPDX-License-Identifier: MIT */
#include <string.h>

#ifndef LLMGPU_EXPERIMENTAL
#define LLMGPU_EXPERIMENTAL
#endif
#include "api/params.h"
#include "pacer/known.h"
#include "pacer/sensor.h"
#include "util/clock.h"

enum { FIRST_MS = 1500, STALE_MS = 5000, MAX_EVERY_MS = 60000, MAX_TEXT = 2048 };

struct llmgpu_sensors {
    struct lg_env env; // they belong to no context
    struct lg_sensors *sensors;
    llmgpu_sensor_fn host;
    void *host_user;
};

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_sensor_params, host_user)

static const llmgpu_sensor_params defaults = {.size = sizeof(llmgpu_sensor_params), .every_ms = 200};

int llmgpu_sensor_params_init(llmgpu_sensor_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- readings --------------------------------------------------------------------------------- */

/* Where a measure is in a reading. */
static const size_t offsets[LG_N_MEASURES] = {
    [LG_MEASURE_TEMPERATURE] = offsetof(llmgpu_reading, temperature),
    [LG_MEASURE_HOTSPOT] = offsetof(llmgpu_reading, hotspot),
    [LG_MEASURE_MEMORY_TEMPERATURE] = offsetof(llmgpu_reading, memory_temperature),
    [LG_MEASURE_TEMPERATURE_LIMIT] = offsetof(llmgpu_reading, temperature_limit),
    [LG_MEASURE_TEMPERATURE_CRITICAL] = offsetof(llmgpu_reading, temperature_critical),
    [LG_MEASURE_POWER] = offsetof(llmgpu_reading, power),
    [LG_MEASURE_POWER_LIMIT] = offsetof(llmgpu_reading, power_limit),
    [LG_MEASURE_CLOCK] = offsetof(llmgpu_reading, clock),
    [LG_MEASURE_CLOCK_MAX] = offsetof(llmgpu_reading, clock_max),
    [LG_MEASURE_THROTTLE] = offsetof(llmgpu_reading, throttle),
    [LG_MEASURE_BUSY] = offsetof(llmgpu_reading, busy),
    [LG_MEASURE_MEMORY_USED] = offsetof(llmgpu_reading, memory_used),
    [LG_MEASURE_MEMORY_TOTAL] = offsetof(llmgpu_reading, memory_total),
    [LG_MEASURE_ENERGY] = offsetof(llmgpu_reading, energy),
    [LG_MEASURE_ON_BATTERY] = offsetof(llmgpu_reading, on_battery),
};

_Static_assert(LG_N_MEASURES == sizeof(llmgpu_reading) / sizeof(llmgpu_measure), "a measure is missing");
_Static_assert((int)LG_THROTTLE_THERMAL == LLMGPU_THROTTLE_THERMAL &&
                   (int)LG_THROTTLE_POWER == LLMGPU_THROTTLE_POWER &&
                   (int)LG_THROTTLE_OTHER == LLMGPU_THROTTLE_OTHER,
               "throttling has other bits");

static llmgpu_measure *measure_of(llmgpu_reading *reading, int i)
{
    return (llmgpu_measure *)(void *)((char *)reading + offsets[i]);
}

static void give_reading(const struct lg_readings *from, uint64_t now_ns, llmgpu_reading *to)
{
    memset(to, 0, sizeof(*to));
    for (int i = 0; i < LG_N_MEASURES; i++) {
        const struct lg_reading *r = &from->of[i];
        llmgpu_measure *m = measure_of(to, i);
        if (!r->known)
            continue;
        *m = (llmgpu_measure){.value = r->value, .age = lg_reading_age_ms(r, now_ns) * 1e-3, .known = 1};
        size_t len = strlen(r->source);
        memcpy(m->source, r->source, len < sizeof(m->source) ? len : sizeof(m->source) - 1);
    }
}

/* What the host knows, which is checked as all others are. */
static int ask_host(void *user, uint64_t now_ns, struct lg_readings *out)
{
    const llmgpu_sensors *s = user;
    llmgpu_reading reading = {0};
    if (s->host(s->host_user, &reading) != 0)
        return LLMGPU_E_IO;
    lg_known_check(&reading);
    for (int i = 0; i < LG_N_MEASURES; i++) {
        const llmgpu_measure *m = measure_of(&reading, i);
        double age_ns = m->age * 1e9;
        if (m->known && age_ns < (double)now_ns)
            lg_reading_set(out, (enum lg_measure)i, m->value, now_ns - (uint64_t)age_ns, "host");
    }
    return 0;
}

/* ---- the handle ------------------------------------------------------------------------------- */

/* Which device is meant; *only when its place may be unknown, and it is the only GPU there is. */
static int find_device(struct lg_env *env, const llmgpu_sensor_params *p, struct lg_device_info *info,
                       bool *only)
{
    bool made_up = p->root && strcmp(p->root, "/") != 0;
    *only = false;
    if (p->pci) {
        *info = (struct lg_device_info){.kind = LG_DEVICE_OTHER};
        return lg_pci_parse(p->pci, &info->pci) ? 0 : LLMGPU_E_INVALID;
    }
    *only = made_up && (!p->device || strcmp(p->device, "auto") == 0); // whatever this machine has
    LG_TRY(lg_device_find(env, *only ? "cpu" : p->device, info));
    *only |= info->kind == LG_DEVICE_DISCRETE || info->kind == LG_DEVICE_INTEGRATED;
    return 0;
}

static int open_sensors(llmgpu_sensors *s, const llmgpu_sensor_params *p)
{
    struct lg_device_info info;
    bool only, made_up = p->root && strcmp(p->root, "/") != 0;
    LG_TRY(find_device(&s->env, p, &info, &only));
    s->host = p->host;
    s->host_user = p->host_user;
    struct lg_sensors_options options = {
        .device = &info,
        .any_gpu = only,
        .host = p->host ? ask_host : NULL,
        .host_user = s,
        .root = p->root,
        .nvml = p->nvml || !made_up ? p->nvml : "",
        .smi = p->nvidia_smi || !made_up ? p->nvidia_smi : "",
        .period_ms = p->every_ms,
        .stale_ms = 4 * p->every_ms > STALE_MS ? 4 * p->every_ms : STALE_MS,
    };
    LG_TRY(lg_sensors_open(&s->env, &options, &s->sensors));
    lg_sensors_refresh(s->sensors, FIRST_MS);
    return 0;
}

int llmgpu_sensors_open(llmgpu_sensors **out, const llmgpu_sensor_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    struct lg_env env;
    lg_env_init(&env);
    llmgpu_sensor_params p = defaults;
    if (params)
        LG_TRY(lg_api_params_in(&env, &p, sizeof(p), PARAMS_LEAST, params));
    if (p.every_ms < 1 || p.every_ms > MAX_EVERY_MS)
        return LLMGPU_E_INVALID;
    llmgpu_sensors *s = lg_alloc(&env, sizeof(*s));
    if (!s)
        return LLMGPU_E_NOMEM;
    lg_env_init(&s->env);
    int rc = open_sensors(s, &p);
    if (rc < 0) {
        llmgpu_sensors_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void llmgpu_sensors_free(llmgpu_sensors *sensors)
{
    if (!sensors)
        return;
    struct lg_env env;
    lg_env_init(&env);
    lg_sensors_close(sensors->sensors);
    lg_free(&env, sensors);
}

int llmgpu_sensors_read(llmgpu_sensors *sensors, llmgpu_reading *out, size_t size)
{
    struct lg_readings readings;
    llmgpu_reading reading;
    if (!sensors)
        return LLMGPU_E_INVALID;
    lg_sensors_read(sensors->sensors, &readings);
    give_reading(&readings, lg_now_ns(), &reading);
    return lg_api_info_out(out, size, &reading, sizeof(reading), LG_SIZE_TO(llmgpu_reading, on_battery));
}

int llmgpu_sensors_energy(llmgpu_sensors *sensors, llmgpu_energy *out, size_t size)
{
    struct lg_energy_total total;
    if (!sensors)
        return LLMGPU_E_INVALID;
    lg_sensors_energy(sensors->sensors, &total);
    const llmgpu_energy energy = {total.joules, total.covered_ns / 1000, total.span_ns / 1000};
    return lg_api_info_out(out, size, &energy, sizeof(energy), LG_SIZE_TO(llmgpu_energy, span_us));
}

int llmgpu_sensors_describe(llmgpu_sensors *sensors, char *text, size_t capacity, size_t *len)
{
    char own[MAX_TEXT];
    if (!sensors || !len || (!text && capacity))
        return LLMGPU_E_INVALID;
    *len = lg_sensors_describe(sensors->sensors, own, sizeof(own));
    if (*len > capacity)
        return LLMGPU_E_RANGE;
    if (*len)
        memcpy(text, own, *len);
    if (*len < capacity)
        text[*len] = '\0';
    return 0;
}
