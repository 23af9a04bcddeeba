#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns the list of kernels into C.

    gen_kernels.py header OUT.h NAME:ACCESS ...
        LG_KERNELS(X) with one X(name, n_views, "access") per kernel, and the enum
    gen_kernels.py spirv OUT.c NAME:ACCESS:FILE.spv ...
        the SPIR-V words of every kernel, packed, none where no file is named, after holding the declared access of each binding against the module's own
        NonWritable and NonReadable decorations
"""
import struct
import sys


def fail(message):
    sys.exit(f"gen_kernels.py: {message}")


def write_header(out, specs):
    rows = [s.split(":") for s in specs]
    with open(out, "w") as f:
        f.write("/* Generated from kernels/meson.build. */\n#ifndef LG_KERNELS_GEN_H\n#define LG_KERNELS_GEN_H\n\n")
        f.write("#define LG_KERNELS(X) \\\n")
        f.write(" \\\n".join(f'    X({name}, {len(access)}, "{access}")' for name, access in rows))
        f.write("\n\nenum lg_kernel {\n")
        for name, _ in rows:
            f.write(f"    LG_K_{name.upper()},\n")
        f.write("    LG_K_COUNT\n};\n\n#endif\n")


def binding_access(words):
    """{binding: 'i' | 'o' | 'x'} of a module's storage buffers."""
    op_member_decorate, op_decorate, op_type_pointer, op_variable = 72, 71, 32, 59
    non_writable, non_readable, binding, storage_buffer = 24, 25, 33, 12
    binding_of, flags, members, pointee, variables = {}, {}, {}, {}, []
    i = 5
    while i < len(words):
        op, n = words[i] & 0xFFFF, words[i] >> 16
        a = words[i + 1 : i + n]
        if op == op_decorate and a[1] == binding:
            binding_of[a[0]] = a[2]
        elif op == op_decorate and a[1] in (non_writable, non_readable):
            flags.setdefault(a[0], set()).add(a[1])
        elif op == op_member_decorate and a[2] in (non_writable, non_readable):
            members.setdefault(a[0], set()).add(a[2])
        elif op == op_type_pointer:
            pointee[a[0]] = a[2]
        elif op == op_variable and a[2] == storage_buffer:
            variables.append((a[1], a[0]))
        i += n
    access = {}
    for var, type_id in variables:
        f = flags.get(var, set()) | members.get(pointee[type_id], set())
        access[binding_of[var]] = "i" if non_writable in f else "o" if non_readable in f else "x"
    return access


def pack(words):
    """Seven bits of a word in a byte, the lowest first, and the eighth bit set while there are more: half the size."""
    packed = bytearray()
    for word in words:
        while word >= 128:
            packed.append(word & 127 | 128)
            word >>= 7
        packed.append(word)
    return packed


def write_spirv(out, specs):
    with open(out, "w") as f:
        f.write('/* Generated from kernels/meson.build. */\n#include "device/vulkan/spirv.h"\n\n')
        table = []
        for spec in specs:
            name, access, path = spec.split(":", 2)
            if not path:
                table.append("    {0},\n")
                continue
            data = open(path, "rb").read()
            words = struct.unpack(f"<{len(data) // 4}I", data)
            found = binding_access(words)
            found = "".join(found.get(b, "?") for b in range(max(found, default=-1) + 1))
            if found != access:
                fail(f"kernel '{name}' is declared with access '{access}', but its source has '{found}'")
            packed = pack(words)
            f.write(f"static const uint8_t {name}_packed[] = {{\n")
            for i in range(0, len(packed), 24):
                f.write("    " + "".join(f"{b}," for b in packed[i : i + 24]) + "\n")
            f.write("};\n")
            table.append(f"    {{{name}_packed, sizeof({name}_packed), {len(words)}}},\n")
        f.write("\nconst struct lg_spirv lg_spirv_modules[LG_K_COUNT] = {\n" + "".join(table) + "};\n")


if __name__ == "__main__":
    {"header": write_header, "spirv": write_spirv}[sys.argv[1]](sys.argv[2], sys.argv[3:])
