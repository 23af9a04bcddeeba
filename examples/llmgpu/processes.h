/* SPDX-License-Identifier: MIT
 *
 * The processes of a run that mpirun, or another launcher of MPI programs, has started together: what they
 * tell each other, and what of a machine is whose. A process that was started alone is the only one: then
 * nothing of MPI is initialised, and all of this is its own.
 *
 * All of them make the same calls in the same order, with one exception: whoever cannot or will not go on
 * says so by cli_processes_agree() in place of its next call, which ends the run for all.
 *
 *   processes.c       what there is without MPI as well
 *   processes_mpi.c   with MPI
 *   processes_none.c  without: there is never more than one
 */
#ifndef CLI_PROCESSES_H
#define CLI_PROCESSES_H

#include "common.h"

struct cli_processes {
    uint32_t n, index;       // how many, and which one this is; process 0 does what is done once
    uint32_t n_local, local; // the same of those on this machine
    uint32_t n_threads;      // that the CPU device should have in each, by the processors they share; 0: any
    int end;                 // what they agreed to end with; CLI_OK: they go on
};

/** CLI_OK, or CLI_FAILED when reported: there are several, and this program was built without MPI. */
int cli_processes_open(struct cli_processes *processes);
/** Waits for the others, which may be writing, and ends what was opened. Returns what the process exits with.
 */
int cli_processes_close(struct cli_processes *processes, int rc);

/**
 * Whether to go on: CLI_OK when all say so; CLI_INTERRUPTED when some were interrupted; CLI_FAILED when any
 * failed, which it has reported. It is the `end` of all, and once it is not CLI_OK nothing more is agreed.
 */
int cli_processes_agree(struct cli_processes *processes, int rc);

/** Replaces numbers by their sums over all processes. Returns what they agree to, and when that is not CLI_OK
 * there are no sums. */
int cli_processes_sum(struct cli_processes *processes, double *values, size_t n);
/** The same for floats, as an llmgpu_reduce_fn; `user` is the processes. */
int cli_processes_reduce(void *user, float *values, size_t n);

/** Fails, reported, unless all have the same numbers. As cli_processes_sum(). */
int cli_processes_compare(struct cli_processes *processes, const uint64_t *values, size_t n);

/** Gives each process on a machine its own share of it: threads, and one of several GPUs of a kind. What was
 * asked for stays; `id` is where a device's name may be put. */
void cli_processes_share(const struct cli_processes *processes, struct cli_engine_options *options,
                         char id[32]);

/** How many processes the launcher says there are; 1 when there is none. */
uint32_t cli_processes_started(void);

#endif
