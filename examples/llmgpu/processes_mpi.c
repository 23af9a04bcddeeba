/* SPDX-License-Identifier: MIT */
#include "processes.h"

#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    PART = 1 << 24,    // floats that are summed at once: MPI counts in int
    MAX_COMPARED = 16, // numbers
};

/* What goes wrong within MPI ends all processes, with its own sentence: nobody handles its errors, which is
 * MPI's default. */

/** Threads for each of the processes of this machine: those that may use the same processors share them, and
 * a launcher that has bound each to processors of its own has shared them already. */
static uint32_t share_threads(const struct cli_processes *p, MPI_Comm local)
{
    cpu_set_t own, *all = calloc(p->n_local, sizeof(*all));
    uint32_t n = 0;
    CPU_ZERO(&own);
    sched_getaffinity(0, sizeof(own), &own); // on failure none, and then the number is not known
    if (!all)
        MPI_Abort(MPI_COMM_WORLD,
                  cli_fail(LLMGPU_E_NOMEM, "no memory for the processors of %u processes", p->n_local));
    MPI_Allgather(&own, sizeof(own), MPI_BYTE, all, sizeof(own), MPI_BYTE, local);
    for (uint32_t i = 0; i < p->n_local; i++)
        n += CPU_EQUAL(&own, &all[i]) != 0;
    free(all);
    uint32_t threads = (uint32_t)CPU_COUNT(&own) / n;
    return CPU_COUNT(&own) == 0 ? 0 : threads > 0 ? threads : 1;
}

static void set_name(const struct cli_processes *p)
{
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int n = 0;
    MPI_Get_processor_name(host, &n);
    cli_set_process(p->index, p->n, host);
}

int cli_processes_open(struct cli_processes *p)
{
    int given, n, index, n_local, local_index;
    MPI_Comm local;
    *p = (struct cli_processes){.n = 1, .n_local = 1};
    if (cli_processes_started() < 2)
        return CLI_OK;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given); // and MPI_THREAD_SINGLE will do as well
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    MPI_Comm_rank(MPI_COMM_WORLD, &index);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    MPI_Comm_size(local, &n_local);
    MPI_Comm_rank(local, &local_index);
    p->n = (uint32_t)n;
    p->index = (uint32_t)index;
    p->n_local = (uint32_t)n_local;
    p->local = (uint32_t)local_index;
    p->n_threads = share_threads(p, local);
    MPI_Comm_free(&local);
    set_name(p);
    if (p->n == cli_processes_started())
        return CLI_OK;
    // A launcher of another MPI: each would be alone, and all write the same files.
    return cli_fail(LLMGPU_E_UNSUPPORTED,
                    "%u processes were started together, of which MPI knows %u: they were started by "
                    "another MPI than this program was built with",
                    cli_processes_started(), p->n);
}

int cli_processes_close(struct cli_processes *p, int rc)
{
    int open = 0;
    MPI_Initialized(&open);
    if (!open)
        return rc;
    cli_processes_agree(p, rc);
    MPI_Barrier(MPI_COMM_WORLD); // process 0 may be writing still
    MPI_Finalize();
    if (p->index > 0 && p->end == CLI_INTERRUPTED)
        return CLI_OK; // a launcher ends what still runs when one exits otherwise: process 0 has yet to print
    return rc == CLI_OK ? p->end : rc;
}

int cli_processes_agree(struct cli_processes *p, int rc)
{
    static const int ends[] = {CLI_OK, CLI_INTERRUPTED, CLI_FAILED};
    int level = rc == CLI_OK ? 0 : rc == CLI_INTERRUPTED ? 1 : 2;
    if (p->end != CLI_OK)
        return p->end;
    if (p->n > 1)
        MPI_Allreduce(MPI_IN_PLACE, &level, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    p->end = ends[level];
    return p->end;
}

int cli_processes_sum(struct cli_processes *p, double *values, size_t n)
{
    int rc = cli_processes_agree(p, CLI_OK);
    if (rc == CLI_OK && p->n > 1)
        MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return rc;
}

int cli_processes_reduce(void *user, float *values, size_t n)
{
    struct cli_processes *p = user;
    int rc = cli_processes_agree(p, CLI_OK);
    for (size_t at = 0; at < n && rc == CLI_OK && p->n > 1; at += PART)
        MPI_Allreduce(MPI_IN_PLACE, values + at, (int)(n - at < PART ? n - at : PART), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
    return rc;
}

int cli_processes_compare(struct cli_processes *p, const uint64_t *values, size_t n)
{
    uint64_t extremes[2 * MAX_COMPARED]; // the largest of each, and of its complement
    int rc = cli_processes_agree(p, CLI_OK);
    if (rc != CLI_OK || p->n == 1)
        return rc;
    for (size_t i = 0; i < n; i++) {
        extremes[2 * i] = values[i];
        extremes[2 * i + 1] = ~values[i];
    }
    MPI_Allreduce(MPI_IN_PLACE, extremes, 2 * (int)n, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
    for (size_t i = 0; i < n && rc == CLI_OK; i++)
        if (extremes[2 * i] != ~extremes[2 * i + 1])
            rc = p->index > 0 ? CLI_FAILED
                              : cli_fail(LLMGPU_E_INVALID,
                                         "the processes differ in their model, data, options or checkpoint");
    return cli_processes_agree(p, rc);
}
