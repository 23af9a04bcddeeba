/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

/* Hexadecimal digits that end in `end`, behind which *text is put. */
static bool take_hex(const char **text, char end, uint32_t max, uint32_t *out)
{
    size_t n = strspn(*text, "0123456789abcdefABCDEF");
    if (n == 0 || n > 8 || (*text)[n] != end)
        return false;
    unsigned long value = strtoul(*text, NULL, 16);
    *text += n + (end != '\0');
    *out = (uint32_t)value;
    return value <= max;
}

bool lg_pci_parse(const char *text, struct lg_pci *out)
{
    struct lg_pci pci = {.known = true};
    if (!take_hex(&text, ':', UINT32_MAX, &pci.domain) || !take_hex(&text, ':', 0xff, &pci.bus) ||
        !take_hex(&text, '.', 0x1f, &pci.device) || !take_hex(&text, '\0', 7, &pci.function))
        return false;
    *out = pci;
    return true;
}

void lg_pci_format(const struct lg_pci *pci, char out[LG_PCI_TEXT])
{
    snprintf(out, LG_PCI_TEXT, "%04x:%02x:%02x.%x", pci->domain, pci->bus, pci->device, pci->function);
}

bool lg_pci_same(const struct lg_pci *a, const struct lg_pci *b)
{
    return a->known && b->known && a->domain == b->domain && a->bus == b->bus && a->device == b->device &&
           a->function == b->function;
}
