/* SPDX-License-Identifier: MIT
 * Whether the machine runs on its battery, as Linux says of its power supplies. */
#include <stdio.h>
#include <string.h>

#include "pacer/source.h"

enum { MAX_SUPPLIES = 16 };
#define EVERY_NS UINT64_C(2000000000) // asking costs a laptop's controller some time

struct battery {
    char dir[LG_SYSFS_PATH];
    uint64_t at_ns;
    bool known, discharging;
};

/* What one supply says: it discharges (1), it does not or feeds the machine (0), nothing (-1). */
static int ask(const char *dir, const char *name)
{
    char path[LG_SYSFS_PATH], type[32], text[32];
    double online;
    if (!lg_sysfs_path(path, sizeof(path), dir, name) || !lg_sysfs_text(path, "type", type, sizeof(type)))
        return -1;
    if (strcmp(type, "Mains") == 0 || strcmp(type, "USB") == 0)
        return lg_sysfs_number(path, "online", &online) && online == 1 ? 0 : -1;
    if (strcmp(type, "Battery") != 0)
        return -1;
    if (lg_sysfs_text(path, "scope", text, sizeof(text)) && strcmp(text, "Device") == 0) // a mouse's
        return -1;
    if (!lg_sysfs_text(path, "status", text, sizeof(text)) || strcmp(text, "Unknown") == 0)
        return -1;
    return strcmp(text, "Discharging") == 0;
}

static void refresh(struct battery *b)
{
    char names[MAX_SUPPLIES][LG_SYSFS_NAME];
    uint32_t n = lg_sysfs_list(b->dir, "", names, MAX_SUPPLIES);
    b->known = b->discharging = false;
    for (uint32_t i = 0; i < n; i++) {
        int answer = ask(b->dir, names[i]);
        b->known |= answer >= 0;
        b->discharging |= answer == 1;
    }
}

static void *battery_open(struct lg_env *env, const struct lg_place *place, char why[LG_SOURCE_WHY])
{
    char names[1][LG_SYSFS_NAME], dir[LG_SYSFS_PATH];
    if (!lg_sysfs_path(dir, sizeof(dir), place->root, "sys/class/power_supply") ||
        !lg_sysfs_list(dir, "", names, 1)) {
        snprintf(why, LG_SOURCE_WHY, "the machine tells of no power supply");
        return NULL;
    }
    struct battery *b = lg_alloc(env, sizeof(*b));
    if (b)
        memcpy(b->dir, dir, sizeof(dir));
    return b;
}

static void battery_read(void *source, uint64_t now_ns, struct lg_readings *out)
{
    struct battery *b = source;
    if (!b->at_ns || now_ns - b->at_ns >= EVERY_NS) {
        refresh(b);
        b->at_ns = now_ns;
    }
    if (b->known)
        lg_reading_set(out, LG_MEASURE_ON_BATTERY, b->discharging, b->at_ns, "battery");
}

static void battery_close(struct lg_env *env, void *source)
{
    lg_free(env, source);
}

const struct lg_source_ops lg_source_battery = {
    .name = "battery",
    .open = battery_open,
    .read = battery_read,
    .close = battery_close,
};
