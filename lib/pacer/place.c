/* SPDX-License-Identifier: MIT
 * Where the GPUs of a machine are, as Linux tells it. */
#include <string.h>

#include "pacer/source.h"

enum { MAX_CARDS = 64 };

bool lg_parse_uevent(const char *text, struct lg_pci *out)
{
    static const char key[] = "PCI_SLOT_NAME=";
    char slot[32];
    const char *at = strstr(text, key);
    if (!at || (at != text && at[-1] != '\n'))
        return false;
    at += strlen(key);
    size_t n = strcspn(at, "\n");
    if (n >= sizeof(slot))
        return false;
    memcpy(slot, at, n);
    slot[n] = '\0';
    return lg_pci_parse(slot, out);
}

struct lg_pci lg_place_only_gpu(const char *root)
{
    const struct lg_pci unknown = {0};
    char drm[LG_SYSFS_PATH], path[LG_SYSFS_PATH], cards[MAX_CARDS][LG_SYSFS_NAME], text[LG_SYSFS_TEXT];
    struct lg_pci found = unknown;
    if (!lg_sysfs_path(drm, sizeof(drm), root, "sys/class/drm"))
        return unknown;
    uint32_t n = lg_sysfs_list(drm, "card", cards, MAX_CARDS);
    for (uint32_t i = 0; i < n; i++) {
        struct lg_pci pci;
        if (strchr(cards[i], '-') ||
            !lg_sysfs_path(path, sizeof(path), drm, cards[i]) || // connectors have a dash
            !lg_sysfs_text(path, "device/uevent", text, sizeof(text)) || !lg_parse_uevent(text, &pci))
            continue;
        if (found.known && !lg_pci_same(&pci, &found))
            return unknown;
        found = pci;
    }
    return found;
}
