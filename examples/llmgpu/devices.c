/* SPDX-License-Identifier: MIT
 *
 * llmgpu devices: what this machine can run on.
 */
#include "common.h"
#include "json.h"

struct devices_values {
    bool json;
};

static const struct cli_option options[] = {CLI_JSON_OPTION(struct devices_values), {0}};

static const char *kind_name(int32_t kind)
{
    static const char *const names[] = {
        [LLMGPU_DEVICE_CPU] = "cpu",
        [LLMGPU_DEVICE_DISCRETE] = "discrete",
        [LLMGPU_DEVICE_INTEGRATED] = "integrated",
        [LLMGPU_DEVICE_VIRTUAL] = "virtual",
        [LLMGPU_DEVICE_SOFTWARE] = "software",
        [LLMGPU_DEVICE_OTHER] = "other",
    };
    return kind >= 0 && kind < (int32_t)(sizeof(names) / sizeof(*names)) ? names[kind] : "other";
}

static void print_text(const llmgpu_device_info *info, FILE *out)
{
    fprintf(out, "%-10s  %-10s  %s", info->id, kind_name(info->kind), info->name);
    if (info->threads)
        fprintf(out, ", %u threads", info->threads);
    if (info->memory)
        fprintf(out, ", %.1f GiB", (double)info->memory / 0x1p30);
    if (info->driver[0])
        fprintf(out, ", %s", info->driver);
    fputc('\n', out);
}

static void print_json(struct json *j, const llmgpu_device_info *info)
{
    json_begin(j, '{');
    json_key(j, "id");
    json_string(j, info->id);
    json_key(j, "name");
    json_string(j, info->name);
    json_key(j, "kind");
    json_string(j, kind_name(info->kind));
    json_key(j, "driver");
    json_string(j, info->driver);
    json_key(j, "threads");
    json_uint(j, info->threads);
    json_key(j, "memory_bytes");
    json_uint(j, info->memory);
    json_end(j, '}');
}

static int devices(void *values, const struct cli_args *args, FILE *out)
{
    const struct devices_values *v = values;
    struct json j = {.out = out};
    llmgpu_device_list *list;
    llmgpu_device_info info;
    (void)args;
    int status = llmgpu_device_list_create(&list);
    if (status < 0)
        return cli_fail(status, "the devices cannot be listed");
    if (v->json)
        json_begin(&j, '[');
    for (uint32_t i = 0; i < llmgpu_device_list_count(list); i++) {
        llmgpu_device_list_get(list, i, &info, sizeof(info));
        if (v->json)
            print_json(&j, &info);
        else
            print_text(&info, out);
    }
    if (v->json) {
        json_end(&j, ']');
        fputc('\n', out);
    }
    llmgpu_device_list_free(list);
    return CLI_OK;
}

const struct cli_command cli_command_devices = {
    .name = "devices",
    .usage = "[options]",
    .summary = "list the devices of this machine",
    .about = "Lists what models can run on: the name to give to --device, the kind of device, what the "
             "driver calls it, its memory, and the driver. Unknown figures are left out.\n"
             "\n"
             "With --json an array of:\n"
             "  "
             "{\"id\":\"...\",\"name\":\"...\",\"kind\":\"...\",\"driver\":\"...\",\"threads\":...,\"memory_"
             "bytes\":...}\n"
             "Kinds are cpu, discrete, integrated, virtual, software and other; 0 is unknown.\n",
    .options = options,
    .size = sizeof(struct devices_values),
    .run = devices,
};
