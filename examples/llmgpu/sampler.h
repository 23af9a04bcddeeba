/* SPDX-License-Identifier: MIT
 *
 * Rows of an option table for how tokens are chosen, for values of `type` with a member `sampler`.
 */
#ifndef CLI_SAMPLER_H
#define CLI_SAMPLER_H

#include "args.h"

// clang-format off
#define CLI_SAMPLER_OPTION(type, kind, name, value, member, min, max, help)                                  \
    {kind, 0, name, value, offsetof(type, sampler.member), min, max, help}

#define CLI_SAMPLER_OPTIONS(type)                                                                            \
    {CLI_HEADING, .help = "Sampling, in this order"},                                                        \
    CLI_SAMPLER_OPTION(type, CLI_F32, "repeat-penalty", "X", repeat_penalty, 0.01, 100,                      \
                       "divide positive and multiply negative logits of recent tokens; 1: off"),             \
    CLI_SAMPLER_OPTION(type, CLI_F32, "freq-penalty", "X", frequency_penalty, -100, 100,                     \
                       "subtract from a logit for each recent occurrence; 0: off"),                          \
    CLI_SAMPLER_OPTION(type, CLI_F32, "presence-penalty", "X", presence_penalty, -100, 100,                  \
                       "subtract once from the logit of each recent token; 0: off"),                         \
    CLI_SAMPLER_OPTION(type, CLI_U32, "last-n", "N", penalty_last_n, 0, 256,                                 \
                       "how many of the latest tokens, prompt included, are recent"),                        \
    CLI_SAMPLER_OPTION(type, CLI_U32, "top-k", "K", top_k, 0, INT32_MAX,                                     \
                       "keep the K most probable tokens; 0: all"),                                           \
    CLI_SAMPLER_OPTION(type, CLI_F32, "top-p", "P", top_p, 0, 1,                                             \
                       "keep the smallest set of tokens with at least this probability; 1: all"),            \
    CLI_SAMPLER_OPTION(type, CLI_F32, "min-p", "P", min_p, 0, 1,                                             \
                       "keep tokens at least this probable relative to the best; 0: all"),                   \
    CLI_SAMPLER_OPTION(type, CLI_F32, "temp", "T", temperature, 0, 100,                                      \
                       "temperature; 0: always the most probable token, else tokens are drawn"),             \
    CLI_SAMPLER_OPTION(type, CLI_U64, "seed", "N", seed, 0, 0,                                               \
                       "of the draw; the same seed gives the same tokens")
// clang-format on

#endif
