/* SPDX-License-Identifier: MIT
 *
 * Sizes chosen by measuring, on the Vulkan device: what is found is kept, taken up again, and changes no answer; what is
 * kept is not trusted. And the records alone, and what is chosen for devices of all kinds, which need no device.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "api/handles.h"
#include "runtime/tunings.h"

enum { N_OUT = 24 };

static char folder[64] = "/tmp/lg-tune-XXXXXX";
static char file[512];

/* ---- records */

static void check_records(void)
{
    static struct lg_tunings t, back;
    static uint8_t bytes[LG_MAX_TUNINGS_BYTES];
    for (uint32_t i = 0; i < LG_MAX_TUNINGS + 3; i++)
        lg_tunings_put(&t, &(struct lg_tuning_found){.key = i, .ns = 1000 + i, .chosen = i % 3, .n_tried = 3});
    REQUIRE_INT(t.n, ==, LG_MAX_TUNINGS);
    REQUIRE(!lg_tunings_find(&t, 2) && lg_tunings_find(&t, 3)->ns == 1003); // the oldest went
    lg_tunings_put(&t, &(struct lg_tuning_found){.key = 7, .ns = 5, .chosen = 0, .n_tried = 1});
    REQUIRE_INT(t.n, ==, LG_MAX_TUNINGS);
    REQUIRE_INT(lg_tunings_find(&t, 7)->ns, ==, 5);
    REQUIRE_INT(lg_tunings_find(&t, 8)->ns, ==, 1008);

    size_t size = lg_tunings_write(&t, 99, bytes);
    REQUIRE_INT(size, ==, LG_MAX_TUNINGS_BYTES);
    REQUIRE(lg_tunings_parse(&back, 99, bytes, size));
    REQUIRE(back.n == t.n && memcmp(back.found, t.found, sizeof(t.found)) == 0);
    REQUIRE(!lg_tunings_parse(&back, 98, bytes, size) && back.n == 0); // another device
    REQUIRE(!lg_tunings_parse(&back, 99, bytes, size - 24));
    for (size_t at = 0; at < size; at += 5) {
        bytes[at] ^= 0x10;
        REQUIRE(!lg_tunings_parse(&back, 99, bytes, size) && back.n == 0);
        bytes[at] ^= 0x10;
    }
    t.n = 0;
    REQUIRE(lg_tunings_parse(&back, 99, bytes, lg_tunings_write(&t, 99, bytes)) && back.n == 0);
}

/* ---- which products, without a device */

/** What is chosen for a device of these properties. */
static struct lg_tuning chosen(enum lg_device_kind kind, enum lg_int8 allowed, bool fast_int_dot, bool float16, uint32_t coop)
{
    struct lg_device_info info = {
        .kind = kind,
        .subgroup_size = 32,
        .max_workgroup = 1024,
        .shared_memory = 49152,
        .max_views = 16,
        .max_view_size = UINT32_MAX,
        .int8 = allowed,
        .half = float16 ? allowed : LG_INT8_NONE,
        .int_dot = true,
        .fast_int_dot = fast_int_dot,
        .float16 = float16,
        .coop_m = coop,
        .coop_n = coop,
        .coop_k = coop,
    };
    struct lg_tuning t = lg_tuning_choose(&info), other = t;
    for (uint32_t i = 0; lg_tuning_prefill(&info, i, &other); i++) { // no candidate is without what it needs
        REQUIRE(other.prefill != LG_PRODUCT_COOP || other.coop_tiles[0].wg > 0);
        REQUIRE(other.prefill_plain != LG_PRODUCT_INT8 && (other.prefill_plain != LG_PRODUCT_COOP || coop));
        REQUIRE(i > 0 || (other.prefill == t.prefill && other.prefill_plain == t.prefill_plain));
        for (uint32_t k = 0; other.prefill == LG_PRODUCT_COOP && lg_tuning_coop(&info, k, &other); k++)
            REQUIRE(other.coop_tiles[0].wg > 0);
        lg_tuning_coop(&info, 0, &other);
    }
    return t;
}

static void check_products(void)
{
    const enum lg_device_kind gpu = LG_DEVICE_DISCRETE, software = LG_DEVICE_SOFTWARE;
    const struct {
        struct lg_tuning t;
        enum lg_product decode, prefill, prefill_plain;
    } cases[] = {
        {chosen(gpu, LG_INT8_GENERATION, true, true, 16), LG_PRODUCT_INT8, LG_PRODUCT_COOP, LG_PRODUCT_COOP},
        {chosen(gpu, LG_INT8_GENERATION, true, true, 0), LG_PRODUCT_INT8, LG_PRODUCT_INT8, LG_PRODUCT_HALF},
        {chosen(gpu, LG_INT8_GENERATION, true, false, 0), LG_PRODUCT_INT8, LG_PRODUCT_INT8, LG_PRODUCT_FLOAT32},
        {chosen(gpu, LG_INT8_GENERATION, false, true, 0), LG_PRODUCT_FLOAT32, LG_PRODUCT_HALF, LG_PRODUCT_HALF},
        {chosen(gpu, LG_INT8_GENERATION, false, false, 0), LG_PRODUCT_FLOAT32, LG_PRODUCT_FLOAT32, LG_PRODUCT_FLOAT32},
        {chosen(gpu, LG_INT8_NONE, true, true, 16), LG_PRODUCT_FLOAT32, LG_PRODUCT_FLOAT32, LG_PRODUCT_FLOAT32},
        {chosen(gpu, LG_INT8_ALL, true, true, 64), LG_PRODUCT_INT8, LG_PRODUCT_INT8, LG_PRODUCT_HALF}, // no tile fits
        {chosen(software, LG_INT8_GENERATION, true, true, 8), LG_PRODUCT_FLOAT32, LG_PRODUCT_FLOAT32, LG_PRODUCT_FLOAT32},
        {chosen(software, LG_INT8_ALL, true, true, 0), LG_PRODUCT_INT8, LG_PRODUCT_INT8, LG_PRODUCT_HALF},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        REQUIRE_INT(cases[i].t.decode, ==, cases[i].decode);
        REQUIRE_INT(cases[i].t.prefill, ==, cases[i].prefill);
        REQUIRE_INT(cases[i].t.prefill_plain, ==, cases[i].prefill_plain);
    }
}

/* ---- a context's start */

/** What a start found, and the answer that it gave. */
struct start {
    struct lg_tuning tune;
    bool tuned;
    int32_t out[N_OUT];
};

static struct start start_precise(int32_t tune, bool keep, int32_t precision)
{
    struct start s;
    struct api a;
    llmgpu_context_params p;
    memset(&s, 0, sizeof(s));
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    p.tune = tune;
    p.precision = precision;
    p.check = 1;
    p.cache_dir = keep ? folder : NULL;
    api_open_tiny(&a, "vulkan", &p);
    llmgpu_session *session = api_asked(&a, 128, WILD);
    api_take(session, s.out, N_OUT);
    s.tune = a.model->engine.tune;
    s.tuned = a.model->engine.tuned;
    llmgpu_session_free(session);
    api_close(&a);
    return s;
}

static struct start start(int32_t tune, bool keep)
{
    return start_precise(tune, keep, LLMGPU_PRECISION_AUTO);
}

/** The file of what was measured; false when there is none. */
static bool find_file(struct stat *st)
{
    bool found = false;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, "tuning-", 7) != 0)
            continue;
        REQUIRE(!found);
        snprintf(file, sizeof(file), "%s/%s", folder, entry->d_name);
        REQUIRE_INT(stat(file, st), ==, 0);
        found = true;
    }
    if (dir)
        closedir(dir);
    return found;
}

static void write_byte(long at, int with)
{
    FILE *f = fopen(file, "r+b");
    REQUIRE(f && fseek(f, at, SEEK_SET) == 0);
    int c = fgetc(f);
    REQUIRE(fseek(f, at, SEEK_SET) == 0 && fputc(c ^ with, f) != EOF && fclose(f) == 0);
}

static bool same_decode(const struct lg_tuning *a, const struct lg_tuning *b)
{
    return a->matvec_wg == b->matvec_wg && a->matvec_rows == b->matvec_rows &&
           a->matvec_rows_per_wg == b->matvec_rows_per_wg && a->fused_rows == b->fused_rows &&
           a->fused_rows_per_wg == b->fused_rows_per_wg;
}

/** Makes the record say that the last candidate is the best. */
static void choose_last(void)
{
    static struct lg_tunings t;
    static uint8_t bytes[LG_MAX_TUNINGS_BYTES];
    uint64_t key;
    FILE *f = fopen(file, "rb");
    REQUIRE(f);
    size_t size = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    memcpy(&key, bytes + 8, sizeof(key));
    REQUIRE(lg_tunings_parse(&t, key, bytes, size));
    REQUIRE_INT(t.n, >=, 1);
    for (uint32_t i = 0; i < t.n; i++)
        t.found[i].chosen = t.found[i].n_tried - 1;
    size = lg_tunings_write(&t, key, bytes);
    f = fopen(file, "wb");
    REQUIRE(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

static void clean_up(void)
{
    char path[1024];
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (dir)
        closedir(dir);
    REQUIRE_INT(rmdir(folder), ==, 0);
}

int main(void)
{
    struct stat st, again;
    check_records();
    check_products();
    REQUIRE(mkdtemp(folder));
    struct start usual = start(LLMGPU_TUNE_NEVER, true);
    REQUIRE(!usual.tuned && !find_file(&st));
    struct start nowhere = start(LLMGPU_TUNE_ALWAYS, false); // nowhere to keep it
    REQUIRE(!nowhere.tuned);

    // Each start goes on where the one before had no more time, until all is known and nothing is written.
    bool done = false;
    for (int i = 0; i < 8 && !done; i++) {
        struct start s = start(LLMGPU_TUNE_ALWAYS, true);
        REQUIRE(s.tuned && memcmp(s.out, usual.out, sizeof(usual.out)) == 0);
        REQUIRE(find_file(&again));
        done = i > 0 && st.st_ino == again.st_ino && st.st_mtim.tv_nsec == again.st_mtim.tv_nsec;
        st = again;
    }
    REQUIRE(done);

    // What the file says is taken, and the answer stays.
    choose_last();
    struct start last = start(LLMGPU_TUNE_ALWAYS, true), second = start(LLMGPU_TUNE_ALWAYS, true);
    REQUIRE(!same_decode(&last.tune, &usual.tune));
    REQUIRE(same_decode(&last.tune, &second.tune));
    REQUIRE(memcmp(last.out, usual.out, sizeof(usual.out)) == 0);
    struct start never = start(LLMGPU_TUNE_NEVER, true);
    REQUIRE(same_decode(&never.tune, &usual.tune));

    // What products are of is chosen once, and only where activations may be rounded.
    struct start fast = start_precise(LLMGPU_TUNE_ALWAYS, true, LLMGPU_PRECISION_FAST);
    struct start fast_again = start_precise(LLMGPU_TUNE_ALWAYS, true, LLMGPU_PRECISION_FAST);
    REQUIRE(fast.tuned && memcmp(fast.out, fast_again.out, sizeof(fast.out)) == 0);
    REQUIRE_INT(fast.tune.decode, ==, fast_again.tune.decode);
    REQUIRE_INT(fast.tune.prefill, ==, fast_again.tune.prefill);
    struct start exact = start_precise(LLMGPU_TUNE_ALWAYS, true, LLMGPU_PRECISION_FLOAT32);
    REQUIRE(memcmp(exact.out, usual.out, sizeof(usual.out)) == 0);
    REQUIRE(exact.tune.int8 == LG_INT8_NONE && exact.tune.half == LG_INT8_NONE);

    // A damaged one is measured anew.
    write_byte(30, 0x20);
    struct start anew = start(LLMGPU_TUNE_ALWAYS, true);
    REQUIRE(anew.tuned && memcmp(anew.out, usual.out, sizeof(usual.out)) == 0);
    clean_up();
    return 0;
}
