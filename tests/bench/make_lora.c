/* SPDX-License-Identifier: MIT
 *
 * An adapter of random numbers in float16, for all matrices of a model's blocks or for those whose names
 * contain a word:
 *
 *     make_lora MODEL OUT [RANK [SEED [WORD]]]
 *
 * It changes little: what it is for is how long it takes.
 */
#include "gguf/quants.h"
#include "gguf_build.h"
#include "util/filemap.h"

enum { ALIGN = 32 };

static struct build head, tensors;

static bool is_wanted(const struct lg_gguf_tensor *t, const char *word)
{
    char name[128];
    snprintf(name, sizeof(name), "%.*s", (int)t->name.len, t->name.ptr);
    return t->n_dims == 2 && strncmp(name, "blk.", 4) == 0 && (!word || strstr(name, word));
}

static size_t padded_bytes(uint64_t n)
{
    return (n * sizeof(uint16_t) + ALIGN - 1) / ALIGN * ALIGN;
}

/** Describes a half; returns where the next one begins. */
static uint64_t put_half(const struct lg_gguf_tensor *w, char half, uint64_t fast, uint64_t slow,
                         uint64_t offset)
{
    char name[128];
    int n = snprintf(name, sizeof(name), "%.*s.lora_%c", (int)w->name.len, w->name.ptr, half);
    REQUIRE(n > 0 && n < (int)sizeof(name));
    build_tensor(&tensors, name, 2, (const uint64_t[]){fast, slow}, LG_TYPE_F16, offset);
    return offset + padded_bytes(fast * slow);
}

static void put_head(const char *arch, uint64_t n_tensors, uint32_t rank)
{
    build_header(&head, 3, n_tensors, 4);
    build_kv_str(&head, "general.type", "adapter");
    build_kv_str(&head, "general.architecture", arch);
    build_kv_str(&head, "adapter.type", "lora");
    build_key(&head, "adapter.lora.alpha", LG_GGUF_F32);
    build_f32(&head, (float)rank);
    build_bytes(&head, tensors.data, tensors.size);
    build_align(&head, ALIGN);
}

static void write_file(const char *path, uint64_t n_bytes, uint64_t seed)
{
    struct test_rng rng = {seed};
    FILE *f = fopen(path, "wb");
    REQUIRE(f && fwrite(head.data, 1, head.size, f) == head.size);
    for (uint64_t i = 0; i < n_bytes / sizeof(uint16_t); i++) {
        uint16_t half = lg_f32_to_f16(test_randf(&rng, -0.01f, 0.01f));
        REQUIRE(fwrite(&half, sizeof(half), 1, f) == 1);
    }
    REQUIRE(fclose(f) == 0);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "make_lora MODEL OUT [RANK [SEED [WORD]]]\n");
        return 2;
    }
    uint32_t rank = argc > 3 ? (uint32_t)atoi(argv[3]) : 16;
    uint64_t n_tensors = 0, n_bytes = 0;
    struct lg_env env;
    struct lg_filemap map;
    struct lg_gguf *model;
    struct lg_str arch;
    char name[64];
    lg_env_init(&env);
    REQUIRE_INT(lg_filemap_open(&env, argv[1], &map), ==, 0);
    REQUIRE_INT(lg_gguf_parse(&env, argv[1], map.data, map.size, &model), ==, 0);
    REQUIRE_INT(lg_gguf_get_str(model, &env, "general.architecture", &arch), ==, 1);
    snprintf(name, sizeof(name), "%.*s", (int)arch.len, arch.ptr);
    for (uint64_t i = 0; i < model->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &model->tensors[i];
        if (!is_wanted(t, argc > 5 ? argv[5] : NULL))
            continue;
        n_bytes = put_half(t, 'a', t->dims[0], rank, n_bytes);
        n_bytes = put_half(t, 'b', rank, t->dims[1], n_bytes);
        n_tensors += 2;
    }
    put_head(name, n_tensors, rank);
    write_file(argv[2], n_bytes, argc > 4 ? (uint64_t)atoi(argv[4]) : 1);
    lg_gguf_close(model);
    lg_filemap_close(&map);
    return 0;
}
