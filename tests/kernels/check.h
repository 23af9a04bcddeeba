/* SPDX-License-Identifier: MIT
 *
 * Checks of kernels: each builds a case (a dispatch over random data), runs it on the device through the
 * ordinary device interface and with the C reference on copies of the data, and compares. The same case can
 * be timed.
 *
 * Failures are counted and printed with the case's name, so that one run shows all of them.
 */
#ifndef LG_TESTS_KERNELS_CHECK_H
#define LG_TESTS_KERNELS_CHECK_H

#include "device/cpu/kernel.h"
#include "gguf/types.h"
#include "graph/graph.h"
#include "test.h"

/** A run of the program on one device. */
struct check {
    struct lg_env env;
    struct lg_device *dev;
    struct test_rng rng;
    bool bench;       // time large cases instead of checking small ones
    uint32_t n_cases; // so far
    uint32_t n_failed;
};

/** How a binding's result is held against the reference. */
struct check_tolerance {
    float abs, rel;     // |got - ref| <= abs + rel * |ref|; both 0: equal as 32-bit words
    const float *scale; // NULL, or one more allowance for each element
};

/** One dispatch. Zero what is not needed. */
struct check_case {
    enum lg_kernel kernel;
    const void *data[LG_MAX_VIEWS]; // what each binding holds before; NULL: bytes that are NaN as floats
    size_t size[LG_MAX_VIEWS];      // bytes
    struct check_tolerance tolerance[LG_MAX_VIEWS]; // of the bindings that are written
    uint32_t spec[LG_MAX_SPEC];
    uint32_t grid[3];
    uint32_t
        ref_grid_x; // where the reference's grid differs (matvec: it has no subgroups); 0: as the device's
    const void *push;
    size_t push_size;
    double bytes, flops; // of one dispatch, for its figures

    void *out[LG_MAX_VIEWS]; // after check_dispatch(): what the device left in the written bindings
    void *ref[LG_MAX_VIEWS]; // the same of the reference
};

/** Runs the case both ways; false and a counted failure when that fails. check_release() frees the results.
 */
bool check_dispatch(struct check *c, struct check_case *k, const char *name);
/** Compares all written bindings within their tolerances. */
void check_compare(struct check *c, const struct check_case *k, const char *name);
void check_release(struct check_case *k);
/** All of the above, and the timing when that is wanted. The name is a format. */
void check_run(struct check *c, struct check_case *k, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** Prints and counts a failure. */
void check_fail(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Uniform in [lo, hi]. */
uint32_t check_int(struct check *c, uint32_t lo, uint32_t hi);
/** A workgroup size that the device takes. */
uint32_t check_workgroup(struct check *c);
/** n floats, uniform in [lo, hi); the caller frees them. */
float *check_floats(struct check *c, size_t n, float lo, float hi);
/** n integers below `below`; the caller frees them. */
uint32_t *check_words(struct check *c, size_t n, uint32_t below);
/** Zeroed; the caller frees it. */
void *check_zeros(size_t n, size_t size);
/** Bytes of a view of weights: whole 16-byte units, as the kernels read it. */
size_t check_weights_size(enum lg_type type, size_t n_rows, size_t n_cols);
/** Such a view: random bits, but finite scales, subnormal ones included; the caller frees it. */
uint8_t *check_weights(struct check *c, enum lg_type type, size_t n_rows, size_t n_cols);

/** That a product has the same bits in all tiles that a device may choose (matmul_coop.c). */
void check_matmul_tiles(struct check *c, enum lg_kernel kernel, enum lg_type type);
/** The same, and that it is right, of a product whose x is packed. */
void check_packed_product(struct check *c, enum lg_product how, enum lg_kernel kernel, enum lg_type type);

#define CHECK_CEIL(a, b) (((a) + (b)-1) / (b))

#define CHECK_DECLARE(name, n_views, access) void check_##name(struct check *c);
LG_KERNELS(CHECK_DECLARE)
#undef CHECK_DECLARE

#endif
