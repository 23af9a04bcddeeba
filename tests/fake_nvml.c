/* SPDX-License-Identifier: MIT
 *
 * A library in place of NVIDIA's, for one card at 0000:01:00.0. How it behaves is said by a file that the
 * environment names, which is read anew at each call: "ok"; "fails" and "none" for its beginning;
 * "unsupported"; "absurd"; "lost N" after so many temperatures; "slow MS" for each temperature. Compiled with
 * FAKE_NVML_OLD it lacks what old ones lack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API __attribute__((visibility("default")))

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, LOST = 15, UNKNOWN = 999 };

struct memory {
    unsigned long long total, free, used;
};

struct utilization {
    unsigned gpu, memory;
};

static unsigned n_temperatures, n_open;
static char card;

static int mode_is(const char *name, unsigned *number)
{
    char text[64] = "ok";
    const char *path = getenv("FAKE_NVML");
    FILE *f = path ? fopen(path, "r") : NULL;
    if (f && !fgets(text, sizeof(text), f))
        text[0] = '\0';
    if (f)
        fclose(f);
    size_t n = strlen(name);
    if (strncmp(text, name, n) != 0 || (text[n] && text[n] != ' ' && text[n] != '\n'))
        return 0;
    if (number)
        *number = (unsigned)strtoul(text + n, NULL, 10);
    return 1;
}

/* What a call answers before it does anything. */
static int answer(const void *device)
{
    unsigned n;
    if (!n_open || device != &card)
        return UNKNOWN;
    if (mode_is("unsupported", NULL))
        return NOT_SUPPORTED;
    return mode_is("lost", &n) && n_temperatures > n ? LOST : OK;
}

static int give(const void *device, unsigned *out, unsigned value)
{
    int rc = answer(device);
    if (rc == OK)
        *out = mode_is("absurd", NULL) ? 4000000000u : value;
    return rc;
}

static int give_large(const void *device, unsigned long long *out, unsigned long long value)
{
    int rc = answer(device);
    if (rc == OK)
        *out = mode_is("absurd", NULL) ? ~0ull : value;
    return rc;
}

API int nvmlInit_v2(void);
API int nvmlInit_v2(void)
{
    if (mode_is("fails", NULL))
        return UNKNOWN;
    n_temperatures = 0;
    n_open++;
    return OK;
}

API int nvmlShutdown(void);
API int nvmlShutdown(void)
{
    if (!n_open)
        abort();
    n_open--;
    return OK;
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **out);
API int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **out)
{
    if (mode_is("none", NULL) || strcmp(id, "0000:01:00.0") != 0)
        return NOT_FOUND;
    *out = &card;
    return OK;
}

API int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out);
API int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out)
{
    unsigned ms;
    n_temperatures++;
    if (mode_is("slow", &ms))
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
    return sensor == 0 ? give(device, out, 61) : NOT_SUPPORTED;
}

API int nvmlDeviceGetPowerUsage(void *device, unsigned *out);
API int nvmlDeviceGetPowerUsage(void *device, unsigned *out)
{
    return give(device, out, 87250);
}

API int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *out);
API int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *out)
{
    return clock == 0 ? give(device, out, 1785) : NOT_SUPPORTED;
}

API int nvmlDeviceGetMemoryInfo(void *device, struct memory *out);
API int nvmlDeviceGetMemoryInfo(void *device, struct memory *out)
{
    int rc = answer(device);
    if (rc == OK)
        *out = (struct memory){6442450944ull, 5368709120ull, 1073741824ull};
    if (rc == OK && mode_is("absurd", NULL))
        out->used = 2 * out->total;
    return rc;
}

API int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *out);
API int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *out)
{
    return give_large(device, out, 0x4 | 0x8 | 0x20);
}

#ifndef FAKE_NVML_OLD

API int nvmlDeviceGetTemperatureThreshold(void *device, int threshold, unsigned *out);
API int nvmlDeviceGetTemperatureThreshold(void *device, int threshold, unsigned *out)
{
    static const unsigned limits[] = {96, 93};
    return threshold == 0 || threshold == 1 ? give(device, out, limits[threshold]) : NOT_SUPPORTED;
}

API int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *out);
API int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *out)
{
    return give(device, out, 125000);
}

API int nvmlDeviceGetMaxClockInfo(void *device, int clock, unsigned *out);
API int nvmlDeviceGetMaxClockInfo(void *device, int clock, unsigned *out)
{
    return clock == 0 ? give(device, out, 2130) : NOT_SUPPORTED;
}

API int nvmlDeviceGetUtilizationRates(void *device, struct utilization *out);
API int nvmlDeviceGetUtilizationRates(void *device, struct utilization *out)
{
    int rc = answer(device);
    if (rc == OK)
        *out = mode_is("absurd", NULL) ? (struct utilization){101, 101} : (struct utilization){98, 40};
    return rc;
}

/* A hundred watts. */
API int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *out);
API int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *out)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return give_large(device, out,
                      (unsigned long long)ts.tv_sec * 100000 + (unsigned long long)ts.tv_nsec / 10000);
}

#endif
