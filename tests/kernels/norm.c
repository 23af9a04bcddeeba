/* SPDX-License-Identifier: MIT
 * rms_norm and layer_norm. */
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
