/* SPDX-License-Identifier: MIT
 *
 * What sensors say in text. The first byte says which: a number, bits, a line of nvidia-smi, the place of a
 * GPU, a list of clocks, lines of keys. Whatever the bytes are: there is no value, or one that can be; and a
 * number written out again is the same.
 */
#include "fuzz.h"
#include "pacer/source.h"
#include "test.h"

static void use_number(const char *text, size_t len)
{
    double value, again;
    char out[64];
    if (!lg_parse_number(text, len, &value))
        return;
    REQUIRE(isfinite(value) && fabs(value) < 1e19);
    snprintf(out, sizeof(out), "%.17f", value);
    if (strlen(out) < 18)
        REQUIRE(lg_parse_number(out, strlen(out), &again) && again == value);
}

static void use_hex(const char *text, size_t len)
{
    uint64_t bits, again;
    char out[32];
    if (!lg_parse_hex(text, len, &bits))
        return;
    snprintf(out, sizeof(out), "0x%" PRIx64, bits);
    REQUIRE(lg_parse_hex(out, strlen(out), &again) && again == bits);
}

static void use_smi(const char *text, size_t len)
{
    struct lg_readings r = {0};
    lg_smi_parse(text, len, 1, &r);
    for (int i = 0; i < LG_N_MEASURES; i++) {
        const struct lg_reading *m = &r.of[i];
        REQUIRE(!m->known ||
                (m->value >= lg_measures[i].min && m->value <= lg_measures[i].max && m->at_ns == 1));
        REQUIRE(m->known || (m->value == 0 && !m->source));
    }
}

static void use_uevent(const char *text, size_t len)
{
    struct lg_pci pci, again;
    char out[LG_PCI_TEXT];
    (void)len;
    if (!lg_parse_uevent(text, &pci))
        return;
    REQUIRE(pci.known && pci.bus < 256 && pci.device < 32 && pci.function < 8);
    lg_pci_format(&pci, out);
    REQUIRE(lg_pci_parse(out, &again) && lg_pci_same(&pci, &again));
}

static void use_levels(const char *text, size_t len)
{
    double mhz;
    (void)len;
    if (lg_amdgpu_max_clock(text, &mhz))
        REQUIRE(isfinite(mhz));
}

static void use_lines(const char *text, size_t len)
{
    double value;
    (void)len;
    if (lg_sysfs_line(text, "MemTotal", &value))
        REQUIRE(strstr(text, "MemTotal"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const uses[])(const char *, size_t) = {use_number, use_hex,    use_smi,
                                                         use_uevent, use_levels, use_lines};
    if (size < 1)
        return 0;
    char *text = malloc(size); // of just this size, so that a sanitizer sees a read beyond it
    REQUIRE(text);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    uses[data[0] % (sizeof(uses) / sizeof(*uses))](text, size - 1);
    free(text);
    return 0;
}
