/* SPDX-License-Identifier: MIT
 * What the versions of products in training share. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_MATMUL_BACK_H
#define LG_DEVICE_CPU_MATMUL_BACK_H

enum {
    LG_BACK_BLOCK = 256, // weight rows whose products are added up before they are added to what there is
    LG_MATMUL_BLOCK = 256, // columns of which that holds in LG_MATMUL_FORM_BLOCKS
};

#endif
