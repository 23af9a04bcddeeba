/* SPDX-License-Identifier: MIT
 *
 * llmgpu pacer: what the sensors say, what a policy would do, and simulated days.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llmgpu/pacer.h>

#include "common.h"
#include "interrupt.h"
#include "json.h"
#include "simulate.h"

struct pacer_values {
    const char *device, *sysfs, *policy, *target, *power, *plant, *svg;
    float hours, hysteresis;
    bool watch, json;
};

// clang-format off
static const struct cli_option options[] = {
    {CLI_TEXT, 'd', "device", "NAME", offsetof(struct pacer_values, device), 0, 0,
     "whose sensors: auto (a real GPU, else the CPU), cpu, or vulkan:N as 'llmgpu devices' lists it"},
    {CLI_FLAG, 'w', "watch", NULL, offsetof(struct pacer_values, watch), 0, 0,
     "go on once a second until Ctrl-C; with --json a line each"},
    {CLI_TEXT, 0, "sysfs", "ROOT", offsetof(struct pacer_values, sysfs), 0, 0,
     "read files of sensors below this folder instead of /, and ask no library or program"},
    CLI_JSON_OPTION(struct pacer_values),
    {CLI_HEADING, .help = "Policy"},
    {CLI_TEXT, 0, "policy", "NAME", offsetof(struct pacer_values, policy), 0, 0,
     "off, ramp or control (default control; all three with --simulate)"},
    {CLI_TEXT, 0, "target", "DEGREES", offsetof(struct pacer_values, target), 0, 0,
     "temperature to stay at, such as 75C (20 .. 120), or auto: 3 below the device's own limit (default 75C; with "
     "--simulate just below the plant's own limit)"},
    {CLI_TEXT, 0, "power", "WATTS", offsetof(struct pacer_values, power), 0, 0,
     "mean power to stay at, such as 60W (default: any)"},
    {CLI_HEADING, .help = "Simulation"},
    {CLI_F32, 0, "simulate", "HOURS", offsetof(struct pacer_values, hours), 0, 1000,
     "simulate work for so long, from the morning on, in place of reading sensors; 0: not"},
    {CLI_TEXT, 0, "plant", "NAME", offsetof(struct pacer_values, plant), 0, 0,
     "the device that is simulated: laptop, desktop, server, or trimmed, which lowers its clock in fine steps"},
    {CLI_F32, 0, "hysteresis", "DEGREES", offsetof(struct pacer_values, hysteresis), 0, 30,
     "how much cooler the plant must be before it is fast again after it was too hot; 0: as it is made"},
    {CLI_TEXT, 0, "svg", "OUT", offsetof(struct pacer_values, svg), 0, 0, "draw temperature and speed over time"},
    {0}};
// clang-format on

static void init(void *values)
{
    struct pacer_values *v = values;
    v->device = "auto";
    v->plant = "laptop";
}

/** "75", "75C" or, where `word` is one, that word, which is `instead`. */
static bool parse_unit(const char *text, char unit, const char *word, float instead, float least, float most,
                       float *out)
{
    char number[32];
    double value;
    size_t len = strlen(text);
    if (word && strcmp(text, word) == 0) {
        *out = instead;
        return true;
    }
    if (len > 0 && text[len - 1] == unit)
        len--;
    if (len == 0 || len >= sizeof(number))
        return false;
    memcpy(number, text, len);
    number[len] = '\0';
    if (!cli_parse_number(number, &value) || !(value >= (double)least && value <= (double)most))
        return false;
    *out = (float)value;
    return true;
}

static const int32_t policies[] = {LLMGPU_PACE_OFF, LLMGPU_PACE_RAMP, LLMGPU_PACE_CONTROL};

enum { N_POLICIES = sizeof(policies) / sizeof(policies[0]) };

/** The parameters of a pacer, and which policies are asked for. CLI_OK or CLI_USAGE, reported. */
static int parse(const struct pacer_values *v, llmgpu_pacer_params *params, bool wanted[N_POLICIES])
{
    bool any = false;
    llmgpu_pacer_params_init(params, sizeof(*params));
    if (v->target && !parse_unit(v->target, 'C', "auto", 0, 20, 120, &params->target))
        return cli_usage("pacer", "--target takes degrees Celsius, 20C .. 120C, or auto, not '%s'",
                         v->target);
    if (v->power && !parse_unit(v->power, 'W', NULL, 0, 1, 5000, &params->power))
        return cli_usage("pacer", "--power takes watts, 1W .. 5000W, not '%s'", v->power);
    for (int i = 0; i < N_POLICIES; i++) {
        wanted[i] = !v->policy || strcmp(v->policy, simulate_policy_name(policies[i])) == 0;
        any = any || wanted[i];
        if (wanted[i])
            params->policy = policies[i]; // the last one, control, where none is named
    }
    return any ? CLI_OK : cli_usage("pacer", "there is no policy '%s'; off, ramp and control are", v->policy);
}

/* ---- sensors */

static const struct {
    const char *name, *key, *unit;
    size_t offset;
    double scale;
} measures[] = {
    {"temperature", "temperature_c", "C", offsetof(llmgpu_reading, temperature), 1},
    {"hotspot", "hotspot_c", "C", offsetof(llmgpu_reading, hotspot), 1},
    {"memory temperature", "memory_temperature_c", "C", offsetof(llmgpu_reading, memory_temperature), 1},
    {"slows down at", "temperature_limit_c", "C", offsetof(llmgpu_reading, temperature_limit), 1},
    {"turns off at", "temperature_critical_c", "C", offsetof(llmgpu_reading, temperature_critical), 1},
    {"power", "power_w", "W", offsetof(llmgpu_reading, power), 1},
    {"power limit", "power_limit_w", "W", offsetof(llmgpu_reading, power_limit), 1},
    {"clock", "clock_mhz", "MHz", offsetof(llmgpu_reading, clock), 1},
    {"highest clock", "clock_max_mhz", "MHz", offsetof(llmgpu_reading, clock_max), 1},
    {"slowed by", "throttle", "", offsetof(llmgpu_reading, throttle), 1},
    {"busy", "busy", "%", offsetof(llmgpu_reading, busy), 100},
    {"memory used", "memory_used_bytes", "MiB", offsetof(llmgpu_reading, memory_used), 0x1p-20},
    {"memory", "memory_total_bytes", "MiB", offsetof(llmgpu_reading, memory_total), 0x1p-20},
    {"energy", "energy_j", "J", offsetof(llmgpu_reading, energy), 1},
    {"on battery", "on_battery", "", offsetof(llmgpu_reading, on_battery), 1},
};

enum { N_MEASURES = sizeof(measures) / sizeof(measures[0]) };

static const llmgpu_measure *measure_of(const llmgpu_reading *reading, int i)
{
    return (const llmgpu_measure *)(const void *)((const char *)reading + measures[i].offset);
}

static void print_value(int i, double value, FILE *out)
{
    if (measures[i].offset == offsetof(llmgpu_reading, throttle)) {
        uint32_t bits = (uint32_t)value;
        fprintf(out, "%s%s%s%s", bits ? "" : "nothing", bits & LLMGPU_THROTTLE_THERMAL ? "heat " : "",
                bits & LLMGPU_THROTTLE_POWER ? "power " : "",
                bits & LLMGPU_THROTTLE_OTHER ? "something " : "");
    } else if (measures[i].offset == offsetof(llmgpu_reading, on_battery)) {
        fputs(value > 0 ? "yes" : "no", out);
    } else {
        fprintf(out, "%.1f %s", value * measures[i].scale, measures[i].unit);
    }
}

static void print_reading(const llmgpu_reading *reading, const char *sources, const char *status, FILE *out)
{
    for (int i = 0; i < N_MEASURES; i++) {
        const llmgpu_measure *m = measure_of(reading, i);
        fprintf(out, "%-20s", measures[i].name);
        if (!m->known) {
            fputs("unknown\n", out);
            continue;
        }
        print_value(i, m->value, out);
        fprintf(out, "  (%s, %.1f s ago)\n", m->source, m->age);
    }
    fprintf(out, "%s%s\n", sources, status);
}

static void print_reading_json(const llmgpu_reading *reading, const char *sources, const char *status,
                               int pause_us, FILE *out)
{
    struct json j = {.out = out};
    json_begin(&j, '{');
    for (int i = 0; i < N_MEASURES; i++) {
        const llmgpu_measure *m = measure_of(reading, i);
        json_key(&j, measures[i].key);
        if (!m->known) {
            json_null(&j);
            continue;
        }
        json_begin(&j, '{');
        json_key(&j, "value");
        json_number(&j, m->value);
        json_key(&j, "age_s");
        json_number(&j, m->age);
        json_key(&j, "source");
        json_string(&j, m->source);
        json_end(&j, '}');
    }
    json_key(&j, "sensors");
    json_string(&j, sources);
    json_key(&j, "status");
    json_string(&j, status);
    json_key(&j, "pause_us");
    json_int(&j, pause_us);
    json_end(&j, '}');
    fputc('\n', out);
}

/** Of what is shown of a pause: after a slice as long as a token often is. */
enum { SLICE_US = 20000, MAX_TEXT = 4096 };

static int show(const struct pacer_values *v, llmgpu_sensors *sensors, llmgpu_pacer *pacer, FILE *out)
{
    llmgpu_reading reading;
    char sources[MAX_TEXT] = "", status[MAX_TEXT] = "";
    size_t len;
    uint64_t now_us = (uint64_t)(1e6 * cli_seconds());
    int rc = llmgpu_sensors_read(sensors, &reading, sizeof(reading));
    if (rc < 0)
        return cli_fail(rc, "the sensors cannot be read");
    llmgpu_pacer_observe(pacer, &reading, sizeof(reading), now_us);
    int pause_us = llmgpu_pacer_pause(pacer, now_us, SLICE_US);
    llmgpu_sensors_describe(sensors, sources, sizeof(sources), &len);
    llmgpu_pacer_status(pacer, status, sizeof(status), &len);
    if (v->json)
        print_reading_json(&reading, sources, status, pause_us, out);
    else
        print_reading(&reading, sources, status, out);
    return CLI_OK;
}

/** Once a second until Ctrl-C, straight to the standard output. */
static int watch(const struct pacer_values *v, llmgpu_sensors *sensors, llmgpu_pacer *pacer)
{
    cli_on_interrupt(CLI_INTERRUPT_ASK, NULL);
    int rc = CLI_OK;
    while (rc == CLI_OK && !cli_interrupted()) {
        struct timespec second = {.tv_sec = 1};
        rc = show(v, sensors, pacer, stdout);
        if (!v->json)
            fputc('\n', stdout);
        if (fflush(stdout) != 0)
            return cli_fail(LLMGPU_E_IO, "cannot write to the standard output: %s", strerror(errno));
        nanosleep(&second, NULL);
    }
    cli_on_interrupt(CLI_INTERRUPT_DEFAULT, NULL);
    return rc == CLI_OK ? CLI_INTERRUPTED : rc;
}

static int read_sensors(const struct pacer_values *v, const llmgpu_pacer_params *params, FILE *out)
{
    llmgpu_sensors *sensors = NULL;
    llmgpu_pacer *pacer = NULL;
    llmgpu_sensor_params from;
    llmgpu_sensor_params_init(&from, sizeof(from));
    from.device = v->device;
    from.root = v->sysfs;
    int rc = llmgpu_sensors_open(&sensors, &from);
    if (rc == 0)
        rc = llmgpu_pacer_create(&pacer, params);
    if (rc < 0)
        rc = cli_fail(
            rc, rc == LLMGPU_E_NO_DEVICE ? "there is no device '%s'" : "the sensors of '%s' cannot be opened",
            v->device);
    else
        rc = v->watch ? watch(v, sensors, pacer) : show(v, sensors, pacer, out);
    llmgpu_pacer_free(pacer);
    llmgpu_sensors_free(sensors);
    return rc;
}

/* ---- simulations */

static void print_simulation(const struct simulate_result *results, int n, FILE *out)
{
    const struct simulate_result *r = results;
    fprintf(out, "%s: %g hours, target %g C, slows down at %g C", r->kind->title, r->hours, r->target,
            r->kind->limit);
    if (results[n - 1].held < r->target)
        fprintf(out, ", so control holds %g C", results[n - 1].held);
    if (r->power > 0)
        fprintf(out, ", budget %g W", r->power);
    fprintf(out, "\n\n%-8s %10s %8s %7s %7s %8s %8s %9s %9s %8s %7s %9s\n", "policy", "tokens", "tokens/s",
            "mean C", "max C", "settled", "swing C", "above s", "slowed s", "J/token", "mean W", "pauses s");
    for (; r < results + n; r++)
        fprintf(out, "%-8s %10.0f %8.2f %7.1f %7.1f %8.1f %8.2f %9.0f %9.0f %8.3f %7.1f %9.0f\n",
                simulate_policy_name(r->policy), r->tokens, r->tokens / (3600 * r->hours), r->mean_c,
                r->max_c, r->settled_max_c, r->swing_c, r->above_s, r->throttled_s, r->joules / r->tokens,
                r->mean_w, r->pause_s);
    const struct simulate_result *control = &results[n - 1];
    if (n == N_POLICIES)
        fprintf(out, "\ncontrol gives %+.1f%% tokens beside off, %+.1f%% beside ramp\n",
                100 * (control->tokens / results[0].tokens - 1),
                100 * (control->tokens / results[1].tokens - 1));
}

static void put_number(struct json *j, const char *key, double value)
{
    json_key(j, key);
    json_number(j, value);
}

static void print_run_json(struct json *j, const struct simulate_result *r)
{
    json_begin(j, '{');
    json_key(j, "policy");
    json_string(j, simulate_policy_name(r->policy));
    put_number(j, "tokens", round(r->tokens));
    put_number(j, "tokens_per_second", r->tokens / (3600 * r->hours));
    put_number(j, "mean_c", r->mean_c);
    put_number(j, "max_c", r->max_c);
    put_number(j, "settled_max_c", r->settled_max_c);
    put_number(j, "swing_c", r->swing_c);
    put_number(j, "above_target_s", r->above_s);
    put_number(j, "slowed_s", r->throttled_s);
    put_number(j, "joules_per_token", r->joules / r->tokens);
    put_number(j, "mean_w", r->mean_w);
    put_number(j, "settled_max_w", r->settled_power_w);
    json_key(j, "pauses");
    json_uint(j, r->pauses);
    put_number(j, "pause_s", r->pause_s);
    json_end(j, '}');
}

static void print_simulation_json(const struct simulate_result *results, int n, FILE *out)
{
    struct json j = {.out = out};
    json_begin(&j, '{');
    json_key(&j, "plant");
    json_string(&j, results->kind->name);
    put_number(&j, "hours", results->hours);
    put_number(&j, "target_c", results->target);
    put_number(&j, "limit_c", results->kind->limit);
    json_key(&j, "power_w");
    if (results->power > 0)
        json_number(&j, results->power);
    else
        json_null(&j);
    json_key(&j, "runs");
    json_begin(&j, '[');
    for (int i = 0; i < n; i++)
        print_run_json(&j, &results[i]);
    json_end(&j, ']');
    json_end(&j, '}');
    fputc('\n', out);
}

static int run_simulations(const struct pacer_values *v, llmgpu_pacer_params *params,
                           const bool wanted[N_POLICIES], FILE *out)
{
    const struct plant_kind *found = plant_find(v->plant);
    int n = 0;
    if (!found)
        return cli_usage("pacer", "there is no plant '%s'; laptop, desktop, server and trimmed are",
                         v->plant);
    struct plant_kind kind = *found;
    if (v->hysteresis > 0)
        kind.hysteresis = (double)v->hysteresis;
    if (!v->target || params->target == 0)
        params->target = (float)(v->target ? kind.limit - 3 : kind.target);
    struct simulate_result *results = calloc(N_POLICIES, sizeof(*results));
    if (!results)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a simulation");
    int rc = 0;
    for (int i = 0; i < N_POLICIES && rc == 0; i++) {
        params->policy = policies[i];
        if (wanted[i])
            rc = simulate(&results[n++], &kind, params, (double)v->hours);
    }
    if (rc < 0) {
        rc = cli_fail(rc, "the simulation cannot be run");
    } else {
        (v->json ? print_simulation_json : print_simulation)(results, n, out);
        if (v->svg && !simulate_plot(v->svg, results, (uint32_t)n))
            rc = cli_fail(LLMGPU_E_IO, "cannot write %s: %s", v->svg, strerror(errno));
    }
    free(results);
    return rc;
}

static int pacer(void *values, const struct cli_args *args, FILE *out)
{
    const struct pacer_values *v = values;
    llmgpu_pacer_params params;
    bool wanted[N_POLICIES];
    (void)args;
    if (v->hours > 0 && (v->watch || v->sysfs))
        return cli_usage("pacer", "--simulate reads no sensors: --watch and --sysfs do not go with it");
    if (v->svg && !(v->hours > 0))
        return cli_usage("pacer", "--svg draws what --simulate gives");
    int rc = parse(v, &params, wanted);
    if (rc != CLI_OK)
        return rc;
    return v->hours > 0 ? run_simulations(v, &params, wanted, out) : read_sensors(v, &params, out);
}

const struct cli_command cli_command_pacer = {
    .name = "pacer",
    .usage = "[options]",
    .summary = "show the sensors of a device, and simulate pacing",
    .about =
        "Shows what is known of a device's temperature, power and clocks, from where and how old that is, "
        "and what "
        "the policy would do with it. Nothing of the device is set.\n"
        "\n"
        "With --simulate a day of work on a thermal model of a device, for each policy: tokens, temperatures "
        "while "
        "there is work (the highest ever, and after half an hour), the swing within five minutes, seconds "
        "above the "
        "target and slowed down by the device itself, energy and pauses. docs/pacer.md tells what the models "
        "are "
        "and where their numbers are from.\n"
        "\n"
        "With --json an object; of sensors:\n"
        "  {\"temperature_c\":{\"value\":...,\"age_s\":...,\"source\":\"...\"},...,\"sensors\":\"...\",\n"
        "   \"status\":\"...\",\"pause_us\":...}\n"
        "with null for what is not known, and pause_us after a slice of 20 ms; of a simulation:\n"
        "  {\"plant\":\"...\",\"hours\":...,\"target_c\":...,\"limit_c\":...,\"power_w\":...,\n"
        "   \"runs\":[{\"policy\":\"...\",\"tokens\":...,\"tokens_per_second\":...,...},...]}\n",
    .options = options,
    .size = sizeof(struct pacer_values),
    .init = init,
    .run = pacer,
};
