/* SPDX-License-Identifier: MIT
 *
 * Upper and lower case of single characters, in the scripts that languages in use are written in. Letters
 * whose other case is more than one character stay as they are, but for the German sharp s (string.c).
 */
#include "text/template/internal.h"

/** Upper-case letters, and how far the lower-case one is from each. */
static const struct {
    uint32_t first, last;
    uint8_t step;
    int16_t lower;
} cases[] = {
    {'A', 'Z', 1, 32},         {0xc0, 0xd6, 1, 32},  // Latin-1
    {0xd8, 0xde, 1, 32},       {0x100, 0x12e, 2, 1}, // Latin Extended-A
    {0x132, 0x136, 2, 1},      {0x139, 0x147, 2, 1},    {0x14a, 0x176, 2, 1},    {0x178, 0x178, 1, -121},
    {0x179, 0x17d, 2, 1},      {0x182, 0x184, 2, 1}, // Latin Extended-B
    {0x1a0, 0x1a4, 2, 1},      {0x1af, 0x1af, 1, 1},    {0x1b3, 0x1b5, 2, 1},    {0x1cd, 0x1db, 2, 1},
    {0x1de, 0x1ee, 2, 1},      {0x1f4, 0x1f4, 1, 1},    {0x1f8, 0x21e, 2, 1},    {0x222, 0x232, 2, 1},
    {0x246, 0x24e, 2, 1},      {0x386, 0x386, 1, 38}, // Greek
    {0x388, 0x38a, 1, 37},     {0x38c, 0x38c, 1, 64},   {0x38e, 0x38f, 1, 63},   {0x391, 0x3a1, 1, 32},
    {0x3a3, 0x3ab, 1, 32},     {0x400, 0x40f, 1, 80}, // Cyrillic
    {0x410, 0x42f, 1, 32},     {0x460, 0x480, 2, 1},    {0x48a, 0x4be, 2, 1},    {0x4c1, 0x4cd, 2, 1},
    {0x4d0, 0x52e, 2, 1},      {0x531, 0x556, 1, 48},   // Armenian
    {0x1e00, 0x1e94, 2, 1},                             // Latin Extended Additional
    {0x1ea0, 0x1efe, 2, 1},    {0x1f08, 0x1f0f, 1, -8}, // Greek Extended
    {0x1f18, 0x1f1d, 1, -8},   {0x1f28, 0x1f2f, 1, -8}, {0x1f38, 0x1f3f, 1, -8}, {0x1f48, 0x1f4d, 1, -8},
    {0x1f59, 0x1f5f, 2, -8},   {0x1f68, 0x1f6f, 1, -8}, {0x2160, 0x216f, 1, 16}, // Roman numerals
    {0xff21, 0xff3a, 1, 32},                                                     // fullwidth
    {0x10400, 0x10427, 1, 40},                                                   // Deseret
};

/** Lower-case letters that share their upper-case one with another. */
static const uint32_t only_upper[][2] = {{0xb5, 0x39c}, {0x131, 'I'}, {0x17f, 'S'}, {0x3c2, 0x3a3}};

uint32_t lg_char_lower(uint32_t c)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && c >= cases[i].first; i++)
        if (c <= cases[i].last && (c - cases[i].first) % cases[i].step == 0)
            return c + (uint32_t)cases[i].lower;
    return c;
}

uint32_t lg_char_upper(uint32_t c)
{
    if (c < 128)
        return c >= 'a' && c <= 'z' ? c - 32 : c;
    for (size_t i = 0; i < sizeof(only_upper) / sizeof(only_upper[0]); i++)
        if (c == only_upper[i][0])
            return only_upper[i][1];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t upper = c - (uint32_t)cases[i].lower;
        if (upper >= cases[i].first && upper <= cases[i].last &&
            (upper - cases[i].first) % cases[i].step == 0)
            return upper;
    }
    return c;
}
