/* SPDX-License-Identifier: MIT
 *
 * Sums over a row in double precision: element k goes to lane k % 16, in ascending order, and the lanes are
 * added pairwise, at any width of vectors. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_SUM_H
#define LG_DEVICE_CPU_SUM_H

enum { LG_SUM_LANES = 16 };

struct lg_sum {
    double lane[LG_SUM_LANES];
};

static inline double lg_sum_total(struct lg_sum *sum)
{
    for (int half = LG_SUM_LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++)
            sum->lane[i] += sum->lane[i + half];
    }
    return sum->lane[0];
}

#endif
