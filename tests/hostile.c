/* SPDX-License-Identifier: MIT
 *
 * Files made to hurt a GGUF reader: the accidents that other readers had, each with its identifier, and their
 * kin. A case is right when it is refused with the expected code and sentence, without a leak, and without
 * more memory than a small multiple of the file.
 */
#include "gguf_build.h"
#include "heap.h"
#include "stream.h"

static struct build b;

/** A header, one tensor info and the padding: the data, if any, follows. */
static void one_tensor(const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                       uint64_t offset)
{
    build_header(&b, 3, 1, 0);
    build_tensor(&b, name, n_dims, dims, type, offset);
    build_align(&b, 32);
}

static void two_tensors(uint64_t n0, uint64_t offset0, uint64_t n1, uint64_t offset1)
{
    build_header(&b, 3, 2, 0);
    build_tensor(&b, "a", 1, &n0, LG_TYPE_F32, offset0);
    build_tensor(&b, "b", 1, &n1, LG_TYPE_F32, offset1);
    build_align(&b, 32);
    build_fill(&b, 0, 256);
}

static void alignment(uint32_t value)
{
    build_header(&b, 3, 1, 1);
    build_kv_u32(&b, "general.alignment", value);
    build_tensor(&b, "t", 1, (uint64_t[]){8}, LG_TYPE_F32, 0);
    build_align(&b, 32);
    build_fill(&b, 0, 64);
}

// The header.

static void not_gguf(void)
{
    build_header(&b, 3, 0, 0);
    memcpy(b.data, "GGML", 4);
}

static void empty(void)
{
    b.size = 0;
}

static void magic_only(void)
{
    b.size = 0;
    build_bytes(&b, "GGUF", 4);
}

static void version_0(void)
{
    build_header(&b, 0, 0, 0);
}

static void version_1(void)
{
    b.size = 0;
    build_bytes(&b, "GGUF", 4);
    build_u32(&b, 1);
    build_u32(&b, 0); // version 1 counts in 32 bits
    build_u32(&b, 0);
}

static void version_4(void)
{
    build_header(&b, 4, 0, 0);
}

static void big_endian(void)
{
    build_header(&b, 0x03000000, 0, 0);
}

static void many_tensors(void)
{
    build_header(&b, 3, UINT64_C(0x0200000000000001), 0);
    build_fill(&b, 0, 256);
}

static void many_keys(void)
{
    build_header(&b, 3, 0, UINT64_C(0x0666666666666667));
    build_fill(&b, 0, 256);
}

static void more_keys_than_bytes(void)
{
    build_header(&b, 3, 0, 1000);
    build_fill(&b, 0, 13999);
}

static void all_zero_keys(void)
{
    build_header(&b, 3, 0, 4000);
    build_fill(&b, 0, 60000);
}

// Metadata.

static void key_of_max_length(void)
{
    build_header(&b, 3, 0, 1);
    build_u64(&b, UINT64_MAX); // one more byte for a NUL makes 0
    build_fill(&b, 'x', 64);
}

static void value_of_max_length(void)
{
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.name", LG_GGUF_STRING);
    build_u64(&b, UINT64_MAX);
    build_fill(&b, 'x', 64);
}

static void value_of_negative_length(void)
{
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.name", LG_GGUF_STRING);
    build_u64(&b, (uint64_t)INT64_MIN);
    build_fill(&b, 'x', 64);
}

static void value_one_byte_short(void)
{
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.name", LG_GGUF_STRING);
    build_u64(&b, 65);
    build_fill(&b, 'x', 64);
}

static void array_that_wraps(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "tokenizer.ggml.scores", LG_GGUF_F32, UINT64_C(1) << 62); // times 4 is 0
    build_fill(&b, 0, 64);
}

static void strings_that_wrap(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "tokenizer.ggml.tokens", LG_GGUF_STRING, UINT64_C(1) << 60); // times 16 is 0
    build_fill(&b, 0, 64);
}

static void strings_in_no_file(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "tokenizer.ggml.tokens", LG_GGUF_STRING, 1000000000);
    build_fill(&b, 0, 64);
}

static void last_string_too_long(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "tokenizer.ggml.tokens", LG_GGUF_STRING, 3);
    build_str(&b, "a");
    build_str(&b, "b");
    build_u64(&b, 4);
    build_bytes(&b, "abc", 3);
}

static void array_of_arrays(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "a", LG_GGUF_ARRAY, 1);
    for (int i = 0; i < 1000; i++) {
        build_u32(&b, LG_GGUF_ARRAY);
        build_u64(&b, 1);
    }
}

static void array_of_unknown(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "a", 13, 1);
    build_fill(&b, 0, 64);
}

static void value_of_unknown_type(void)
{
    build_header(&b, 3, 0, 1);
    build_key(&b, "a", UINT32_MAX);
    build_fill(&b, 0, 64);
}

static void empty_key(void)
{
    build_header(&b, 3, 0, 1);
    build_kv_u32(&b, "", 1);
    build_fill(&b, 0, 64);
}

static void long_key(void)
{
    build_header(&b, 3, 0, 1);
    build_u64(&b, 65536);
    build_fill(&b, 'k', 65536);
    build_u32(&b, LG_GGUF_U32);
    build_u32(&b, 1);
}

static void key_twice(void)
{
    build_header(&b, 3, 0, 3);
    build_kv_u32(&b, "llama.block_count", 1);
    build_kv_u32(&b, "general.file_type", 1);
    build_kv_str(&b, "llama.block_count", "again");
}

static void bool_of_2(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "flags", LG_GGUF_BOOL, 3);
    build_bytes(&b, "\0\1\2", 3);
}

static void name_with_escapes(void)
{
    build_header(&b, 3, 0, 2);
    build_kv_u32(&b, "\x1b[2J\n'%s%n", 1);
    build_kv_u32(&b, "\x1b[2J\n'%s%n", 1);
}

// Alignment.

static void alignment_0(void)
{
    alignment(0);
}

static void alignment_1(void)
{
    alignment(1);
}

static void alignment_48(void)
{
    alignment(48);
}

static void alignment_huge(void)
{
    alignment(UINT32_C(1) << 31);
}

static void alignment_of_string(void)
{
    build_header(&b, 3, 0, 1);
    build_kv_str(&b, "general.alignment", "32");
}

static void alignment_of_array(void)
{
    build_header(&b, 3, 0, 1);
    build_array(&b, "general.alignment", LG_GGUF_U32, 0);
}

static void alignment_of_u64(void)
{
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.alignment", LG_GGUF_U64);
    build_u64(&b, 32);
}

// Tensors.

static void no_dims(void)
{
    one_tensor("t", 0, NULL, LG_TYPE_F32, 0);
    build_fill(&b, 0, 64);
}

static void five_dims(void)
{
    one_tensor("t", 5, (uint64_t[]){1, 1, 1, 1, 1}, LG_TYPE_F32, 0);
    build_fill(&b, 0, 64);
}

static void all_dims(void)
{
    build_header(&b, 3, 1, 0);
    build_str(&b, "t");
    build_u32(&b, UINT32_MAX);
    build_fill(&b, 0, 256);
}

static void zero_dim(void)
{
    one_tensor("t", 2, (uint64_t[]){32, 0}, LG_TYPE_F32, 0);
    build_fill(&b, 0, 64);
}

static void zero_row(void)
{
    one_tensor("t", 2, (uint64_t[]){0, 32}, LG_TYPE_Q4_K, 0);
    build_fill(&b, 0, 64);
}

static void negative_dim(void)
{
    one_tensor("t", 1, (uint64_t[]){(uint64_t)INT64_MIN}, LG_TYPE_F32, 0);
    build_fill(&b, 0, 64);
}

static void dims_that_wrap(void)
{
    one_tensor("t", 4, (uint64_t[]){1 << 16, 1 << 16, 1 << 16, 1 << 16}, LG_TYPE_F32, 0);
    build_fill(&b, 0, 64);
}

static void dims_that_wrap_to_few(void)
{
    one_tensor("t", 2, (uint64_t[]){UINT64_C(0x5555555555555556), 3}, LG_TYPE_F32, 0); // 2^64 + 2
    build_fill(&b, 0, 64);
}

static void bytes_that_wrap(void)
{
    one_tensor("t", 1, (uint64_t[]){(UINT64_C(1) << 62) + 4}, LG_TYPE_F32, 0); // 16 bytes beyond 2^64
    build_fill(&b, 0, 64);
}

static void bytes_that_wrap_in_blocks(void)
{
    one_tensor("t", 1, (uint64_t[]){INT64_MAX & ~UINT64_C(31)}, 9 /* Q8_1, 36 for 32 */, 0);
    build_fill(&b, 0, 64);
}

static void sum_that_wraps(void)
{
    two_tensors(UINT64_C(1) << 61, 0, UINT64_C(1) << 61, UINT64_C(1) << 63);
}

static void padded_sum_that_wraps(void)
{
    two_tensors((UINT64_C(1) << 62) - 1, 0, 8, UINT64_MAX - 31); // 2^64 - 4, padded: 0
}

static void offset_that_wraps(void)
{
    one_tensor("t", 1, (uint64_t[]){8}, LG_TYPE_F32, UINT64_MAX - 31);
    build_fill(&b, 0, 64);
}

static void offset_beyond(void)
{
    one_tensor("t", 1, (uint64_t[]){8}, LG_TYPE_F32, UINT64_C(1) << 40);
    build_fill(&b, 0, 64);
}

static void offset_backwards(void)
{
    one_tensor("t", 1, (uint64_t[]){8}, LG_TYPE_F32, (uint64_t)-64);
    build_fill(&b, 0, 64);
}

static void offset_askew(void)
{
    one_tensor("t", 1, (uint64_t[]){8}, LG_TYPE_F32, 4);
    build_fill(&b, 0, 64);
}

static void ends_512_beyond(void)
{
    one_tensor("blk.3.ffn_up.weight", 2, (uint64_t[]){32, 32}, LG_TYPE_F32, 0);
    build_fill(&b, 0, 4096 - 512);
}

static void no_data(void)
{
    build_header(&b, 3, 1, 0);
    build_tensor(&b, "t", 1, (uint64_t[]){8}, LG_TYPE_F32, 0);
}

static void overlap(void)
{
    two_tensors(16, 0, 8, 32);
}

static void overlap_reversed(void)
{
    two_tensors(8, 32, 16, 0);
}

static void same_place(void)
{
    two_tensors(8, 0, 8, 0);
}

static void tensor_twice(void)
{
    build_header(&b, 3, 2, 0);
    build_tensor(&b, "twin", 1, (uint64_t[]){8}, LG_TYPE_F32, 0);
    build_tensor(&b, "twin", 1, (uint64_t[]){8}, LG_TYPE_F32, 32);
    build_align(&b, 32);
    build_fill(&b, 0, 64);
}

static void nameless(void)
{
    one_tensor("", 1, (uint64_t[]){8}, LG_TYPE_F32, 0);
    build_fill(&b, 0, 64);
}

static void unknown_type(void)
{
    one_tensor("t", 1, (uint64_t[]){8}, 1000, 0);
    build_fill(&b, 0, 64);
}

static void removed_type(void)
{
    one_tensor("t", 1, (uint64_t[]){32}, 4 /* once Q4_2 */, 0);
    build_fill(&b, 0, 64);
}

static void broken_row(void)
{
    one_tensor("t", 2, (uint64_t[]){100, 64}, LG_TYPE_Q4_0, 0);
    build_fill(&b, 0, 8192);
}

static const struct {
    const char *id; // of the accident; "" where there is none
    const char *name;
    void (*make)(void);
    int code;
    const char *sentence; // a part of it
} cases[] = {
#define CASE(id, name, code, sentence)             \
    {                                              \
        id, #name, name, LLMGPU_E_##code, sentence \
    }
    CASE("", not_gguf, FORMAT, "it does not begin with \"GGUF\""),
    CASE("", empty, FORMAT, "it is empty"),
    CASE("", magic_only, FORMAT, "the header needs 4 bytes at offset 4, but the file ends at 4"),
    CASE("", version_0, UNSUPPORTED, "GGUF version 0"),
    CASE("", version_1, UNSUPPORTED, "GGUF version 1; only 2 and 3 are supported"),
    CASE("", version_4, UNSUPPORTED, "GGUF version 4"),
    CASE("", big_endian, UNSUPPORTED, "big-endian"),
    CASE("CVE-2024-21836", many_tensors, FORMAT, "the list of tensors"),
    CASE("CVE-2024-23605", many_keys, FORMAT, "the metadata"),
    CASE("", more_keys_than_bytes, FORMAT,
         "the metadata needs 14000 bytes at offset 24, but the file ends at 14023"),
    CASE("ollama CVE-2025-66960", all_zero_keys, FORMAT, "key 1 of 4000: its name is empty"),

    CASE("CVE-2024-23496", key_of_max_length, FORMAT,
         "key 1 of 1: its name needs 18446744073709551615 bytes"),
    CASE("CVE-2024-23496", value_of_max_length, FORMAT,
         "key 'general.name': its value needs 18446744073709551615"),
    CASE("ollama CVE-2025-66959", value_of_negative_length, FORMAT, "key 'general.name'"),
    CASE("ollama CVE-2024-12055", value_one_byte_short, FORMAT, "its value needs 65 bytes at offset 56"),
    CASE("CVE-2024-21825", array_that_wraps, FORMAT, "key 'tokenizer.ggml.scores'"),
    CASE("CVE-2024-21825", strings_that_wrap, FORMAT, "key 'tokenizer.ggml.tokens'"),
    CASE("llama.cpp #19856", strings_in_no_file, FORMAT, "its value needs 8000000000 bytes"),
    CASE("CVE-2024-32878", last_string_too_long, FORMAT, "its value needs 4 bytes"),
    CASE("llama.cpp #19856", array_of_arrays, FORMAT, "key 'a': its items are arrays"),
    CASE("llama.cpp #26690", array_of_unknown, FORMAT, "key 'a': value type 13 is unknown"),
    CASE("", value_of_unknown_type, FORMAT, "value type 4294967295 is unknown"),
    CASE("", empty_key, FORMAT, "key 1 of 1: its name is empty"),
    CASE("", long_key, FORMAT, "key 1 of 1: its name has 65536 bytes, more than 65535"),
    CASE("", key_twice, FORMAT, "key 'llama.block_count': is there twice"),
    CASE("", bool_of_2, FORMAT, "key 'flags': a bool is 2"),
    CASE("", name_with_escapes, FORMAT, "key '\\x1b[2J\\x0a\\x27%s%n': is there twice"),

    CASE("ollama CVE-2024-8063", alignment_0, FORMAT, "key 'general.alignment': 0 is not a power of two"),
    CASE("", alignment_1, FORMAT, "1 is not a power of two from 8 to 1048576"),
    CASE("", alignment_48, FORMAT, "48 is not a power of two"),
    CASE("llama.cpp #24997", alignment_huge, FORMAT, "2147483648 is not a power of two from 8 to 1048576"),
    CASE("llama.cpp #26690", alignment_of_string, FORMAT, "is of type string, not u32"),
    CASE("llama.cpp #26690", alignment_of_array, FORMAT, "is of type array, not u32"),
    CASE("", alignment_of_u64, FORMAT, "is of type u64, not u32"),

    CASE("", no_dims, FORMAT, "tensor 't': 0 dimensions are not 1 to 4"),
    CASE("CVE-2024-21802", five_dims, FORMAT, "tensor 't': 5 dimensions are not 1 to 4"),
    CASE("CVE-2024-21802", all_dims, FORMAT, "4294967295 dimensions are not 1 to 4"),
    CASE("", zero_dim, FORMAT, "tensor 't': dimension 1 is 0"),
    CASE("ollama CVE-2024-8063", zero_row, FORMAT, "tensor 't': dimension 0 is 0"),
    CASE("CVE-2024-21802", negative_dim, FORMAT, "its number of elements overflows"),
    CASE("CVE-2024-21802", dims_that_wrap, FORMAT, "its number of elements overflows"),
    CASE("CVE-2024-21802", dims_that_wrap_to_few, FORMAT, "its number of elements overflows"),
    CASE("CVE-2026-33298", bytes_that_wrap, FORMAT, "its number of bytes overflows"),
    CASE("CVE-2026-33298", bytes_that_wrap_in_blocks, FORMAT, "beyond the file"),
    CASE("CVE-2025-53630", sum_that_wraps, FORMAT, "tensor 'a': 9223372036854775808 bytes end"),
    CASE("CVE-2026-27940", padded_sum_that_wraps, FORMAT, "tensor 'a'"),
    CASE("llama.cpp #26318", offset_that_wraps, FORMAT, "tensor 't': its offset overflows"),
    CASE("ollama CVE-2026-7482", offset_beyond, FORMAT,
         "tensor 't': 32 bytes end 1099511627744 beyond the file"),
    CASE("", offset_backwards, FORMAT, "its offset overflows"),
    CASE("", offset_askew, FORMAT, "offset 4 is not a multiple of the alignment, 32"),
    CASE("", ends_512_beyond, FORMAT,
         "hostile: tensor 'blk.3.ffn_up.weight': 4096 bytes end 512 beyond the file"),
    CASE("CVE-2024-41130", no_data, FORMAT, "tensor 't': 32 bytes end"),
    CASE("", overlap, FORMAT, "tensor 'b': its bytes overlap those of 'a'"),
    CASE("", overlap_reversed, FORMAT, "tensor 'a': its bytes overlap those of 'b'"),
    CASE("", same_place, FORMAT, "its bytes overlap those of"),
    CASE("", tensor_twice, FORMAT, "tensor 'twin': is there twice"),
    CASE("", nameless, FORMAT, "tensor 1 of 1: its name is empty"),
    CASE("", unknown_type, UNSUPPORTED, "tensor 't': tensor type 1000 is unknown"),
    CASE("", removed_type, UNSUPPORTED, "tensor 't': tensor type 4 is unknown"),
    CASE("", broken_row, FORMAT, "rows of 100 elements are not a multiple of the 32 in a Q4_0 block"),
#undef CASE
};

static int parse(uint8_t *file, size_t size, struct lg_env *env, const struct test_heap *heap)
{
    struct lg_gguf *gguf;
    int rc = lg_gguf_parse(env, "hostile", file, size, &gguf);
    if (rc == 0)
        walk_gguf(gguf, env);
    REQUIRE((rc == 0) == (gguf != NULL));
    lg_gguf_close(gguf);
    REQUIRE_INT(heap->live, ==, 0);
    REQUIRE_INT(heap->peak, <=, size * 8 + 8192);
    return rc;
}

/** The same through callbacks, with a window that has to grow: the code and the sentence are the same. */
static int parse_stream(uint8_t *file, size_t size, uint64_t window, struct lg_env *env,
                        const struct test_heap *heap)
{
    struct lg_gguf *gguf;
    struct stream stream = {.data = file, .size = size};
    struct lg_gguf_io io = stream_io(&stream, window);
    int rc = lg_gguf_open_io(env, "hostile", &io, &gguf);
    REQUIRE_INT(stream.n_bytes, <=, size); // each byte once, as far as the header goes
    if (rc == 0)
        walk_gguf(gguf, env);
    REQUIRE((rc == 0) == (gguf != NULL));
    lg_gguf_close(gguf);
    REQUIRE_INT(stream.n_closed, ==, 1);
    REQUIRE_INT(heap->live, ==, 0);
    REQUIRE_INT(heap->peak, <=, size * 9 + 8192);
    return rc;
}

static void check_stream(uint8_t *file, size_t size, int code, const char *sentence)
{
    static const uint64_t windows[] = {1, 7, 24, 100, 0};
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        struct test_heap heap;
        struct lg_env env;
        test_heap_env(&env, &heap, 0);
        REQUIRE_INT(parse_stream(file, size, windows[i], &env, &heap), ==, code);
        REQUIRE_STR(env.error, sentence);
        for (uint64_t n = i % 2 ? heap.n : 0; n > 0; n--) {
            test_heap_env(&env, &heap, n);
            REQUIRE_INT(parse_stream(file, size, windows[i], &env, &heap), ==, LLMGPU_E_NOMEM);
        }
    }
}

/** One case, then again with each of its allocations failing (CVE-2024-32878: what to free after half a
 * parse). */
static bool check(size_t i)
{
    struct test_heap heap;
    struct lg_env env;
    cases[i].make();
    uint8_t *file = malloc(b.size + 1); // of just this size, so that a sanitizer sees a read beyond it
    REQUIRE(file);
    memcpy(file + 1, b.data, b.size);
    test_heap_env(&env, &heap, 0);
    int rc = parse(file + 1, b.size, &env, &heap);
    bool ok = rc == cases[i].code && strstr(env.error, cases[i].sentence);
    if (!ok)
        fprintf(stderr, "%s %s: %d, \"%s\"\n   expected: %d, \"%s\"\n", cases[i].id, cases[i].name, rc,
                env.error, cases[i].code, cases[i].sentence);
    for (const char *c = env.error; *c; c++)
        REQUIRE(*c >= 0x20 && *c < 0x7f);
    check_stream(file + 1, b.size, rc, env.error);
    for (uint64_t n = heap.n; n > 0; n--) {
        test_heap_env(&env, &heap, n);
        REQUIRE_INT(parse(file + 1, b.size, &env, &heap), ==, LLMGPU_E_NOMEM);
    }
    free(file);
    return ok;
}

static int read_vast(void *user, uint64_t offset, void *to, size_t n)
{
    *(uint64_t *)user += n;
    memset(to, 0, n);
    for (; offset < b.size && n > 0; n--, to = (char *)to + 1)
        *(uint8_t *)to = b.data[offset++];
    return 0;
}

/** In a file of a TiB a string may have half of it; that is no reason to ask for it. */
static void check_vast(void)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_gguf *gguf;
    uint64_t n_read = 0;
    struct lg_gguf_io io = {.read = read_vast, .user = &n_read, .size = UINT64_C(1) << 40};
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.name", LG_GGUF_STRING);
    build_u64(&b, UINT64_C(1) << 39);
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(lg_gguf_open_io(&env, "vast", &io, &gguf), ==, LLMGPU_E_UNSUPPORTED);
    REQUIRE_STR(env.error, "vast: a header of 549755813944 bytes or more");
    REQUIRE_INT(n_read, <=, 1 << 16);
    REQUIRE_INT(heap.peak, <=, 1 << 17);
    build_header(&b, 3, 0, UINT64_C(1) << 29); // keys that are not there
    n_read = 0;
    REQUIRE_INT(lg_gguf_open_io(&env, "vast", &io, &gguf), ==, LLMGPU_E_FORMAT);
    REQUIRE_STR(env.error, "vast: key 1 of 536870912: its name is empty");
    REQUIRE_INT(n_read, <=, 1 << 16);
    REQUIRE_INT(heap.peak, <=, 1 << 17);
    REQUIRE_INT(heap.live, ==, 0);
}

/** A file name and a tensor name as long as they come leave the sentence whole. */
static void check_long_names(void)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    char path[3000], name[3000];
    memset(path, '\xff', sizeof(path));
    memset(name, '\n', sizeof(name));
    memcpy(path + sizeof(path) - 12, "/model.gguf", 12);
    name[sizeof(name) - 1] = 0;
    one_tensor(name, 1, (uint64_t[]){8}, LG_TYPE_F32, 0);
    lg_env_init(&env);
    REQUIRE_INT(lg_gguf_parse(&env, path, b.data, b.size, &gguf), ==, LLMGPU_E_FORMAT);
    REQUIRE(strstr(env.error, "/model.gguf: tensor '\\x0a\\x0a"));
    REQUIRE(strstr(env.error, "...': 32 bytes end 32 beyond the file"));
}

static void write_case(const char *folder, const char *name)
{
    char path[1024];
    REQUIRE(snprintf(path, sizeof(path), "%s/%s.gguf", folder, name) < (int)sizeof(path));
    FILE *f = fopen(path, "wb");
    REQUIRE(f && fwrite(b.data, 1, b.size, f) == b.size && fclose(f) == 0);
}

/** Writes the small cases, and two right files, as seeds for the fuzzer. */
static void write_seeds(const char *folder)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cases[i].make();
        if (b.size <= 8192)
            write_case(folder, cases[i].name);
    }
    build_sample(&b, 2);
    write_case(folder, "sample_v2");
    build_sample(&b, 3);
    write_case(folder, "sample_v3");
}

/** Without arguments: the test. With a folder: writes the corpus of tests/fuzz there. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        write_seeds(argv[1]);
        return 0;
    }
    int failures = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        failures += !check(i);
    check_long_names();
    check_vast();
    return failures ? 1 : 0;
}
