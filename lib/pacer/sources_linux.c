/* SPDX-License-Identifier: MIT
 * The sources of a Linux system. */
#include "pacer/source.h"

const struct lg_source_ops *const lg_sources[] = {
    &lg_source_nvml, &lg_source_hwmon, &lg_source_smi, &lg_source_processor, &lg_source_battery, NULL,
};
