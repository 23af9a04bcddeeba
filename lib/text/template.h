/* SPDX-License-Identifier: MIT
 *
 * Chat templates: a bounded interpreter of the Jinja subset that GGUF files carry
 * (`tokenizer.chat_template`), with the meaning that jinja2's immutable sandbox gives them: trim_blocks and
 * lstrip_blocks on, loop controls, and the globals raise_exception() and strftime_now(). What it leaves out
 * is said where it is met.
 *
 * A template is a program that somebody else wrote. It sees the values it is given and nothing else, changes
 * none of them, and each resource it can use up has a limit (struct lg_template_limits); going beyond one is
 * an error like others. With the default limits it takes less than 512 KiB of stack.
 *
 * Thread-safety: a parsed template is immutable; any number of threads may render it, each with an env of its
 * own.
 */
#ifndef LG_TEXT_TEMPLATE_H
#define LG_TEXT_TEMPLATE_H

#include <stdbool.h>

#include "util/arena.h"

/* ---- values ----------------------------------------------------------------------------------------- */

enum lg_value_kind {
    LG_VALUE_UNDEFINED = 0,
    LG_VALUE_NONE,
    LG_VALUE_BOOL,
    LG_VALUE_INT,
    LG_VALUE_FLOAT,
    LG_VALUE_STRING,
    LG_VALUE_LIST,
    LG_VALUE_DICT, // the kinds below are only made by running templates
    LG_VALUE_TUPLE,
    LG_VALUE_RANGE,
    LG_VALUE_VIEW,     // keys, values or items of a dict
    LG_VALUE_ITERATOR, // what can be gone through once
    LG_VALUE_NAMESPACE,
    LG_VALUE_LOOP,
    LG_VALUE_MACRO,
    LG_VALUE_FUNCTION,
    LG_VALUE_METHOD,
    LG_VALUE_MISSING, // an argument that was not given
};

/** A value. What it points to belongs to an arena and is not changed through it. */
struct lg_value {
    uint8_t kind; // lg_value_kind
    uint8_t sub;  // what the kind makes of it
    uint32_t n;   // bytes of a string, items of a tuple
    union {
        int64_t i; // also of a bool
        double f;
        const char *s; // no NUL behind it; UTF-8, but any bytes do
        struct lg_list *list;
        struct lg_dict *dict;
        const struct lg_value *items; // of a tuple
        void *object;
    };
};

struct lg_list {
    struct lg_value *items;
    uint32_t n, cap; // cap is 0 when the items are shared
    bool frozen;     // was given to the template: it may not append
};

/** A dictionary that keeps the order of insertion. */
struct lg_dict {
    struct lg_value *pairs; // key, value, key, value, ...
    uint32_t n, cap;        // in pairs
    uint32_t *slots;        // hash table of pairs + 1; NULL while there are few
    uint32_t mask;
};

/** A string that shares its bytes; they must live as long as what is made of it. At most UINT32_MAX of them.
 */
struct lg_value lg_value_string(const char *s, size_t len);
struct lg_value lg_value_bool(bool b);
struct lg_value lg_value_int(int64_t i);
struct lg_value lg_value_none(void);

/** A list that shares `items`. NULL in `out->list` is never given: LLMGPU_E_NOMEM. */
int lg_value_list(struct lg_arena *arena, const struct lg_value *items, uint32_t n, struct lg_value *out);
/** An empty dictionary. */
int lg_value_dict(struct lg_arena *arena, struct lg_value *out);
/** Sets a member; of equal keys the last value stays, in the place of the first. Keys are shared, not copied.
 */
int lg_value_set(struct lg_arena *arena, const struct lg_value *dict, const char *key, struct lg_value value);
/** A member; NULL when there is none, or `value` is no dictionary. */
const struct lg_value *lg_value_get(const struct lg_value *value, const char *key);

/**
 * Reads JSON (RFC 8259) into values: strict, nested at most 128 deep, the last of members with the same name
 * counts. Numbers without fraction and exponent are integers when they fit into 64 bits.
 *
 * @param arena where the values live; strings are copied into it
 * @return 0; LLMGPU_E_FORMAT, the sentence naming the byte; LLMGPU_E_NOMEM, also when the arena is full
 */
int lg_json_parse(struct lg_env *env, struct lg_arena *arena, const char *text, size_t len,
                  struct lg_value *out);

/* ---- templates -------------------------------------------------------------------------------------- */

/** What a template may use up. */
struct lg_template_limits {
    size_t template_bytes; // of its text
    size_t memory_bytes;   // for its parsed form, and again for each rendering
    size_t output_bytes;   // of a rendering, with what it keeps for later by the way
    uint64_t steps;        // evaluated nodes, items gone through, and each 16 bytes read or written
    uint32_t nesting;      // of its statements and expressions in each other
    uint32_t depth;        // of evaluation: nesting, added up over the macros that call each other
    uint32_t range;        // items of a range()
};

/** 512 KiB of text, 64 MiB of memory, 16 MiB of output, 20 million steps, nesting 250, depth 1000, ranges of
 * 100 000. */
extern const struct lg_template_limits lg_template_default_limits;

struct lg_template;

/**
 * Parses a template.
 *
 * @param env    for memory and the sentence; must outlive the template
 * @param text   `len` bytes; copied
 * @param limits NULL: the defaults; copied
 * @return 0; LLMGPU_E_TEMPLATE with the line in the sentence; LLMGPU_E_NOMEM
 */
int lg_template_parse(struct lg_env *env, const char *text, size_t len,
                      const struct lg_template_limits *limits, struct lg_template **out);
/** NULL is allowed. */
void lg_template_destroy(struct lg_template *t);

/** What a rendering gives. */
struct lg_rendering {
    char *text; // NUL behind it; to be freed with lg_free(); NULL on failure
    size_t len;
};

/**
 * Renders.
 *
 * @param env  for memory, the text and the sentence
 * @param vars a dictionary: the variables that the template sees
 * @param now  seconds since 1970 for strftime_now(), as a clock at the place shows them
 * @return 0; LLMGPU_E_TEMPLATE with the line, and the template's own words where it raised; LLMGPU_E_NOMEM
 */
int lg_template_render(const struct lg_template *t, struct lg_env *env, const struct lg_value *vars,
                       int64_t now, struct lg_rendering *out);

#endif
