/* SPDX-License-Identifier: MIT */
#include "interrupt.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "args.h"

/* A signal handler has no other way to know. */
static volatile sig_atomic_t now = CLI_INTERRUPT_DEFAULT, held, cancelled, at_terminal;
static llmgpu_session *volatile interruptible;
static llmgpu_trainer *volatile trainer; // instead, when there is one
static struct termios modes; // of the terminal, before an editor changes them

static void leave(void)
{
    if (at_terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &modes);
        ssize_t n = write(STDERR_FILENO, "\n", 1); // the shell begins a line
        (void)n;
    }
    _exit(CLI_INTERRUPTED);
}

static void interrupt(int signal_number)
{
    if (now == CLI_INTERRUPT_LEAVE)
        leave();
    if (now == CLI_INTERRUPT_HOLD)
        held = 1;
    if (now == CLI_INTERRUPT_CANCEL || now == CLI_INTERRUPT_ASK) {
        cancelled = 1;
        if (now == CLI_INTERRUPT_CANCEL && trainer)
            llmgpu_trainer_cancel(trainer);
        else if (now == CLI_INTERRUPT_CANCEL)
            llmgpu_session_cancel(interruptible);
        signal(signal_number, SIG_DFL);
    }
}

bool cli_on_interrupt(enum cli_interrupt what, llmgpu_session *session)
{
    bool was_cancel = now == CLI_INTERRUPT_CANCEL;
    if (!was_cancel)
        cancelled = 0;
    if (session)
        interruptible = session;
    if (what == CLI_INTERRUPT_LEAVE)
        at_terminal = tcgetattr(STDIN_FILENO, &modes) == 0;
    sigaction(SIGINT,
              &(struct sigaction){
                  .sa_handler = what == CLI_INTERRUPT_DEFAULT ? SIG_DFL : interrupt,
                  .sa_flags = SA_RESTART,
              },
              NULL);
    if (what != CLI_INTERRUPT_CANCEL && trainer) {
        trainer = NULL;
        signal(SIGTERM, SIG_DFL);
    }
    now = what; // before what is held is looked at, so that nothing comes between
    if (held && what != CLI_INTERRUPT_HOLD) {
        held = 0;
        raise(SIGINT);
    }
    return was_cancel && cancelled;
}

void cli_on_interrupt_train(llmgpu_trainer *of)
{
    trainer = of;
    cli_on_interrupt(CLI_INTERRUPT_CANCEL, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = interrupt, .sa_flags = SA_RESTART}, NULL);
}

bool cli_interrupted(void)
{
    return cancelled;
}
