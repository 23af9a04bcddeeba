/* SPDX-License-Identifier: MIT
 *
 * Optimizers. A gradient is multiplied by the factor that keeps the norm of all within bounds, used, and zeroed. Elements are
 * on their own; a workgroup takes push->per_group of them.
 *     adamw  p *= 1 - lr decay;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *            p -= lr (m correct1) / (sqrt(v correct2) + eps)
 *     sgd    p *= 1 - lr decay;  buf = momentum buf + g;  p -= lr buf
 */
#include <math.h>
#include <string.h>

#include "adam8.h"
#include "device/cpu/grid.h"
#include "device/cpu/sum.h"

void lg_cpu_sum_squares(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sum_squares_push *push = args->push;
    const float *x = args->view[0];
    float *sums = (float *)args->view[1] + push->first;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, push->per_group, push->n);
        struct lg_sum sum = {0};
        for (uint32_t i = s.begin; i < s.end; i++)
            sum.lane[(i - s.begin) % LG_SUM_LANES] += (double)x[i] * x[i];
        sums[g] = (float)lg_sum_total(&sum);
    }
}

void lg_cpu_grad_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_grad_norm_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    const float *sums = args->view[1];
    struct lg_train_norm *out = args->view[2];
    double sum = 0;
    for (uint32_t i = 0; i < push->n; i++)
        sum += sums[i];
    float norm = (float)sqrt(sum), factor = step->clip / (norm + 1e-6f);
    if (first < last)
        *out = (struct lg_train_norm){.norm = norm, .factor = step->clip > 0 && factor < 1 ? factor : 1};
}

/* What an element of a moment and of the weights becomes. */
static float moment(float beta, float before, float g)
{
    return beta * before + (1 - beta) * g;
}

static float stepped(const struct lg_adamw_push *push, const struct lg_train_step *step, float p, float m, float v)
{
    p *= 1 - step->lr * push->weight_decay;
    return p - step->lr * (m * step->correct1) / (sqrtf(v * step->correct2) + push->eps);
}

void lg_cpu_adamw(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_adamw_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    const struct lg_train_norm *norm = args->view[1];
    float *g = args->view[2], *p = args->view[3], *m = args->view[4], *v = args->view[5];
    for (uint32_t group = first; group < last; group++) {
        struct lg_cpu_span s = lg_cpu_span(args, group, push->per_group, push->n);
        for (uint32_t i = s.begin; i < s.end; i++) {
            float grad = g[i] * norm->factor;
            m[i] = moment(push->beta1, m[i], grad);
            v[i] = moment(push->beta2, v[i], grad * grad);
            p[i] = stepped(push, step, p[i], m[i], v[i]);
            g[i] = 0;
        }
    }
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static float of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* A power of two by its exponent's field. */
static float power(uint32_t exponent)
{
    return of_bits(exponent << 23);
}

/* A block of moments in 8 bits: elements [begin, end), at most LG_ADAM8_BLOCK. */
struct block {
    uint8_t *m, *v;
    float *factors; // of both
    uint32_t begin, end;
};

static void decode(const struct block *b, float *m, float *v)
{
    for (uint32_t i = b->begin; i < b->end; i++, m++, v++) {
        float size = of_bits(lg_adam8_bits(b->m[i] & 127u, LG_ADAM8_FIRST)) * b->factors[0];
        *m = b->m[i] & 128u ? -size : size;
        *v = of_bits(lg_adam8_bits(b->v[i], LG_ADAM8_SECOND)) * b->factors[1];
    }
}

static void encode(const struct block *b, const float *m, const float *v, uint32_t draw)
{
    float top_m = 0, top_v = 0;
    for (uint32_t i = 0; i < b->end - b->begin; i++) {
        top_m = fmaxf(top_m, fabsf(m[i]));
        top_v = fmaxf(top_v, v[i]);
    }
    uint32_t e_m = lg_adam8_exponent(bits_of(top_m)), e_v = lg_adam8_exponent(bits_of(top_v));
    b->factors[0] = power(e_m);
    b->factors[1] = power(e_v);
    for (uint32_t i = b->begin; i < b->end; i++, m++, v++) {
        uint32_t chance = lg_adam8_chance(draw, i);
        uint32_t code_m = lg_adam8_code(bits_of(fabsf(*m) * power(254 - e_m)), chance, LG_ADAM8_FIRST);
        uint32_t code_v = lg_adam8_code(bits_of(*v * power(254 - e_v)), lg_random_mix(chance), LG_ADAM8_SECOND);
        b->m[i] = (uint8_t)(code_m | (*m < 0 ? 128u : 0u));
        b->v[i] = (uint8_t)(*v > 0 && code_v == 0 ? 1 : code_v); // never nothing: it is divided by
    }
}

/* push->per_group is a multiple of LG_ADAM8_BLOCK. */
void lg_cpu_adamw8(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_adamw_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    const struct lg_train_norm *norm = args->view[1];
    float *g = args->view[2], *p = args->view[3], m[LG_ADAM8_BLOCK], v[LG_ADAM8_BLOCK];
    uint32_t draw = lg_random_draw(step->seed_lo, step->seed_hi, step->draw);
    for (uint32_t group = first; group < last; group++) {
        struct lg_cpu_span s = lg_cpu_span(args, group, push->per_group, push->n);
        for (uint32_t at = s.begin; at < s.end; at += LG_ADAM8_BLOCK) {
            struct block b = {args->view[4], args->view[5], (float *)args->view[6] + at / LG_ADAM8_BLOCK * 2, at,
                              lg_min_u32(at + LG_ADAM8_BLOCK, s.end)};
            decode(&b, m, v);
            for (uint32_t i = at; i < b.end; i++) {
                float grad = g[i] * norm->factor;
                m[i - at] = moment(push->beta1, m[i - at], grad);
                v[i - at] = moment(push->beta2, v[i - at], grad * grad);
                p[i] = stepped(push, step, p[i], m[i - at], v[i - at]);
                g[i] = 0;
            }
            encode(&b, m, v, draw);
        }
    }
}

void lg_cpu_sgd(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sgd_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    const struct lg_train_norm *norm = args->view[1];
    float *g = args->view[2], *p = args->view[3], *buf = args->view[4];
    for (uint32_t group = first; group < last; group++) {
        struct lg_cpu_span s = lg_cpu_span(args, group, push->per_group, push->n);
        for (uint32_t i = s.begin; i < s.end; i++) {
            buf[i] = push->momentum * buf[i] + g[i] * norm->factor;
            p[i] = p[i] * (1 - step->lr * push->weight_decay) - step->lr * buf[i];
            g[i] = 0;
        }
    }
}
