/* SPDX-License-Identifier: MIT
 *
 * Pre-tokenisers: lists of regular expressions, applied one after another. The first cuts the text into its
 * matches and what lies between them, and each further one cuts all of these pieces again; lookahead ends
 * with the piece.
 *
 * The expressions are those that the models were trained with, with two changes that do not change what they
 * match: white space is spelt out as Unicode's White_Space (PCRE2's own \s has U+180E too), and expressions
 * that would be quadratic are anchored.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/internal.h"
#include "text/utf8.h"

#define WS "\\t-\\r\\x{85}\\p{Z}"

#define SPACES "[" WS "]+(?![^" WS "])|[" WS "]+"
#define LINES "[" WS "]*[\\r\\n]+|" SPACES
#define LOWER_SUFFIX "'s|'t|'re|'ve|'m|'ll|'d"
#define ANY_SUFFIX "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS " ?[^" WS "\\p{L}\\p{N}]+"

#define GPT2 LOWER_SUFFIX "| ?\\p{L}+| ?\\p{N}+|" OTHERS "|" SPACES
#define LLAMA3(digits) ANY_SUFFIX "|" WORD "|" digits "|" OTHERS "[\\r\\n]*|" LINES

// Words that change from upper to lower case once.
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(suffix) \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" suffix
#define CASED_REST OTHERS "[\\r\\n/]*|" LINES

#define CJK_WIDE "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define CJK_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define BLOOM " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"

// Letters with case, as deepseek-llm lists them.
#define DEEPSEEK_LETTERS                                                                                   \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"        \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}" \
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"        \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"      \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"      \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{"   \
    "1F7D}"                                                                                                \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{"  \
    "1FD3}"                                                                                                \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"       \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"        \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}"        \
    "\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"       \
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"      \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"    \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"                 \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

struct lg_pretok_family {
    const char *regex[LG_PRETOK_MAX + 1]; // NULL at the end
    bool ignore_merges;                   // a piece that is a token is not merged from its bytes
    bool add_bos;
};

static const struct lg_pretok_family default_family = {
    {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9]{3}"},
};
static const struct lg_pretok_family gpt2 = {{GPT2}};
static const struct lg_pretok_family llama3 = {
    {LLAMA3("\\p{N}{1,3}")}, .ignore_merges = true, .add_bos = true};
static const struct lg_pretok_family smaug = {{LLAMA3("\\p{N}{1,3}")}};
static const struct lg_pretok_family qwen2 = {{LLAMA3("\\p{N}")}};
static const struct lg_pretok_family qwen35 = {
    {ANY_SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS
                "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES},
};
static const struct lg_pretok_family starcoder = {{"\\p{N}", GPT2}};
static const struct lg_pretok_family falcon = {{"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9]{3}"}};
static const struct lg_pretok_family bloom = {{BLOOM}};
static const struct lg_pretok_family viking = {{BLOOM, "\\p{N}"}};
static const struct lg_pretok_family deepseek_llm = {{
    "[\\r\\n]",
    "[" WS "]?[" DEEPSEEK_LETTERS "]+",
    "[" WS "]?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
    // The look behind keeps it from being tried at each place of a long run.
    "(?<![" WS "])[" WS "]++\\z",
    CJK_WIDE,
    "\\p{N}+",
}};
static const struct lg_pretok_family deepseek_coder = {{
    "[\\r\\n]",
    "[" WS "]?\\p{L}+",
    "[" WS "]?\\p{P}+",
    CJK_WIDE,
    "\\p{N}",
}};
static const struct lg_pretok_family deepseek_v3 = {{
    "\\p{N}{1,3}",
    CJK_KANA,
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINES,
}};
static const struct lg_pretok_family gpt_4o = {{CASED("(?:" ANY_SUFFIX ")?") "|\\p{N}{1,3}|" CASED_REST}};
static const struct lg_pretok_family tekken = {
    {CASED("") "|\\p{N}|" CASED_REST}, .ignore_merges = true, .add_bos = true};
static const struct lg_pretok_family bailingmoe = {
    {ANY_SUFFIX "|" WORD "|\\p{N}|" OTHERS "[\\r\\n]*|[" WS "]*[\\r\\n]|" SPACES},
};
static const struct lg_pretok_family seed_coder = {
    {ANY_SUFFIX "|" WORD "|\\p{N}| ?[^" WS "\\p{L}\\p{N}]+|" LINES},
};

static const struct {
    const char *name;
    const struct lg_pretok_family *family;
} names[] = {
    {"default", &default_family},
    {"gpt-2", &gpt2},
    {"phi-2", &gpt2},
    {"mpt", &gpt2},
    {"olmo", &gpt2},
    {"jais", &gpt2},
    {"gigachat", &gpt2},
    {"a.x-4.0", &gpt2},
    {"mellum", &gpt2},
    {"exaone4", &gpt2},
    {"trillion", &gpt2},
    {"granite-docling", &gpt2},
    {"llama-bpe", &llama3},
    {"llama3", &llama3},
    {"llama-v3", &llama3},
    {"falcon3", &llama3},
    {"falcon-h1", &llama3},
    {"pixtral", &llama3},
    {"midm-2.0", &llama3},
    {"lfm2", &llama3},
    {"smaug-bpe", &smaug},
    {"dbrx", &smaug},
    {"glm4", &smaug},
    {"chatglm-bpe", &smaug},
    {"qwen2", &qwen2},
    {"deepseek-r1-qwen", &qwen2},
    {"megrez", &qwen2},
    {"kormo", &qwen2},
    {"stablelm2", &qwen2},
    {"hunyuan", &qwen2},
    {"solar-open", &qwen2},
    {"grok-2", &qwen2},
    {"qwen35", &qwen35},
    {"starcoder", &starcoder},
    {"refact", &starcoder},
    {"command-r", &starcoder},
    {"smollm", &starcoder},
    {"codeshell", &starcoder},
    {"exaone", &starcoder},
    {"minerva-7b", &starcoder},
    {"falcon", &falcon},
    {"bloom", &bloom},
    {"poro-chat", &bloom},
    {"gpt3-finnish", &bloom},
    {"viking", &viking},
    {"deepseek-llm", &deepseek_llm},
    {"deepseek-coder", &deepseek_coder},
    {"deepseek-v3", &deepseek_v3},
    {"hunyuan-dense", &deepseek_v3},
    {"gpt-4o", &gpt_4o},
    {"llama4", &gpt_4o},
    {"kanana2", &gpt_4o},
    {"minimax-m2", &gpt_4o},
    {"tekken", &tekken},
    {"bailingmoe", &bailingmoe},
    {"bailingmoe2", &bailingmoe},
    {"llada-moe", &bailingmoe},
    {"seed-coder", &seed_coder},
};

const struct lg_pretok_family *lg_pretok_find(struct lg_str name)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (lg_str_eq(name, names[i].name))
            return names[i].family;
    return NULL;
}

bool lg_pretok_ignores_merges(const struct lg_pretok_family *family)
{
    return family->ignore_merges;
}

bool lg_pretok_adds_bos(const struct lg_pretok_family *family)
{
    return family->add_bos;
}

static void *pcre_alloc(size_t size, void *env)
{
    return lg_alloc(env, size);
}

static void pcre_free(void *ptr, void *env)
{
    lg_free(env, ptr);
}

int lg_pretok_compile(struct lg_env *env, struct lg_vocab *vocab)
{
    vocab->pretok_context = pcre2_general_context_create(pcre_alloc, pcre_free, env);
    if (!vocab->pretok_context)
        return lg_fail_nomem(env, "the pre-tokeniser", 0);
    pcre2_compile_context *context = pcre2_compile_context_create(vocab->pretok_context);
    if (!context)
        return lg_fail_nomem(env, "the pre-tokeniser", 0);
    int rc = 0;
    for (size_t i = 0; vocab->pretok->regex[i] && rc == 0; i++) {
        int error;
        PCRE2_SIZE where;
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)vocab->pretok->regex[i], PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &error, &where, context);
        if (code)
            pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // where there is no JIT, PCRE2 interprets
        else if (error == PCRE2_ERROR_HEAP_FAILED)
            rc = lg_fail_nomem(env, "the pre-tokeniser", 0);
        else
            rc = lg_fail(env, LLMGPU_E_INTERNAL, "the pre-tokeniser's expression %zu: PCRE2 error %d at %zu",
                         i, error, (size_t)where);
        vocab->pretok_code[i] = code;
    }
    pcre2_compile_context_free(context);
    return rc;
}

void lg_pretok_free(struct lg_vocab *vocab)
{
    for (size_t i = 0; i < LG_PRETOK_MAX; i++)
        pcre2_code_free(vocab->pretok_code[i]);
    pcre2_general_context_free(vocab->pretok_context);
}

int lg_pretok_begin(struct lg_encoder *e)
{
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, e->env);
    if (general) {
        e->match_context = pcre2_match_context_create(general);
        e->match = pcre2_match_data_create(1, general);
        pcre2_general_context_free(general);
    }
    if (!e->match_context || !e->match)
        return lg_fail_nomem(e->env, "the pre-tokeniser", 0);
    // The expressions are linear; the limits are against those that are not.
    pcre2_set_match_limit(e->match_context, UINT32_MAX);
    pcre2_set_depth_limit(e->match_context, UINT32_MAX);
    return 0;
}

void lg_pretok_end(struct lg_encoder *e)
{
    pcre2_match_data_free(e->match);
    pcre2_match_context_free(e->match_context);
}

/** Finds the next match in [*start, len); false in *found when there is none. */
static int next_match(struct lg_encoder *e, const pcre2_code *code, const char *text, size_t len,
                      size_t *start, size_t *end, bool *found)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int rc = pcre2_match(code, subject, len, *start, PCRE2_NO_UTF_CHECK, e->match, e->match_context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, subject, len, *start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, e->match,
                         e->match_context);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return lg_fail_nomem(e->env, "the pre-tokeniser", len);
    if (rc < 0)
        return lg_fail(e->env, LLMGPU_E_INTERNAL, "the pre-tokeniser stopped with PCRE2 error %d", rc);
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(e->match);
    *start = ovector[0];
    *end = ovector[1];
    return 0;
}

/**
 * Cuts a piece by expression `level` and what comes of it by those that follow. `sound` is the piece with its
 * invalid bytes replaced, which is what is matched.
 */
static int cut(struct lg_encoder *e, size_t level, const char *text, const char *sound, size_t len)
{
    const pcre2_code *code = level < LG_PRETOK_MAX ? e->vocab->pretok_code[level] : NULL;
    if (!code)
        return lg_bpe_encode_piece(e, text, len);
    for (size_t pos = 0; pos < len;) {
        size_t start = pos, end = len;
        bool found;
        LG_TRY(next_match(e, code, sound, len, &start, &end, &found));
        if (!found || end <= start)
            return cut(e, level + 1, text + pos, sound + pos, len - pos);
        if (start > pos)
            LG_TRY(cut(e, level + 1, text + pos, sound + pos, start - pos));
        LG_TRY(cut(e, level + 1, text + start, sound + start, end - start));
        pos = end;
    }
    return 0;
}

int lg_pretok_run(struct lg_encoder *e, const char *text, size_t len)
{
    size_t valid = lg_utf8_valid_prefix(text, len);
    if (valid == len)
        return cut(e, 0, text, text, len);

    char *sound = lg_strndup(e->env, text, len);
    if (!sound)
        return lg_fail_nomem(e->env, "text", len);
    for (size_t i = valid; i < len;) {
        int step = lg_utf8_len(text + i, len - i);
        if (step <= 0)
            sound[i] = 0x1a; // SUBSTITUTE: one byte that is no letter, digit, mark or space
        i += step > 0 ? (size_t)step : 1;
    }
    int rc = cut(e, 0, text, sound, len);
    lg_free(e->env, sound);
    return rc;
}
