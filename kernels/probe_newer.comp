// SPDX-License-Identifier: MIT
// Compiles only where glslc knows the newer extensions; the build asks this file, not a version number.
#version 460
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_integer_dot_product : require
layout(local_size_x = 1) in;
void main()
{
}
