/* SPDX-License-Identifier: MIT
 * rms_norm and layer_norm, and their way back. */
#include "check.h"

static void norm_case(struct check *c, bool layer, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_norm_push push = {.n_cols = n_cols, .eps = 1e-5f};
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, -3, 4), *w = check_floats(c, n_cols, -1, 2),
          *b = check_floats(c, n_cols, -1, 1);
    struct check_case k = {
        .kernel = layer ? LG_K_LAYER_NORM : LG_K_RMS_NORM,
        .data = {x, w, layer ? b : NULL},
        .size = {n * 4, (size_t)n_cols * 4, layer ? (size_t)n_cols * 4 : n * 4, layer ? n * 4 : 0},
        .spec = {check_workgroup(c)},
        .grid = {n_rows, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 8,
    };
    k.tolerance[layer ? 3 : 2] = (struct check_tolerance){.abs = 3e-6f, .rel = 3e-6f};
    check_run(c, &k, "%ux%u wg %u", n_rows, n_cols, k.spec[0]);
    free(x);
    free(w);
    free(b);
}

static void norm(struct check *c, bool layer)
{
    if (c->bench) {
        norm_case(c, layer, 896, 1);
        norm_case(c, layer, 896, 512);
        return;
    }
    static const uint32_t shapes[] = {1, 13, 64, 127, 128, 896, 4096};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        norm_case(c, layer, shapes[i], check_int(c, 1, 7));
}

void check_rms_norm(struct check *c)
{
    norm(c, false);
}

void check_layer_norm(struct check *c)
{
    norm(c, true);
}

static void norm_back_case(struct check *c, bool layer, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_norm_push push = {.n_cols = n_cols, .eps = 1e-5f};
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, -3, 4), *w = check_floats(c, n_cols, -1, 2), *dy = check_floats(c, n, -1, 1);
    float *dx = check_floats(c, n, -1, 1);
    struct check_case k = {
        .kernel = layer ? LG_K_LAYER_NORM_BACK : LG_K_RMS_NORM_BACK,
        .data = {x, w, dy, dx},
        .size = {n * 4, (size_t)n_cols * 4, n * 4, n * 4, (size_t)n_rows * 8},
        .tolerance = {[3] = {.abs = 2e-5f, .rel = 1e-5f}, [4] = {.abs = 2e-6f, .rel = 3e-6f}},
        .spec = {check_workgroup(c)},
        .grid = {n_rows, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 16,
    };
    if (n_cols < 8 && layer) // of few elements the deviation may be as small as eps, and then nothing is exact
        k.tolerance[3] = (struct check_tolerance){.abs = 2e-3f, .rel = 1e-2f};
    check_run(c, &k, "%ux%u wg %u", n_rows, n_cols, k.spec[0]);
    free(x);
    free(w);
    free(dy);
    free(dx);
}

static void norm_back(struct check *c, bool layer)
{
    if (c->bench) {
        norm_back_case(c, layer, 896, 512);
        return;
    }
    static const uint32_t shapes[] = {1, 13, 64, 127, 128, 896, 4096};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        norm_back_case(c, layer, shapes[i], check_int(c, 1, 7));
}

void check_rms_norm_back(struct check *c)
{
    norm_back(c, false);
}

void check_layer_norm_back(struct check *c)
{
    norm_back(c, true);
}

static void norm_weight_back_case(struct check *c, bool layer, uint32_t n_cols, uint32_t n_t)
{
    struct lg_column_push push = {.n_cols = n_cols, .dim = LG_DIM_OUT};
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = n_t};
    size_t n = (size_t)n_cols * n_t;
    float *x = check_floats(c, n, -3, 4), *dy = check_floats(c, n, -1, 1), *kept = check_floats(c, (size_t)n_t * 2, -1, 1);
    float *dw = check_floats(c, n_cols, -1, 1), *db = check_floats(c, n_cols, -1, 1);
    struct check_tolerance tolerance = {.abs = 1e-5f * sqrtf((float)n_t), .rel = 1e-5f};
    struct check_case k = {
        .kernel = layer ? LG_K_LAYER_NORM_WEIGHT_BACK : LG_K_RMS_NORM_WEIGHT_BACK,
        .data = {dims, x, dy, kept, dw, layer ? db : NULL},
        .size = {sizeof(dims), n * 4, n * 4, (size_t)n_t * 8, (size_t)n_cols * 4, layer ? (size_t)n_cols * 4 : 0},
        .tolerance = {[4] = tolerance, [5] = tolerance},
        .spec = {check_workgroup(c)},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 8,
    };
    k.grid[0] = CHECK_CEIL(n_cols, k.spec[0]);
    k.grid[1] = k.grid[2] = 1;
    check_run(c, &k, "%ux%u wg %u", n_t, n_cols, k.spec[0]);
    free(x);
    free(dy);
    free(kept);
    free(dw);
    free(db);
}

static void norm_weight_back(struct check *c, bool layer)
{
    norm_weight_back_case(c, layer, 896, c->bench ? 512 : 65);
    for (int i = 0; i < 4 && !c->bench; i++)
        norm_weight_back_case(c, layer, i == 0 ? 1 : check_int(c, 1, 400), i == 0 ? 1 : check_int(c, 1, 300));
}

void check_rms_norm_weight_back(struct check *c)
{
    norm_weight_back(c, false);
}

void check_layer_norm_weight_back(struct check *c)
{
    norm_weight_back(c, true);
}
