/* SPDX-License-Identifier: MIT
 *
 * What the files of the text module share: the vocabulary's layout, and the state of one encoding call.
 *
 *   vocab.c    reads the metadata, answers questions about tokens
 *   special.c  well-known tokens and the tokens that end a generation
 *   pretok.c   cuts text into pieces by regular expressions
 *   bpe.c      pieces to tokens by merge rank; spm.c the same by score; merge.c the queue that both share
 *   split.c    finds special tokens written in a text
 *   encode.c   the whole way from text to ids; decode.c the way back
 */
#ifndef LG_TEXT_INTERNAL_H
#define LG_TEXT_INTERNAL_H

#include "text/vocab.h"

#define LG_PRETOK_MAX 6

/** U+2581, which SentencePiece writes for a space. */
#define LG_SPM_SPACE "\xe2\x96\x81"

enum lg_vocab_family { LG_VOCAB_BPE, LG_VOCAB_SPM };

struct lg_token {
    struct lg_str text;  // as the file spells it
    struct lg_str piece; // the bytes it stands for; the text itself for control tokens
    float score;         // SPM only
    uint8_t attr;        // lg_token_attr
    bool is_end;         // ends a generation
    bool strips_right;   // white space after it belongs to it
};

/** A merge of two tokens into one. */
struct lg_merge {
    int32_t left, right;
    int32_t merged;
    uint32_t rank; // from 1, smaller merges first; 0 in an empty slot
};

/** A slot of the table of texts. */
struct lg_text_slot {
    uint32_t hash; // of the token's text
    uint32_t id;   // the token + 1; 0 in an empty slot
};

/** A special token that is looked for in the text. */
struct lg_special {
    int32_t token;
    uint32_t rank; // 0 is looked for first: by length, longest first
};

struct lg_pretok_family;

struct lg_vocab {
    struct lg_env *env;
    enum lg_vocab_family family;
    uint32_t n_tokens;
    struct lg_token *tokens; // n_tokens
    char *texts, *pieces;    // the bytes that tokens[] points into
    size_t max_len;          // longest text
    struct lg_text_slot *by_text; // hash table
    uint32_t by_text_mask;
    bool has_twins; // some tokens have the same text

    struct lg_vocab_special special;
    struct lg_special *specials; // sorted by text, each text once
    int32_t *special_by_rank;    // their ids, the longest first
    uint32_t n_specials;
    uint32_t
        first_special[257]; // specials that begin with byte b are [first_special[b], first_special[b + 1])

    int32_t byte_token[256]; // -1 when there is none

    // BPE
    struct lg_merge *merges; // hash table by (left, right)
    uint32_t merges_mask;
    const struct lg_pretok_family *pretok;
    void *pretok_context;             // pcre2_general_context
    void *pretok_code[LG_PRETOK_MAX]; // pcre2_code

    // SPM
    bool add_space_prefix;
    bool splits_at_spaces; // no token reaches across the start of a word, so words can be encoded one by one
};

/** A node of the list of symbols that merge. */
struct lg_symbol {
    uint64_t key;        // the place of its merge with `next` in the queue; LG_NO_MERGE when there is none
    int32_t merged;      // the token that this merge gives
    int32_t token;       // -1 when no token has this text
    int32_t prev, next;  // indices, -1 at the ends
    uint32_t start, len; // bytes of the piece; len is 0 once merged into another
};

#define LG_NO_MERGE UINT64_MAX

/** A binary heap of numbers, the smallest on top. */
struct lg_heap {
    uint64_t *keys;
    size_t n, cap;
};

/** One call of lg_vocab_encode(). */
struct lg_encoder {
    const struct lg_vocab *vocab;
    struct lg_env *env;
    int32_t *ids;
    size_t n_ids, cap_ids;
    struct lg_symbol *symbols;
    size_t cap_symbols;
    struct lg_heap heap;
    char *word; // bytes of one piece as the vocabulary spells them
    size_t cap_word;
    void *match_context, *match; // pcre2_match_context, pcre2_match_data
};

/** What a merge of two neighbours would give; false when they do not merge. Smaller orders merge first. */
typedef bool lg_pair_fn(const struct lg_vocab *vocab, const char *text, const struct lg_symbol *left,
                        const struct lg_symbol *right, uint32_t *order, int32_t *merged);

/* heap in merge.c */
int lg_heap_reserve(struct lg_env *env, struct lg_heap *heap, size_t cap);
/** There must be room. */
void lg_heap_push(struct lg_heap *heap, uint64_t key);
/** The heap must not be empty. */
uint64_t lg_heap_pop(struct lg_heap *heap);

/** Grows a buffer to `n` elements of `size` bytes; its content stays. */
int lg_encoder_grow(struct lg_env *env, void **ptr, size_t *cap, size_t n, size_t size);
int lg_encoder_emit(struct lg_encoder *e, int32_t token);
/** Emits the byte's token, or the unknown token, or nothing when there is neither. */
int lg_encoder_emit_byte(struct lg_encoder *e, uint8_t byte);
/** Room for `n` symbols and for the queue of their merges. */
int lg_symbols_reserve(struct lg_encoder *e, size_t n);
/** Merges neighbours until none can; symbols [0, n) are linked, 0 < n. Symbol 0 stays the head of the list.
 */
void lg_symbols_merge(struct lg_encoder *e, size_t n, const char *text, lg_pair_fn *pair);

uint32_t lg_vocab_hash(const char *text, size_t len);
/** lg_vocab_find() for who has the hash. */
int32_t lg_vocab_find_hashed(const struct lg_vocab *vocab, const char *text, size_t len, uint32_t hash);

/** Finds a pre-tokeniser by its name; NULL when it is not known. */
const struct lg_pretok_family *lg_pretok_find(struct lg_str name);
/** Whether a piece that is a token as it stands is taken without merging. */
bool lg_pretok_ignores_merges(const struct lg_pretok_family *family);
/** What `add_bos_token` is when the file does not say. */
bool lg_pretok_adds_bos(const struct lg_pretok_family *family);
int lg_pretok_compile(struct lg_env *env, struct lg_vocab *vocab);
void lg_pretok_free(struct lg_vocab *vocab);
/** Makes what matching needs, once for each encoder. */
int lg_pretok_begin(struct lg_encoder *e);
void lg_pretok_end(struct lg_encoder *e);
/** Cuts `text` into pieces and encodes each by lg_bpe_encode_piece(). */
int lg_pretok_run(struct lg_encoder *e, const char *text, size_t len);

int lg_bpe_load(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab);
/** The bytes that a token's text stands for; writes at most text.len bytes. */
size_t lg_bpe_decode_text(struct lg_str text, char *out);
int lg_bpe_encode_piece(struct lg_encoder *e, const char *text, size_t len);

int lg_spm_load(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab);
size_t lg_spm_decode_text(struct lg_str text, char *out);
/** The byte of "<0xHH>", or -1. */
int lg_spm_parse_byte(struct lg_str text);
int lg_spm_encode(struct lg_encoder *e, const char *text, size_t len, bool space_before);

/** Ids, flags and the table of specials. */
int lg_special_load(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab);

/** A special token found in a text. */
struct lg_split {
    size_t start, end; // bytes of the text that it takes, with the white space that belongs to it
    int32_t token;
};
/** The special tokens in `text` from left to right; the caller frees *out. `control` adds the control tokens.
 */
int lg_split_specials(const struct lg_vocab *vocab, struct lg_env *env, const char *text, size_t len,
                      bool control, struct lg_split **out, size_t *n);
int lg_split_index(struct lg_env *env, struct lg_vocab *vocab);

#endif
