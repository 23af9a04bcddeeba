/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "api/params.h"
#include "pacer/known.h"
#include "pacer/sensor.h"
#include "util/clock.h"

enum { FIRST_MS = 2000, MAX_EVERY_MS = 60000, MAX_TEXT = 4096 };

/** It belongs to no context, so it has an env of its own. */
struct llmgpu_sensors {
    struct lg_env env;
    struct lg_sensors *sensors;
    llmgpu_sensor_fn host;
    void *host_user;
};

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_sensor_params, host_user)
#define READING_LEAST LG_SIZE_TO(llmgpu_reading, on_battery)

static const llmgpu_sensor_params defaults = {.size = sizeof(llmgpu_sensor_params), .every_ms = 200};

int llmgpu_sensor_params_init(llmgpu_sensor_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- readings: the public struct has the measures in the order of lg_measure */

_Static_assert(sizeof(llmgpu_reading) == LG_N_MEASURES * sizeof(llmgpu_measure), "a measure is missing");
_Static_assert(offsetof(llmgpu_reading, on_battery) == LG_MEASURE_ON_BATTERY * sizeof(llmgpu_measure),
               "another order");
_Static_assert(offsetof(llmgpu_reading, power) == LG_MEASURE_POWER * sizeof(llmgpu_measure), "another order");

static llmgpu_measure *measure_of(llmgpu_reading *reading, int i)
{
    return (llmgpu_measure *)(void *)((char *)reading + (size_t)i * sizeof(llmgpu_measure));
}

static int ask_host(void *user, uint64_t now_ns, struct lg_readings *out)
{
    const llmgpu_sensors *s = user;
    llmgpu_reading told = {0};
    if (s->host(s->host_user, &told) != 0)
        return LLMGPU_E_UNSUPPORTED;
    lg_known_check(&told);
    for (int i = 0; i < LG_N_MEASURES; i++) {
        const llmgpu_measure *m = measure_of(&told, i);
        double age_ns = m->age * 1e9;
        if (m->known && age_ns < (double)now_ns)
            lg_reading_set(out, (enum lg_measure)i, m->value, now_ns - (uint64_t)age_ns, "host");
    }
    return 0;
}

static void convert(const struct lg_readings *from, llmgpu_reading *to)
{
    uint64_t now_ns = lg_now_ns();
    memset(to, 0, sizeof(*to));
    for (int i = 0; i < LG_N_MEASURES; i++) {
        const struct lg_reading *r = &from->of[i];
        llmgpu_measure *m = measure_of(to, i);
        if (!r->known)
            continue;
        m->value = r->value;
        m->known = 1;
        m->age = 1e-3 * lg_reading_age_ms(r, now_ns);
        snprintf(m->source, sizeof(m->source), "%s", r->source);
    }
}

/* ---- devices */

/** What "auto" takes; in the order of preference. */
static const enum lg_device_kind by_auto[] = {LG_DEVICE_DISCRETE, LG_DEVICE_INTEGRATED, LG_DEVICE_VIRTUAL,
                                              LG_DEVICE_CPU};

static const struct lg_device_info *choose(const struct lg_device_info *infos, uint32_t n, const char *name)
{
    bool is_auto = strcmp(name, "auto") == 0;
    for (size_t k = 0; is_auto && k < sizeof(by_auto) / sizeof(by_auto[0]); k++)
        for (uint32_t i = 0; i < n; i++)
            if (infos[i].kind == by_auto[k])
                return &infos[i];
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(infos[i].id, name) == 0 || (strcmp(name, "vulkan") == 0 && infos[i].kind != LG_DEVICE_CPU))
            return &infos[i];
    return NULL;
}

/** The device of a name, and whether it is the only GPU here. */
static int find_device(struct lg_env *env, const char *name, struct lg_device_info *out, bool *only)
{
    struct lg_device_info *infos;
    uint32_t n, n_gpus = 0;
    LG_TRY(lg_device_list(env, &infos, &n));
    const struct lg_device_info *found = choose(infos, n, name);
    if (found)
        *out = *found;
    for (uint32_t i = 0; i < n; i++)
        n_gpus += infos[i].kind != LG_DEVICE_CPU && infos[i].kind != LG_DEVICE_SOFTWARE;
    lg_free(env, infos);
    *only = found && n_gpus == 1 && out->kind != LG_DEVICE_CPU && out->kind != LG_DEVICE_SOFTWARE;
    return found ? 0 : lg_fail(env, LLMGPU_E_NO_DEVICE, "no device '%.64s'", name);
}

/** By its place or its name. In a made-up tree "auto" is its only GPU, whatever this machine has. */
static int describe_device(struct lg_env *env, const llmgpu_sensor_params *p, struct lg_device_info *out,
                           bool *only)
{
    const char *name = p->device ? p->device : "auto";
    *out = (struct lg_device_info){.kind = LG_DEVICE_DISCRETE};
    if (p->pci)
        return lg_pci_parse(p->pci, &out->pci)
                   ? 0
                   : lg_fail(env, LLMGPU_E_INVALID, "'%.64s' is no place on PCI", p->pci);
    if (p->root && strcmp(p->root, "/") != 0 && strcmp(name, "auto") == 0) {
        *only = true;
        return 0;
    }
    if (strcmp(name, "cpu") == 0) { // without asking drivers
        out->kind = LG_DEVICE_CPU;
        return 0;
    }
    return find_device(env, name, out, only);
}

/* ---- the handle */

static int open_sensors(llmgpu_sensors *s, const llmgpu_sensor_params *p)
{
    struct lg_device_info device;
    bool only = false, made_up = p->root && strcmp(p->root, "/") != 0;
    if (p->every_ms < 1 || p->every_ms > MAX_EVERY_MS)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "readings every %u ms, not 1 .. %d", p->every_ms,
                       MAX_EVERY_MS);
    LG_TRY(describe_device(&s->env, p, &device, &only));
    s->host = p->host;
    s->host_user = p->host_user;
    return lg_sensors_open(&s->env,
                           &(struct lg_sensors_options){
                               .device = &device,
                               .any_gpu = only,
                               .host = p->host ? ask_host : NULL,
                               .host_user = s,
                               .root = p->root,
                               .nvml = p->nvml || !made_up ? p->nvml : "",
                               .smi = p->nvidia_smi || !made_up ? p->nvidia_smi : "",
                               .period_ms = p->every_ms,
                           },
                           &s->sensors);
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
    llmgpu_sensors *s = lg_alloc(&env, sizeof(*s));
    if (!s)
        return LLMGPU_E_NOMEM;
    lg_env_init(&s->env);
    int rc = open_sensors(s, &p);
    if (rc < 0) {
        llmgpu_sensors_free(s);
        return rc;
    }
    lg_sensors_refresh(s->sensors, FIRST_MS);
    *out = s;
    return 0;
}

void llmgpu_sensors_free(llmgpu_sensors *s)
{
    if (!s)
        return;
    struct lg_env env;
    lg_env_init(&env);
    lg_sensors_close(s->sensors);
    lg_free(&env, s);
}

int llmgpu_sensors_read(llmgpu_sensors *s, llmgpu_reading *out, size_t size)
{
    struct lg_readings readings;
    llmgpu_reading reading;
    if (!s)
        return LLMGPU_E_INVALID;
    lg_sensors_read(s->sensors, &readings);
    convert(&readings, &reading);
    return lg_api_info_out(out, size, &reading, sizeof(reading), READING_LEAST);
}

int llmgpu_sensors_describe(llmgpu_sensors *s, char *text, size_t capacity, size_t *len)
{
    char lines[MAX_TEXT];
    if (!s || !len || (!text && capacity))
        return LLMGPU_E_INVALID;
    *len = lg_sensors_describe(s->sensors, lines, sizeof(lines));
    if (*len >= sizeof(lines))
        *len = sizeof(lines) - 1;
    if (*len > capacity)
        return LLMGPU_E_RANGE;
    if (*len > 0)
        memcpy(text, lines, *len);
    if (*len < capacity)
        text[*len] = '\0';
    return 0;
}
