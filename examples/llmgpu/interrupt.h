/* SPDX-License-Identifier: MIT
 *
 * What Ctrl-C does.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

#include <llmgpu/llmgpu.h>
#include <llmgpu/train.h>

enum cli_interrupt {
    CLI_INTERRUPT_DEFAULT, // it kills the process
    CLI_INTERRUPT_HOLD,    // nothing, until another of these holds: then it is as if it came now
    CLI_INTERRUPT_CANCEL,  // it cancels a session or a trainer; the second one kills the process
    CLI_INTERRUPT_ASK,     // it is what cli_interrupted() tells; the second one kills the process
    CLI_INTERRUPT_LEAVE,   // it ends the process with CLI_INTERRUPTED; the terminal is as it is now
};

/**
 * Says what it does from here on.
 *
 * @param session for CLI_INTERRUPT_CANCEL, and living until the next call
 * @return whether it has cancelled the session of the last call, which may not have told it yet
 */
bool cli_on_interrupt(enum cli_interrupt what, llmgpu_session *session);

/** The same as CLI_INTERRUPT_CANCEL for a trainer. SIGTERM then does what Ctrl-C does: mpirun makes the one of
 * the other. */
void cli_on_interrupt_train(llmgpu_trainer *trainer);

/** Whether it came since CLI_INTERRUPT_ASK was said. */
bool cli_interrupted(void);

#endif
