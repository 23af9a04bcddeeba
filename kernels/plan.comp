// SPDX-License-Identifier: MIT
//
// Workgroup counts for indirect dispatches, from the sizes of this pass:
// grids[i] = rules[i].grid, except grids[i][axis] = ceil(dims[dim] / per_group) where the rule names a dim, or 0 where
// that is outside the rule's range
//
//     dims   uint32 [LG_N_DIMS]
//     rules  struct lg_grid_rule [n_rules]
//     grids  uint32 [n_rules][4], the fourth unused
//
// Grid {1, 1, 1}: the only workgroup walks all rules.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_plan_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer Rules { lg_grid_rule rules[]; };
layout(binding = 2) writeonly buffer Grids { uvec4 grids[]; };

void main()
{
    for (uint i = gl_LocalInvocationIndex; i < p.n_rules; i += WG) {
        lg_grid_rule rule = rules[i];
        uvec3 grid = uvec3(rule.grid[0], rule.grid[1], rule.grid[2]);
        if (rule.dim != LG_DIM_NONE) {
            uint n = dims[rule.dim];
            bool runs = n > rule.above && (rule.up_to == 0 || n <= rule.up_to);
            uint groups = runs ? n / rule.per_group + uint(n % rule.per_group != 0) : 0;
            grid = mix(grid, uvec3(groups), equal(uvec3(rule.axis), uvec3(0, 1, 2)));
        }
        grids[i] = uvec4(grid, 0);
    }
}
