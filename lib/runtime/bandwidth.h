/* SPDX-License-Identifier: MIT */
#ifndef LG_RUNTIME_BANDWIDTH_H
#define LG_RUNTIME_BANDWIDTH_H

#include "device/device.h"

/** Bytes per second that the device reads its memory at: the best of several passes of the kernel read_sum.
 */
int lg_bandwidth_measure(struct lg_env *env, struct lg_device *dev, double *bytes_per_second);

#endif
