/* SPDX-License-Identifier: MIT
 *
 * The messages of a conversation, and files of them: JSON Lines, one object a message with the members "role"
 * and "content". A conversation is at most one system message, then questions and answers in turns.
 */
#ifndef CLI_MESSAGES_H
#define CLI_MESSAGES_H

#include <stddef.h>

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT };

struct message {
    enum role role;
    char *content;
};

/** Zeros are an empty list. */
struct messages {
    struct message *at;
    size_t n, room;
};

/** "system", "user", "assistant" */
const char *role_name(enum role role);

/** Copies a text to the end. CLI_OK, or CLI_FAILED when reported. */
int messages_add(struct messages *messages, enum role role, const char *content);
/** Removes the messages from `n` on. */
void messages_cut(struct messages *messages, size_t n);
/** Of the first message, if that is the system's; else NULL. */
const char *messages_system(const struct messages *messages);
void messages_free(struct messages *messages);

/** Writes a file, which is replaced as a whole or not at all. CLI_OK, or CLI_FAILED when reported. */
int messages_save(const struct messages *messages, const char *path);
/** Reads a file into an empty list, which stays empty when it fails. As above. */
int messages_load(struct messages *messages, const char *path);

#endif
