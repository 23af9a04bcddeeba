/* SPDX-License-Identifier: MIT
 *
 * A program in place of nvidia-smi. How it behaves is said by the file beside it whose name ends in .mode:
 * "ok", "na", "absurd", "garbage", "halves" (lines come in pieces), "once" (it ends after a line), "new" (it
 * knows the last field by its newer name alone), "bare" (not at all), "nothing" (it says nothing and stays),
 * "fails". Each start is a line in .log.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        exit(2);
}

static void nap(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static char *beside(const char *program, const char *end)
{
    static char path[2048];
    snprintf(path, sizeof(path), "%s%s", program, end);
    return path;
}

static void log_start(int argc, char **argv)
{
    FILE *f = fopen(beside(argv[0], ".log"), "a");
    for (int i = 1; f && i < argc; i++)
        fprintf(f, "%s%s", argv[i], i + 1 < argc ? " " : "\n");
    if (f)
        fclose(f);
}

static int has_field(int argc, char **argv, const char *field)
{
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], field))
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    char mode[32] = "ok";
    FILE *f = fopen(beside(argv[0], ".mode"), "r");
    if (f && fscanf(f, "%31s", mode) != 1)
        mode[0] = '\0';
    if (f)
        fclose(f);
    log_start(argc, argv);

    int is_new = strcmp(mode, "new") == 0, is_bare = strcmp(mode, "bare") == 0;
    if (((is_new || is_bare) && has_field(argc, argv, "clocks_throttle_reasons")) ||
        (is_bare && has_field(argc, argv, "clocks_event_reasons"))) {
        say("Field \"clocks_reasons.active\" is not a valid field to query.\n\n");
        return 2;
    }
    if (strcmp(mode, "fails") == 0) {
        say("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver, 45, 12, 3\n");
        return 9;
    }
    for (;;) {
        if (strcmp(mode, "nothing") != 0 && strcmp(mode, "halves") != 0)
            say(strcmp(mode, "na") == 0
                    ? "[N/A], [Not Supported], [N/A], N/A, , 7, [Unknown Error], [N/A], [N/A]\n"
                : strcmp(mode, "absurd") == 0
                    ? "4096, -3.00, 99999.00, 1e9, nan, 101, 9000, 6144, 0xffffffffffffffffff\n"
                : strcmp(mode, "garbage") == 0 ? "\x01\xff;,,,,,,,,,,,,,,,,,,,,\n"
                : is_bare                      ? "54, 33.50, 120.00, 1200, 2100, 97, 1024, 6144\n"
                          : "54, 33.50, 120.00, 1200, 2100, 97, 1024, 6144, 0x0000000000000040\n");
        if (strcmp(mode, "halves") == 0) {
            say("54, 33.5");
            nap(30);
            say("0, 120.00, 1200, 2100, 97, 1024, 61");
            nap(30);
            say("44, 0x40\n5");
            nap(30);
            say("5, 34.00, 120.00, 1200, 2100, 97, 1024, 6144, 0x0\n");
        }
        if (strcmp(mode, "once") == 0)
            return 0;
        nap(20);
    }
}
