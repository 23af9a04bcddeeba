/* SPDX-License-Identifier: MIT
 *
 * Numbers as text and back, the same in every locale: what printf puts between the digits is not looked at,
 * and strtod is asked in the C locale.
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/template/internal.h"

enum { MAX_DIGITS = 17, MAX_TEXT = 512 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/** strtod() of the whole of a text that is a number in form. */
static double to_double(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return NAN;
    double f = strtod_l(text, NULL, c);
    freelocale(c);
    return f;
}

bool lg_number_parse(const char *s, size_t len, double *out)
{
    char text[MAX_TEXT];
    size_t i = 0, digits = 0;
    if (len == 0 || len >= sizeof(text))
        return false;
    i += s[0] == '-' || s[0] == '+';
    for (; i < len && is_digit(s[i]); i++)
        digits++;
    if (i < len && s[i] == '.')
        for (i++; i < len && is_digit(s[i]); i++)
            digits++;
    if (digits == 0)
        return false;
    if (i < len && (s[i] | 32) == 'e') {
        i++;
        i += i < len && (s[i] == '-' || s[i] == '+');
        if (i == len)
            return false;
        while (i < len && is_digit(s[i]))
            i++;
        if (!is_digit(s[i - 1]))
            return false;
    }
    if (i != len)
        return false;
    memcpy(text, s, len);
    text[len] = '\0';
    *out = to_double(text);
    return true;
}

bool lg_number_parse_int(const char *s, size_t len, int base, int64_t *out)
{
    size_t i = 0;
    bool negative = len > 0 && s[0] == '-';
    i += negative || (len > 0 && s[0] == '+');
    if (i == len)
        return false;
    *out = 0;
    for (; i < len; i++) {
        int letter = s[i] | 32;
        int digit = is_digit(s[i]) ? s[i] - '0' : letter >= 'a' && letter <= 'z' ? letter - 'a' + 10 : 36;
        if (digit >= base || __builtin_mul_overflow(*out, base, out) ||
            __builtin_add_overflow(*out, negative ? -digit : digit, out))
            return false;
    }
    return true;
}

/** The digits of a finite number that is not negative, and the place of its point: 0.d1d2... * 10^point. */
static int get_digits(double f, int n, char digits[MAX_DIGITS + 1], int *point)
{
    char text[64];
    snprintf(text, sizeof(text), "%.*e", n - 1, f);
    int found = 0;
    const char *s = text;
    for (; *s && *s != 'e'; s++)
        if (is_digit(*s))
            digits[found++] = *s;
    digits[found] = '\0';
    *point = (int)strtol(s + 1, NULL, 10) + 1;
    return found;
}

static double from_digits(const char *digits, int point)
{
    char text[64];
    snprintf(text, sizeof(text), "0.%se%d", digits, point);
    return to_double(text);
}

/** Writes digits with a point or an exponent, as repr() chooses. */
static size_t layout(const char *digits, int n, int point, char *out)
{
    char *to = out;
    if (point > 16 || point < -3) {
        *to++ = digits[0];
        to += snprintf(to, 32, "%s%se%c%02d", n > 1 ? "." : "", digits + 1, point > 0 ? '+' : '-',
                       abs(point - 1));
    } else if (point <= 0) {
        to += snprintf(to, 32, "0.%.*s%s", -point, "0000", digits);
    } else if (n <= point) {
        to += snprintf(to, 32, "%s%.*s.0", digits, point - n, "0000000000000000");
    } else {
        to += snprintf(to, 32, "%.*s.%s", point, digits, digits + point);
    }
    return (size_t)(to - out);
}

/** "inf" and "nan"; 0 for numbers. */
static size_t print_special(double f, char *out)
{
    if (isnan(f))
        return (size_t)snprintf(out, 8, "nan");
    return isinf(f) ? (size_t)snprintf(out, 8, "%s", f < 0 ? "-inf" : "inf") : 0;
}

size_t lg_number_repr(double f, char out[LG_NUMBER_ROOM])
{
    char digits[MAX_DIGITS + 1];
    size_t n = print_special(f, out);
    if (n)
        return n;
    if (signbit(f))
        out[n++] = '-';
    double size = fabs(f);
    int point = 1, n_digits = get_digits(0, 1, digits, &point);
    for (int i = 1; size > 0 && i <= MAX_DIGITS; i++) { // as few digits as tell it from its neighbours
        n_digits = get_digits(size, i, digits, &point);
        if (from_digits(digits, point) == size)
            break;
    }
    while (n_digits > 1 && digits[n_digits - 1] == '0')
        digits[--n_digits] = '\0';
    return n + layout(digits, n_digits, point, out + n);
}

size_t lg_number_print(double f, char form, int precision, bool alternate, char out[LG_NUMBER_ROOM])
{
    char text[LG_NUMBER_ROOM], pattern[8] = {'%'};
    size_t n = print_special(f, out), i = 1;
    if (n)
        return n;
    if (alternate)
        pattern[i++] = '#';
    memcpy(pattern + i, ".*", 2);
    pattern[i + 2] = form;
    snprintf(text, sizeof(text), pattern, precision, f);
    for (const char *s = text; *s;) { // whatever stands between digits is the point
        if (is_digit(*s) || *s == 'e' || *s == '-' || *s == '+') {
            out[n++] = *s++;
            continue;
        }
        out[n++] = '.';
        while (*s && !is_digit(*s) && *s != 'e')
            s++;
    }
    return n;
}
