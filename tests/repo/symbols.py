#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The names in the built library: symbols.py NM STATIC.a SHARED.so [--release]

Every global name of the static library has our prefix. The shared library exports what the headers declare, each name
with the version that lib/llmgpu.map gives it, and nothing else. Neither asks for a function that ends the process or
prints; in a release not even assert() does.
"""
import re
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
        yield member, kind, name


def mapped(text):
    """The names of a version script: {name: the node it is in}."""
    found = {}
    for node, body in re.findall(r"(\w+)\s*{([^}]*)}", source.strip(text)):
        exports = re.sub(r"\blocal:[^:]*", "", body)
        found.update((name, node) for name in re.findall(r"(\S+);", exports))
    return found


def declared():
    """What the headers ask for: {name: the node it must be in}."""
    abi = re.search(r"#define LLMGPU_ABI_VERSION (\d+)", source.read("include/llmgpu/version.h"))[1]
    nodes = {False: f"LLMGPU_{abi}", True: "LLMGPU_EXPERIMENTAL"}
    return {name: nodes[experimental] for name, experimental in source.public_functions().items()}


def exported(nm, shared):
    """What the library exports: {name: its version}; the versions' own names are left out."""
    found = {}
    for _, kind, name in symbols(nm, "-D", "--defined-only", shared):
        name, _, version = name.partition("@")
        if kind != "A":
            found[name] = version.lstrip("@")
    return found


def compare(one, ours, other, theirs):
    """Sentences about what differs between two tables of names."""
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {one}: {ours.get(name, 'absent')}; {other}: {theirs.get(name, 'absent')}"


def main():
    nm, static, shared = sys.argv[1:4]
    forbidden = FORBIDDEN | ({"__assert_fail"} if "--release" in sys.argv else set())
    problems, count = [], 0
    for member, kind, name in symbols(nm, "-g", static):
        if kind in "Uw":
            if name.split("@")[0] in forbidden:
                problems.append(f"{member}: uses {name}()")
            continue
        count += 1
        if not name.startswith(OURS):
            problems.append(f"{member}: the global name {name} begins with none of {', '.join(OURS)}")
    names = exported(nm, shared)
    problems += compare("the headers", declared(), "lib/llmgpu.map", mapped(source.read("lib/llmgpu.map")))
    problems += compare("the headers", declared(), shared, names)
    if not count or not names:
        problems.append(f"no symbols found in {static} or {shared}")
    print(f"{count} global names, {len(names)} exported")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
