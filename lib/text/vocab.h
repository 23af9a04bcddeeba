/* SPDX-License-Identifier: MIT
 *
 * A model's vocabulary: text to token ids and back. Two families, chosen by `tokenizer.ggml.model`:
 *
 *   gpt2   byte-level BPE: the text is split by the pre-tokeniser's regular expressions (`tokenizer.ggml.pre`), each
 *          piece's bytes are mapped to printable code points, and pairs merge in the order of their rank
 *   llama  SentencePiece BPE: pairs merge by the score of the joined piece; what has no piece becomes byte tokens
 *
 * Thread-safety: immutable once created; any number of threads may encode and decode at the same time, each with an env
 * of its own.
 */
#ifndef LG_TEXT_VOCAB_H
#define LG_TEXT_VOCAB_H

#include "gguf/gguf.h"

struct lg_vocab;

/** Properties of a token, a bit set (from `tokenizer.ggml.token_type`). */
enum lg_token_attr {
    LG_TOKEN_NORMAL = 1 << 0,
    LG_TOKEN_UNKNOWN = 1 << 1,
    LG_TOKEN_CONTROL = 1 << 2,
    LG_TOKEN_USER_DEFINED = 1 << 3,
    LG_TOKEN_UNUSED = 1 << 4,
    LG_TOKEN_BYTE = 1 << 5,
};

/** Well-known tokens, -1 when the vocabulary has none. */
struct lg_vocab_special {
    int32_t bos, eos, eot, unk, sep, pad;
    bool add_bos, add_eos; // what encoding with LG_ENCODE_ADD_SPECIAL does
};

enum lg_encode_flags {
    LG_ENCODE_ADD_SPECIAL = 1,   // begin with BOS and end with EOS where the model asks for it
    LG_ENCODE_PARSE_SPECIAL = 2, // control tokens written in the text become their ids (user-defined ones always do)
    LG_ENCODE_CONTINUE = 4,      // other text precedes: no space is put before this
};

/**
 * Reads the vocabulary from a model's metadata. LLMGPU_E_FORMAT when it is missing or contradicts itself,
 * LLMGPU_E_UNSUPPORTED for a family or pre-tokeniser that is not known. Copies what it needs from `gguf`.
 */
int lg_vocab_create(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab **out);
/** NULL is allowed. */
void lg_vocab_destroy(struct lg_vocab *vocab);

/** Number of tokens. */
uint32_t lg_vocab_size(const struct lg_vocab *vocab);
const struct lg_vocab_special *lg_vocab_special(const struct lg_vocab *vocab);
/** Whether generation ends at this token: EOS, EOT and the vocabulary's other end-of-turn tokens. */
bool lg_vocab_is_end(const struct lg_vocab *vocab, int32_t token);
/** Bit set of lg_token_attr; 0 for an id outside the vocabulary. */
uint32_t lg_vocab_attr(const struct lg_vocab *vocab, int32_t token);
/** The token of exactly this text as the vocabulary spells it, or -1. */
int32_t lg_vocab_find(const struct lg_vocab *vocab, const char *text, size_t len);

/**
 * Encodes `len` bytes. Invalid UTF-8 is not an error: its bytes are encoded as bytes (or as U+FFFD where the family has
 * no bytes).
 *
 * @param flags  lg_encode_flags
 * @param tokens array of ids, allocated with `env`; the caller frees it with lg_free()
 * @return 0, LLMGPU_E_NOMEM, or LLMGPU_E_INVALID when the text is longer than INT32_MAX bytes
 */
int lg_vocab_encode(const struct lg_vocab *vocab, struct lg_env *env, const char *text, size_t len, uint32_t flags,
                    int32_t **tokens, size_t *n_tokens);

/**
 * The bytes that a token stands for, e.g. " world"; may be part of a UTF-8 character.
 *
 * @param special whether control tokens are written out ("<|im_end|>") or give nothing
 * @param out     points into the vocabulary; empty for ids outside it
 */
void lg_vocab_piece(const struct lg_vocab *vocab, int32_t token, bool special, struct lg_str *out);

/**
 * Joins tokens to text as they come and never gives half a UTF-8 character. For SPM vocabularies that add a space before
 * the text, the first token's leading space is dropped. A plain value: zero it to begin, with no allocation and no
 * finish.
 */
struct lg_decoder {
    uint8_t pending[4]; // bytes of an unfinished character
    uint8_t n_pending;
    bool started; // the leading space is behind
};

/** Longest text that one call of lg_decoder_push() gives for a token of `piece_len` bytes. */
#define LG_DECODER_ROOM(piece_len) (3 * (piece_len) + 16)

/**
 * Adds a token and writes the text that is now complete, without a NUL. Bytes that can no longer become a character are
 * given as U+FFFD. `cap` must be LG_DECODER_ROOM of the token's piece; what does not fit is LLMGPU_E_RANGE and changes
 * nothing.
 *
 * @return bytes written
 */
int lg_decoder_push(struct lg_decoder *d, const struct lg_vocab *vocab, int32_t token, bool special, char *out,
                    size_t cap);
/** Ends the text: writes U+FFFD for an unfinished character, and makes the decoder new. At most 3 bytes. */
int lg_decoder_finish(struct lg_decoder *d, char *out, size_t cap);

#endif
