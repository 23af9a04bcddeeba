#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The names in the built library: symbols.py NM STATIC.a SHARED.so [--release]

Every global name of the static library has our prefix, and the shared library exports the public ones alone. Neither
asks for a function that ends the process or prints; in a release not even assert() does.
"""
import subprocess
import sys

import source

OURS = ("llmgpu_", "lg_")
FORBIDDEN = {
    "abort", "exit", "_exit", "_Exit", "quick_exit", "raise", "system", "popen", "fork", "getenv", "secure_getenv",
    "setenv", "perror", "printf", "vprintf", "fprintf", "vfprintf", "dprintf", "puts", "putchar", "fputs", "fputc", "putc",
    "__printf_chk", "__fprintf_chk", "__vprintf_chk", "__vfprintf_chk", "__dprintf_chk", "stdout", "stderr", "setlocale",
}


def symbols(nm, *arguments):
    """(member, kind, name) of each symbol; kind U is an undefined one."""
    output = subprocess.run([nm, "-A", "-P", *arguments], check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        member, name, kind = line.split(": ", 1)[0], *line.split(": ", 1)[1].split()[:2]
        yield member, kind, name.split("@")[0]


def main():
    nm, static, shared = sys.argv[1:4]
    forbidden = FORBIDDEN | ({"__assert_fail"} if "--release" in sys.argv else set())
    problems, count = [], 0
    for member, kind, name in symbols(nm, "-g", static):
        if kind in "Uw":
            if name in forbidden:
                problems.append(f"{member}: uses {name}()")
            continue
        count += 1
        if not name.startswith(OURS):
            problems.append(f"{member}: the global name {name} begins with none of {', '.join(OURS)}")
    exported = [name for _, _, name in symbols(nm, "-D", "--defined-only", shared)]
    for name in exported:
        if not name.startswith(("llmgpu_", "LLMGPU_")):
            problems.append(f"{shared}: exports {name}")
    if not count or not exported:
        problems.append(f"no symbols found in {static} or {shared}")
    print(f"{count} global names, {len(exported)} exported")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
