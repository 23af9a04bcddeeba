/* SPDX-License-Identifier: MIT
 *
 * llmgpu inspect: what a GGUF file holds.
 */
#include <string.h>

#include "common.h"
#include "json.h"

struct inspect_values {
    bool json;
    bool tensors;
};

static const struct cli_option options[] = {
    {CLI_FLAG, 0, "tensors", NULL, offsetof(struct inspect_values, tensors), 0, 0,
     "list the tensors too: name, type, shape (fastest dimension first), offset in the file, bytes"},
    CLI_JSON_OPTION(struct inspect_values),
    {0},
};

enum {
    TEXT_ITEMS = 6,  // of an array, in the text form
    TEXT_BYTES = 72, // of a string, in the text form
    JSON_ITEMS = 16, // an array of more is shortened
};

static int fail_entry(int status, const char *what, uint64_t index)
{
    return cli_fail(status, "%s %llu cannot be read", what, (unsigned long long)index);
}

/* A string in quotes, cut at a character's end when it is long. */
static void print_string(const char *text, size_t len, FILE *out)
{
    size_t shown = 0;
    while (shown < len) {
        size_t n = json_utf8_len(text + shown, len - shown);
        n += n == 0;
        if (len > TEXT_BYTES && shown + n > TEXT_BYTES)
            break;
        shown += n;
    }
    fputc('"', out);
    json_write_escaped(out, text, shown);
    fputc('"', out);
    if (shown < len)
        fprintf(out, "... (%zu bytes)", len);
}

static void json_value(struct json *j, const llmgpu_file_value *value, const char *type)
{
    switch (value->kind) {
    case LLMGPU_VALUE_INTEGER: json_int(j, value->integer); break;
    case LLMGPU_VALUE_BOOL: json_bool(j, value->integer != 0); break;
    case LLMGPU_VALUE_STRING: json_bytes(j, value->string, value->string_len); break;
    default:
        if (strcmp(type, "f32") == 0)
            json_float(j, (float)value->number);
        else
            json_number(j, value->number);
    }
}

static void print_value(const llmgpu_file_value *value, const char *type, FILE *out)
{
    struct json j = {.out = out};
    if (value->kind == LLMGPU_VALUE_STRING)
        print_string(value->string, value->string_len, out);
    else if (value->kind == LLMGPU_VALUE_NUMBER && value->number - value->number != 0)
        fprintf(out, "%g", value->number); // JSON has no infinities, a terminal does
    else
        json_value(&j, value, type);
}

static bool is_array(const llmgpu_file_metadata *entry)
{
    return entry->item_type[0] != 0;
}

static int print_entry(const llmgpu_file *file, uint64_t index, FILE *out)
{
    llmgpu_file_metadata entry;
    llmgpu_file_value value;
    int rc = llmgpu_file_get_metadata(file, index, &entry, sizeof(entry));
    if (rc < 0)
        return fail_entry(rc, "metadata entry", index);
    const char *type = is_array(&entry) ? entry.item_type : entry.type;
    fputs("  ", out);
    json_write_escaped(out, entry.key, entry.key_len);
    fprintf(out, " (%s", type);
    if (is_array(&entry))
        fprintf(out, "[%llu]", (unsigned long long)entry.n_items);
    fputs(") =", out);
    for (uint64_t i = 0; i < entry.n_items && i < TEXT_ITEMS; i++) {
        if ((rc = llmgpu_file_get_value(file, index, i, &value, sizeof(value))) < 0)
            return fail_entry(rc, "metadata entry", index);
        fputc(' ', out);
        print_value(&value, type, out);
    }
    fputs(entry.n_items > TEXT_ITEMS ? " ...\n" : "\n", out);
    return CLI_OK;
}

static int print_tensor(const llmgpu_file *file, uint64_t index, FILE *out)
{
    llmgpu_file_tensor tensor;
    int rc = llmgpu_file_get_tensor(file, index, &tensor, sizeof(tensor));
    if (rc < 0)
        return fail_entry(rc, "tensor", index);
    fputs("  ", out);
    json_write_escaped(out, tensor.name, tensor.name_len);
    fprintf(out, " %s [", tensor.type);
    for (uint32_t i = 0; i < tensor.n_dims; i++)
        fprintf(out, "%s%llu", i ? ", " : "", (unsigned long long)tensor.dims[i]);
    fprintf(out, "] at %llu, %llu bytes\n", (unsigned long long)tensor.offset,
            (unsigned long long)tensor.size);
    return CLI_OK;
}

static int print_text(const llmgpu_file *file, const llmgpu_file_info *info, bool tensors, FILE *out)
{
    int rc = CLI_OK;
    fprintf(out, "GGUF version %u, %llu bytes, alignment %llu\n", info->version,
            (unsigned long long)info->file_bytes, (unsigned long long)info->alignment);
    fprintf(out, "%llu tensors, %llu weights, %llu bytes\n", (unsigned long long)info->n_tensors,
            (unsigned long long)info->n_params, (unsigned long long)info->tensor_bytes);
    fprintf(out, "%llu metadata entries:\n", (unsigned long long)info->n_metadata);
    for (uint64_t i = 0; i < info->n_metadata && rc == CLI_OK; i++)
        rc = print_entry(file, i, out);
    if (tensors && rc == CLI_OK)
        fputs("tensors:\n", out);
    for (uint64_t i = 0; tensors && i < info->n_tensors && rc == CLI_OK; i++)
        rc = print_tensor(file, i, out);
    return rc;
}

static int json_entry(struct json *j, const llmgpu_file *file, uint64_t index)
{
    llmgpu_file_metadata entry;
    llmgpu_file_value value;
    int rc = llmgpu_file_get_metadata(file, index, &entry, sizeof(entry));
    if (rc < 0)
        return fail_entry(rc, "metadata entry", index);
    const char *type = is_array(&entry) ? entry.item_type : entry.type;
    bool is_long = entry.n_items > JSON_ITEMS;
    json_key_bytes(j, entry.key, entry.key_len);
    if (is_long) {
        json_begin(j, '{');
        json_key(j, "type");
        json_string(j, type);
        json_key(j, "count");
        json_uint(j, entry.n_items);
        json_key(j, "first");
    }
    if (is_array(&entry))
        json_begin(j, '[');
    for (uint64_t i = 0; i < entry.n_items && i < JSON_ITEMS; i++) {
        if ((rc = llmgpu_file_get_value(file, index, i, &value, sizeof(value))) < 0)
            return fail_entry(rc, "metadata entry", index);
        json_value(j, &value, type);
    }
    if (is_array(&entry))
        json_end(j, ']');
    if (is_long)
        json_end(j, '}');
    return CLI_OK;
}

static int json_tensor(struct json *j, const llmgpu_file *file, uint64_t index)
{
    llmgpu_file_tensor tensor;
    int rc = llmgpu_file_get_tensor(file, index, &tensor, sizeof(tensor));
    if (rc < 0)
        return fail_entry(rc, "tensor", index);
    json_begin(j, '{');
    json_key(j, "name");
    json_bytes(j, tensor.name, tensor.name_len);
    json_key(j, "type");
    json_string(j, tensor.type);
    json_key(j, "shape");
    json_begin(j, '[');
    for (uint32_t i = 0; i < tensor.n_dims; i++)
        json_uint(j, tensor.dims[i]);
    json_end(j, ']');
    json_key(j, "offset");
    json_uint(j, tensor.offset);
    json_key(j, "bytes");
    json_uint(j, tensor.size);
    json_end(j, '}');
    return CLI_OK;
}

static void json_info(struct json *j, const llmgpu_file_info *info)
{
    const struct {
        const char *key;
        uint64_t value;
    } facts[] = {
        {"version", info->version},           {"file_bytes", info->file_bytes},
        {"alignment", info->alignment},       {"n_metadata", info->n_metadata},
        {"n_tensors", info->n_tensors},       {"n_params", info->n_params},
        {"tensor_bytes", info->tensor_bytes},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); i++) {
        json_key(j, facts[i].key);
        json_uint(j, facts[i].value);
    }
}

static int print_json(const llmgpu_file *file, const llmgpu_file_info *info, bool tensors, FILE *out)
{
    struct json j = {.out = out};
    int rc = CLI_OK;
    json_begin(&j, '{');
    json_info(&j, info);
    json_key(&j, "metadata");
    json_begin(&j, '{');
    for (uint64_t i = 0; i < info->n_metadata && rc == CLI_OK; i++)
        rc = json_entry(&j, file, i);
    json_end(&j, '}');
    if (tensors) {
        json_key(&j, "tensors");
        json_begin(&j, '[');
        for (uint64_t i = 0; i < info->n_tensors && rc == CLI_OK; i++)
            rc = json_tensor(&j, file, i);
        json_end(&j, ']');
    }
    json_end(&j, '}');
    fputc('\n', out);
    return rc;
}

static int inspect(void *values, const struct cli_args *args, FILE *out)
{
    const struct inspect_values *v = values;
    char error[1024] = "";
    llmgpu_file *file;
    llmgpu_file_info info;
    if (args->n != 1)
        return cli_usage("inspect", "inspect needs a GGUF file");
    int status = llmgpu_file_open(&file, args->words[0], error, sizeof(error));
    if (status < 0)
        return cli_fail_library(status, error);
    int rc;
    if ((status = llmgpu_file_get_info(file, &info, sizeof(info))) < 0)
        rc = cli_fail(status, "%s: its figures cannot be read", args->words[0]);
    else
        rc = v->json ? print_json(file, &info, v->tensors, out) : print_text(file, &info, v->tensors, out);
    llmgpu_file_close(file);
    return rc;
}

const struct cli_command cli_command_inspect = {
    .name = "inspect",
    .usage = "MODEL [options]",
    .summary = "show what a GGUF file holds",
    .about = "Prints the metadata of a GGUF file, long values shortened, and with --tensors its tensors. "
             "Files of models that cannot be run can be looked into.\n"
             "\n"
             "With --json one object with version, file_bytes, alignment, n_metadata, n_tensors, n_params, "
             "tensor_bytes, metadata (key to value) and tensors (name, type, shape, offset, bytes). Arrays "
             "of more than 16 items are given as:\n"
             "  {\"type\":\"...\",\"count\":...,\"first\":[...]}\n"
             "Bytes that are not UTF-8 become U+FFFD.\n",
    .options = options,
    .max_args = 1,
    .size = sizeof(struct inspect_values),
    .run = inspect,
};
