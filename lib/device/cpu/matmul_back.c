/* SPDX-License-Identifier: MIT
 *
 * What flows back through a product with weights, and what the weights get of it. Sums have an order of their own, whatever
 * the tiles: over blocks of LG_BACK_BLOCK weight rows, and of these in order; over the rows of a batch in order.
 */
#include "device/cpu/matmul_back.h"

#include "device/cpu/weight_row.h"

enum { COLUMNS = 256 }; // at a time: a multiple of all blocks

/* dx of columns [begin, end) and rows [t, t_end): what weight rows [m, m_end) add. */
static void add_block(enum lg_type type, const struct lg_cpu_args *args, struct lg_cpu_span k, uint32_t t_begin,
                      uint32_t t_end, uint32_t m, uint32_t m_end)
{
    const struct lg_matmul_back_push *push = args->push;
    float w[LG_BACK_BLOCK][COLUMNS];
    for (uint32_t i = m; i < m_end; i++)
        lg_weight_row_range(type, (const uint8_t *)args->view[2] + (size_t)i * push->row_bytes, k.begin, k.end, w[i - m]);
    for (uint32_t t = t_begin; t < t_end; t++) {
        const float *dy = (const float *)args->view[1] + (size_t)t * push->y_stride + push->row_begin;
        float *dx = (float *)args->view[3] + (size_t)t * push->n_cols;
        for (uint32_t i = k.begin; i < k.end; i++) {
            float sum = 0;
            for (uint32_t j = m; j < m_end; j++)
                sum += dy[j] * w[j - m][i - k.begin];
            dx[i] = m == 0 && !push->add ? sum : dx[i] + sum;
        }
    }
}

static void matmul_back(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_back_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span all = lg_cpu_span(args, g, args->spec[1], push->n_cols);
        uint32_t t = all.row * args->spec[2], t_end = lg_min_u32(t + args->spec[2], n_t);
        for (uint32_t at = all.begin; at < all.end; at += COLUMNS) {
            struct lg_cpu_span k = {.begin = at, .end = lg_min_u32(at + COLUMNS, all.end)};
            for (uint32_t m = 0; m < push->n_rows; m += LG_BACK_BLOCK)
                add_block(type, args, k, t, t_end, m, lg_min_u32(m + LG_BACK_BLOCK, push->n_rows));
        }
    }
}

#define MATMUL_BACK(lower, UPPER)                                                                  \
    void lg_cpu_matmul_back_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                              \
        matmul_back(LG_TYPE_##UPPER, args, first, last);                                           \
    }
LG_WEIGHT_TYPES(MATMUL_BACK)

/* A workgroup makes a tile of spec[1] rows and spec[2] columns of dw. */
void lg_cpu_weight_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_weight_back_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    const float *x = args->view[1], *dy = (const float *)args->view[2] + push->row_begin;
    float *dw = args->view[3];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span k = lg_cpu_span(args, g, args->spec[2], push->n_cols);
        uint32_t m_begin = k.row * args->spec[1], m_end = lg_min_u32(m_begin + args->spec[1], push->n_rows);
        for (uint32_t m = m_begin; m < m_end; m++) {
            for (uint32_t i = k.begin; i < k.end; i++) {
                float sum = 0;
                for (uint32_t t = 0; t < n_t; t++)
                    sum += dy[(size_t)t * push->y_stride + m] * x[(size_t)t * push->n_cols + i];
                dw[(size_t)m * push->n_cols + i] += push->scale * sum;
            }
        }
    }
}

void lg_cpu_bias_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_column_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    const float *dy = args->view[1];
    float *db = args->view[2];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        for (uint32_t i = s.begin; i < s.end; i++) {
            float sum = 0;
            for (uint32_t t = 0; t < n_t; t++)
                sum += dy[(size_t)t * push->n_cols + i];
            db[i] += sum;
        }
    }
}
