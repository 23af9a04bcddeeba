/* SPDX-License-Identifier: MIT
 *
 * NVIDIA's management library, loaded at run time and declared here as far as it is used. Any function may be
 * missing, and any may answer that this card or driver does not know: then that is unknown.
 */
#include <dlfcn.h>
#include <stdio.h>

#include "pacer/source.h"

/* Numbers of its interface. */
enum {
    NVML_OK = 0,
    NVML_NOT_FOUND = 6,
    NVML_TEMPERATURE_GPU = 0,
    NVML_THRESHOLD_SHUTDOWN = 0,
    NVML_THRESHOLD_SLOWDOWN = 1,
    NVML_CLOCK_GRAPHICS = 0,
};

struct nvml_device; // its handle

struct nvml_memory {
    unsigned long long total, free, used; // bytes
};

struct nvml_utilization {
    unsigned gpu, memory; // percent
};

/* Name, and the parameters behind its prefix; those of REQUIRED must be there. */
#define REQUIRED(X)         \
    X(nvmlInit_v2, (void))  \
    X(nvmlShutdown, (void)) \
    X(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, struct nvml_device **out))
#define OPTIONAL(X)                                                                                       \
    X(nvmlDeviceGetTemperature, (struct nvml_device * dev, int sensor, unsigned *celsius))                \
    X(nvmlDeviceGetTemperatureThreshold, (struct nvml_device * dev, int threshold, unsigned *celsius))    \
    X(nvmlDeviceGetPowerUsage, (struct nvml_device * dev, unsigned *milliwatts))                          \
    X(nvmlDeviceGetEnforcedPowerLimit, (struct nvml_device * dev, unsigned *milliwatts))                  \
    X(nvmlDeviceGetClockInfo, (struct nvml_device * dev, int clock, unsigned *mhz))                       \
    X(nvmlDeviceGetMaxClockInfo, (struct nvml_device * dev, int clock, unsigned *mhz))                    \
    X(nvmlDeviceGetCurrentClocksThrottleReasons, (struct nvml_device * dev, unsigned long long *reasons)) \
    X(nvmlDeviceGetCurrentClocksEventReasons, (struct nvml_device * dev, unsigned long long *reasons))    \
    X(nvmlDeviceGetUtilizationRates, (struct nvml_device * dev, struct nvml_utilization * out))           \
    X(nvmlDeviceGetMemoryInfo, (struct nvml_device * dev, struct nvml_memory * out))                      \
    X(nvmlDeviceGetTotalEnergyConsumption, (struct nvml_device * dev, unsigned long long *millijoules))

struct nvml {
    void *library;
    struct nvml_device *device;
#define MEMBER(name, parameters) int(*name) parameters;
    REQUIRED(MEMBER) OPTIONAL(MEMBER)
#undef MEMBER
};

static bool load(struct nvml *n, const char *name, char *why)
{
    const char *missing = NULL;
    n->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!n->library) {
        snprintf(why, LG_SOURCE_WHY, "%.80s cannot be loaded", name);
        return false;
    }
#define LOAD(function, parameters) n->function = (int(*) parameters)dlsym(n->library, #function);
#define LOAD_REQUIRED(function, parameters) \
    LOAD(function, parameters)              \
    if (!n->function)                       \
        missing = #function;
    REQUIRED(LOAD_REQUIRED)
    OPTIONAL(LOAD)
#undef LOAD_REQUIRED
#undef LOAD
    if (missing)
        snprintf(why, LG_SOURCE_WHY, "%.80s lacks %s", name, missing);
    return !missing;
}

static bool find_device(struct nvml *n, const struct lg_pci *pci, char *why)
{
    char id[LG_PCI_TEXT];
    int rc = n->nvmlInit_v2();
    if (rc != NVML_OK) {
        snprintf(why, LG_SOURCE_WHY, "nvmlInit_v2() answers %d", rc);
        return false;
    }
    lg_pci_format(pci, id);
    rc = n->nvmlDeviceGetHandleByPciBusId_v2(id, &n->device);
    if (rc == NVML_OK && n->device)
        return true;
    snprintf(why, LG_SOURCE_WHY,
             rc == NVML_NOT_FOUND ? "it knows no device at %s" : "it does not answer for %s", id);
    n->nvmlShutdown();
    return false;
}

static void *nvml_open(struct lg_env *env, const struct lg_place *place, char why[LG_SOURCE_WHY])
{
    const char *name = place->nvml ? place->nvml : "libnvidia-ml.so.1";
    const char *no = !*name                                               ? "it is not to be used"
                     : place->vendor && place->vendor != LG_VENDOR_NVIDIA ? "the device is not NVIDIA's"
                     : !place->pci.known ? "where the device is on the bus is not known"
                                         : NULL;
    if (no) {
        snprintf(why, LG_SOURCE_WHY, "%s", no);
        return NULL;
    }
    struct nvml *n = lg_alloc(env, sizeof(*n));
    if (!n)
        return NULL;
    if (load(n, name, why) && find_device(n, &place->pci, why))
        return n;
    if (n->library)
        dlclose(n->library);
    lg_free(env, n);
    return NULL;
}

uint32_t lg_nvidia_throttle(uint64_t reasons)
{
    static const struct {
        uint64_t bits;
        uint32_t throttle;
    } table[] = {
        {0x60, LG_THROTTLE_THERMAL}, // by software, by hardware
        {0x04, LG_THROTTLE_POWER},   // the cap
        {0x80, LG_THROTTLE_POWER},   // the brake
        // That it idles (1), clocks that were asked for (2, 0x100) and boosting with others (0x10) are
        // nobody's trouble.
    };
    uint32_t out = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (reasons & table[i].bits)
            out |= table[i].throttle;
    if (reasons & 0x08 && !out) // hardware, which then says why; old cards do not
        out = LG_THROTTLE_OTHER;
    return out;
}

static void read_throttle(const struct nvml *n, uint64_t now_ns, struct lg_readings *out)
{
    unsigned long long reasons;
    bool known = (n->nvmlDeviceGetCurrentClocksEventReasons &&
                  n->nvmlDeviceGetCurrentClocksEventReasons(n->device, &reasons) == NVML_OK) ||
                 (n->nvmlDeviceGetCurrentClocksThrottleReasons &&
                  n->nvmlDeviceGetCurrentClocksThrottleReasons(n->device, &reasons) == NVML_OK);
    if (known)
        lg_reading_set(out, LG_MEASURE_THROTTLE, lg_nvidia_throttle(reasons), now_ns, "nvml");
}

static void nvml_read(void *source, uint64_t now_ns, struct lg_readings *out)
{
    const struct nvml *n = source;
    unsigned value;
    unsigned long long large;
    struct nvml_memory memory = {0};
    struct nvml_utilization busy = {0};
#define ASK(function, ...) (n->function && n->function(n->device, __VA_ARGS__) == NVML_OK)
#define TAKE(measure, number) lg_reading_set(out, measure, number, now_ns, "nvml")
    if (ASK(nvmlDeviceGetTemperature, NVML_TEMPERATURE_GPU, &value))
        TAKE(LG_MEASURE_TEMPERATURE, value);
    if (ASK(nvmlDeviceGetTemperatureThreshold, NVML_THRESHOLD_SLOWDOWN, &value))
        TAKE(LG_MEASURE_TEMPERATURE_LIMIT, value);
    if (ASK(nvmlDeviceGetTemperatureThreshold, NVML_THRESHOLD_SHUTDOWN, &value))
        TAKE(LG_MEASURE_TEMPERATURE_CRITICAL, value);
    if (ASK(nvmlDeviceGetPowerUsage, &value))
        TAKE(LG_MEASURE_POWER, value * 1e-3);
    if (ASK(nvmlDeviceGetEnforcedPowerLimit, &value))
        TAKE(LG_MEASURE_POWER_LIMIT, value * 1e-3);
    if (ASK(nvmlDeviceGetClockInfo, NVML_CLOCK_GRAPHICS, &value))
        TAKE(LG_MEASURE_CLOCK, value);
    if (ASK(nvmlDeviceGetMaxClockInfo, NVML_CLOCK_GRAPHICS, &value))
        TAKE(LG_MEASURE_CLOCK_MAX, value);
    if (ASK(nvmlDeviceGetUtilizationRates, &busy))
        TAKE(LG_MEASURE_BUSY, busy.gpu * 1e-2);
    if (ASK(nvmlDeviceGetMemoryInfo, &memory)) {
        TAKE(LG_MEASURE_MEMORY_USED, (double)memory.used);
        TAKE(LG_MEASURE_MEMORY_TOTAL, (double)memory.total);
    }
    if (ASK(nvmlDeviceGetTotalEnergyConsumption, &large))
        TAKE(LG_MEASURE_ENERGY, (double)large * 1e-3);
#undef TAKE
#undef ASK
    read_throttle(n, now_ns, out);
}

static void nvml_close(struct lg_env *env, void *source)
{
    struct nvml *n = source;
    n->nvmlShutdown();
    dlclose(n->library);
    lg_free(env, n);
}

const struct lg_source_ops lg_source_nvml = {
    .name = "nvml",
    .of_device = true,
    .open = nvml_open,
    .read = nvml_read,
    .close = nvml_close,
};
