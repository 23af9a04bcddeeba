/* SPDX-License-Identifier: MIT
 *
 * Template text to tokens. Between tags everything is data; what white space of it stays is decided here: `-`
 * inside a tag takes all that is next to it, a block takes the blanks before it on its line and the newline
 * behind it (lstrip_blocks, trim_blocks), and `+` keeps both.
 */
#include "text/template/internal.h"

enum { MAX_BRACKETS = 512 };

struct lexer {
    struct lg_env *env;
    struct lg_template *t;
    struct lg_tmpl_tokens *tokens;
    const char *s; // newlines are "\n" alone
    size_t len, pos;
    uint32_t line;
    bool line_starts;            // what was read last ended a line
    char brackets[MAX_BRACKETS]; // the closing ones that are waited for
    uint32_t n_brackets;
};

static int fail(const struct lexer *x, const char *what)
{
    return lg_tmpl_fail_at(x->env, x->line, "%s", what);
}

static int emit(struct lexer *x, enum lg_tmpl_token_kind kind, struct lg_str text)
{
    struct lg_tmpl_tokens *tokens = x->tokens;
    if (tokens->n == tokens->cap) {
        uint32_t cap = tokens->cap ? 2 * tokens->cap : 64;
        struct lg_tmpl_token *items = lg_resize(x->env, tokens->items, cap * sizeof(*items));
        if (!items)
            return lg_fail_nomem(x->env, "a chat template", cap * sizeof(*items));
        tokens->items = items;
        tokens->cap = cap;
    }
    tokens->items[tokens->n++] = (struct lg_tmpl_token){(uint8_t)kind, x->line, text};
    return 0;
}

static void advance(struct lexer *x, size_t to)
{
    for (; x->pos < to; x->pos++)
        x->line += x->s[x->pos] == '\n';
}

static bool looks_at(const struct lexer *x, size_t pos, const char *what)
{
    size_t n = strlen(what);
    return n <= x->len - pos && memcmp(x->s + pos, what, n) == 0;
}

static size_t skip_space(const struct lexer *x, size_t pos)
{
    uint32_t c;
    while (pos < x->len) {
        size_t n = lg_char_at(x->s + pos, x->len - pos, &c);
        if (!lg_char_is_space(c))
            break;
        pos += n;
    }
    return pos;
}

/** Behind the end of a tag: "%}" at `pos` with its sign before it, or none. */
static void close_tag(struct lexer *x, size_t pos, char sign, bool trims)
{
    pos += 2;
    if (sign == '-')
        pos = skip_space(x, pos);
    else if (sign != '+' && trims && pos < x->len && x->s[pos] == '\n')
        pos++;
    advance(x, pos);
    x->line_starts = x->s[pos - 1] == '\n';
}

/** Data up to a tag with that sign; `strips`: it is no print tag, which keeps blanks before it. */
static int emit_data(struct lexer *x, size_t end, char sign, bool strips)
{
    struct lg_str text = {x->s + x->pos, end - x->pos};
    if (sign == '-') {
        text = lg_str_strip(text, LG_STRIP_RIGHT, NULL);
    } else if (sign != '+' && strips) {
        const char *newline = memrchr(text.ptr, '\n', text.len);
        if (newline || x->line_starts) {
            size_t start = newline ? (size_t)(newline - text.ptr) + 1 : 0;
            struct lg_str rest = {text.ptr + start, text.len - start};
            if (lg_str_strip(rest, LG_STRIP_LEFT, NULL).len == 0)
                text.len = start;
        }
    }
    if (text.len > 0)
        LG_TRY(emit(x, LG_T_DATA, text));
    advance(x, end);
    return 0;
}

static char sign_at(const struct lexer *x, size_t pos)
{
    return pos < x->len && (x->s[pos] == '-' || x->s[pos] == '+') ? x->s[pos] : 0;
}

/** A block of the single word `word` at `pos`; where it ends with `end_sign`, or 0 when it is another. */
static size_t match_word_block(const struct lexer *x, size_t pos, const char *word, char *end_sign)
{
    if (!looks_at(x, pos, "{%"))
        return 0;
    pos = skip_space(x, pos + 2 + (sign_at(x, pos + 2) != 0));
    if (!looks_at(x, pos, word))
        return 0;
    pos = skip_space(x, pos + strlen(word));
    *end_sign = sign_at(x, pos);
    pos += *end_sign != 0;
    return looks_at(x, pos, "%}") ? pos : 0;
}

static int lex_raw(struct lexer *x, size_t end, char end_sign)
{
    close_tag(x, end, end_sign, false);
    size_t tag = x->pos;
    for (; tag + 1 < x->len; tag++) {
        size_t close = match_word_block(x, tag, "endraw", &end_sign);
        if (!close)
            continue;
        LG_TRY(emit_data(x, tag, sign_at(x, tag + 2), true));
        close_tag(x, close, end_sign, true);
        return 0;
    }
    return fail(x, "a raw block without its end");
}

static int lex_comment(struct lexer *x, size_t start)
{
    for (size_t end = start; end + 1 < x->len; end++) {
        if (x->s[end] != '#' || x->s[end + 1] != '}')
            continue;
        close_tag(x, end, end > start ? sign_at(x, end - 1) : 0, true);
        return 0;
    }
    return fail(x, "a comment without its end");
}

/* ---- inside tags ------------------------------------------------------------------------------------ */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static char peek(const struct lexer *x, size_t pos)
{
    return pos < x->len ? x->s[pos] : 0;
}

/** Behind digits of a base that single underscores may part. */
static size_t skip_digits(const struct lexer *x, size_t pos, const char *digits)
{
    for (;;) {
        size_t next = pos + (peek(x, pos) == '_');
        if (!peek(x, next) || !strchr(digits, x->s[next]))
            return pos;
        pos = next + 1;
    }
}

static int lex_number(struct lexer *x)
{
    static const char decimal[] = "0123456789";
    static const struct {
        char letter;
        const char *digits;
    } bases[] = {{'x', "0123456789abcdefABCDEF"}, {'o', "01234567"}, {'b', "01"}};
    size_t start = x->pos, end = skip_digits(x, start, decimal), fraction = end, exponent;
    if (peek(x, end) == '.' && is_digit(peek(x, end + 1)))
        fraction = skip_digits(x, end + 1, decimal);
    exponent = fraction;
    if ((peek(x, fraction) | 32) == 'e') {
        size_t digits = fraction + 1 + (sign_at(x, fraction + 1) != 0);
        if (is_digit(peek(x, digits)))
            exponent = skip_digits(x, digits, decimal);
    }
    bool is_float = exponent > end && (start == 0 || x->s[start - 1] != '.');
    if (is_float) {
        end = exponent;
    } else if (x->s[start] == '0') {
        end = skip_digits(x, start + 1, "0");
        for (size_t i = 0; i < 3; i++)
            if ((peek(x, start + 1) | 32) == bases[i].letter &&
                skip_digits(x, start + 2, bases[i].digits) > start + 2)
                end = skip_digits(x, start + 2, bases[i].digits);
    }
    LG_TRY(emit(x, is_float ? LG_T_FLOAT : LG_T_INT, (struct lg_str){x->s + start, end - start}));
    advance(x, end);
    return 0;
}

/** The code point of `n` hexadecimal digits, or UINT32_MAX. */
static uint32_t parse_hex(const char *s, const char *end, size_t n)
{
    int64_t value;
    if ((size_t)(end - s) < n || s[0] == '+' || s[0] == '-' || !lg_number_parse_int(s, n, 16, &value))
        return UINT32_MAX;
    return value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff) ? UINT32_MAX : (uint32_t)value;
}

/** Undoes the escape behind a backslash at `s`; what it gives goes to *out. Returns the bytes read, 0 when it
 * is wrong. */
static size_t unescape(const char *s, const char *end, char **out)
{
    static const char plain[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    static const struct {
        char letter;
        uint8_t digits;
    } codes[] = {{'x', 2}, {'u', 4}, {'U', 8}};
    if (*s == '\n')
        return 1;
    for (size_t i = 0; i + 1 < sizeof(plain); i += 2) {
        if (*s == plain[i]) {
            *(*out)++ = plain[i + 1];
            return 1;
        }
    }
    for (size_t i = 0; i < 3; i++) {
        if (*s != codes[i].letter)
            continue;
        uint32_t c = parse_hex(s + 1, end, codes[i].digits);
        *out += c == UINT32_MAX ? 0 : lg_char_put(c, *out);
        return c == UINT32_MAX ? 0 : 1 + codes[i].digits;
    }
    if (*s == 'N')
        return 0;
    size_t n = 0;
    uint32_t c = 0;
    for (; n < 3 && s + n < end && s[n] >= '0' && s[n] <= '7'; n++)
        c = c * 8 + (uint32_t)(s[n] - '0');
    if (n > 0) {
        *out += lg_char_put(c, *out);
        return n;
    }
    *(*out)++ = '\\'; // an unknown escape stays
    *(*out)++ = *s;
    return 1;
}

static int lex_string(struct lexer *x)
{
    char quote = x->s[x->pos];
    size_t start = x->pos + 1, end = start;
    bool escapes = false;
    while (end < x->len && x->s[end] != quote) {
        bool escape = x->s[end] == '\\';
        escapes |= escape;
        end += 1 + escape;
    }
    if (end >= x->len)
        return fail(x, "a string without its end");
    struct lg_str text = {x->s + start, end - start};
    if (escapes) {
        char *out = lg_arena_bytes(&x->t->arena, text.len), *to = out;
        if (!out)
            return lg_tmpl_fail_memory(x->env, &x->t->arena, x->line);
        for (const char *s = text.ptr; s < x->s + end;) {
            if (*s != '\\') {
                *to++ = *s++;
                continue;
            }
            size_t n = unescape(s + 1, x->s + end, &to);
            if (n == 0)
                return fail(x, "a string has an escape that means no character");
            s += 1 + n;
        }
        text = (struct lg_str){out, (size_t)(to - out)};
    }
    LG_TRY(emit(x, LG_T_STRING, text));
    advance(x, end + 1);
    return 0;
}

static int lex_operator(struct lexer *x)
{
    static const char *const pairs[] = {"**", "//", "==", "!=", ">=", "<="};
    static const char singles[] = "+-/*%~[](){}><=.:|,;", open[] = "([{", close[] = ")]}";
    char c = x->s[x->pos];
    size_t n = 0;
    for (size_t i = 0; i < 6 && !n; i++)
        n = looks_at(x, x->pos, pairs[i]) ? 2 : 0;
    if (!n && c && strchr(singles, c))
        n = 1;
    if (!n)
        return lg_tmpl_fail_at(x->env, x->line, c > ' ' && c < 127 ? "unexpected '%c'" : "unexpected byte %d",
                               c > ' ' && c < 127 ? c : (uint8_t)c);
    const char *opens = strchr(open, c), *closes = strchr(close, c);
    if (opens) {
        if (x->n_brackets == MAX_BRACKETS)
            return fail(x, "brackets are nested too deep");
        x->brackets[x->n_brackets++] = close[opens - open];
    } else if (closes && (x->n_brackets == 0 || x->brackets[--x->n_brackets] != c)) {
        return lg_tmpl_fail_at(x->env, x->line, "unexpected '%c'", c);
    }
    LG_TRY(emit(x, LG_T_OP, (struct lg_str){x->s + x->pos, n}));
    x->pos += n;
    return 0;
}

/** Tokens of a tag up to its end, "}}" or "%}". */
static int lex_tag(struct lexer *x, bool is_print)
{
    x->n_brackets = 0;
    for (;;) {
        size_t pos = skip_space(x, x->pos);
        advance(x, pos);
        if (pos == x->len)
            return 0; // the parser says what is missing
        char sign = sign_at(x, pos);
        if (is_print && sign == '+')
            sign = 0;
        size_t end = pos + (sign != 0);
        if (x->n_brackets == 0 && looks_at(x, end, is_print ? "}}" : "%}")) {
            LG_TRY(emit(x, is_print ? LG_T_PRINT_END : LG_T_BLOCK_END, (struct lg_str){x->s + end, 2}));
            close_tag(x, end, sign, !is_print);
            return 0;
        }
        char c = x->s[pos];
        if (is_digit(c)) {
            LG_TRY(lex_number(x));
        } else if (is_name(c)) {
            while (is_name(peek(x, end)))
                end++;
            LG_TRY(emit(x, LG_T_NAME, (struct lg_str){x->s + pos, end - pos}));
            x->pos = end;
        } else if (c == '\'' || c == '"') {
            LG_TRY(lex_string(x));
        } else {
            LG_TRY(lex_operator(x));
        }
    }
}

static int lex_all(struct lexer *x)
{
    while (x->pos < x->len) {
        size_t tag = x->pos;
        for (; tag < x->len; tag++) {
            const char *brace = memchr(x->s + tag, '{', x->len - tag);
            tag = brace ? (size_t)(brace - x->s) : x->len;
            char c = peek(x, tag + 1);
            if (c == '{' || c == '%' || c == '#')
                break;
        }
        if (tag >= x->len)
            return emit(x, LG_T_DATA, (struct lg_str){x->s + x->pos, x->len - x->pos});
        char kind = x->s[tag + 1], sign = sign_at(x, tag + 2), end_sign;
        size_t raw = match_word_block(x, tag, "raw", &end_sign);
        LG_TRY(emit_data(x, tag, sign, kind != '{'));
        size_t start = tag + 2 + (sign != 0);
        if (raw && end_sign != '+') {
            LG_TRY(lex_raw(x, raw, end_sign));
        } else if (kind == '#') {
            LG_TRY(lex_comment(x, start));
        } else {
            LG_TRY(emit(x, kind == '{' ? LG_T_PRINT : LG_T_BLOCK, (struct lg_str){x->s + tag, 2}));
            x->pos = start;
            LG_TRY(lex_tag(x, kind == '{'));
        }
    }
    return 0;
}

int lg_tmpl_lex(struct lg_env *env, struct lg_template *t, const char *text, size_t len,
                struct lg_tmpl_tokens *out)
{
    char *s = lg_arena_bytes(&t->arena, len);
    if (!s)
        return lg_tmpl_fail_memory(env, &t->arena, 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\r')
            s[n++] = text[i];
        else if (i + 1 == len || text[i + 1] != '\n')
            s[n++] = '\n';
    }
    if (n > 0 && s[n - 1] == '\n') // one newline at the end is no part of a template
        n--;
    struct lexer x = {.env = env, .t = t, .tokens = out, .s = s, .len = n, .line = 1, .line_starts = true};
    LG_TRY(lex_all(&x));
    return emit(&x, LG_T_EOF, (struct lg_str){s + n, 0});
}
