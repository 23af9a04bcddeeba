/* SPDX-License-Identifier: MIT
 *
 * Compiles where the Vulkan headers are new enough. The number begins anew with each 1.x, but that of 1.2 ended at 203
 * and that of 1.4 began at 303.
 */
#include <vulkan/vulkan_core.h>

#if VK_HEADER_VERSION < 239
#error "older than 1.3.239"
#endif
