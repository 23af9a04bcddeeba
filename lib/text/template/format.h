/* SPDX-License-Identifier: MIT
 * What "%" and "{}" share: how one value is written. */
#ifndef LG_TEXT_TEMPLATE_FORMAT_H
#define LG_TEXT_TEMPLATE_FORMAT_H

#include "text/template/internal.h"

#define LG_FORMAT_MAX_WIDTH 4096
#define LG_FORMAT_MAX_PRECISION 60

/** How one value is written; in either language. */
struct lg_format_spec {
    struct lg_str fill; // one character
    char align;         // '<', '>', '^', '=' (behind the sign); 0: by type
    char sign;          // '+', ' ' or 0
    bool alternate, zero;
    char group; // ',' or '_' between thousands; 0: none
    int64_t width;
    int64_t precision; // -1: not given
    char type;         // 0: not given
};

#define LG_FORMAT_PLAIN ((struct lg_format_spec){.fill = {" ", 1}, .precision = -1})

/** Digits at *s; a failure beyond `max`. */
int lg_format_read_count(struct lg_tmpl_run *r, const char **s, const char *end, int64_t max, int64_t *out);
/** Text, cut to the precision. */
int lg_format_text(struct lg_tmpl_run *r, const struct lg_format_spec *spec, struct lg_str text);
int lg_format_int(struct lg_tmpl_run *r, const struct lg_format_spec *spec, int64_t i);
int lg_format_float(struct lg_tmpl_run *r, const struct lg_format_spec *spec, double f);
/** Whether the type is one of floats. */
bool lg_format_is_float(char type);

#endif
