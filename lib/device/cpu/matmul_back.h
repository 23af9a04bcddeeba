/* SPDX-License-Identifier: MIT
 * What the versions of products backwards share. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_MATMUL_BACK_H
#define LG_DEVICE_CPU_MATMUL_BACK_H

enum { LG_BACK_BLOCK = 64 }; // weight rows whose products are added up before they are added to what there is

#endif
