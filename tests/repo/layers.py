#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The structure of the tree: who includes whom, who names Vulkan, and what the library never calls."""
import os
import re
import sys

import source

# From the lowest; a layer includes itself and those before it.
LAYERS = ["util", "gguf", "text", "device", "chain", "model", "graph", "runtime", "train", "pacer", "api"]

VULKAN = re.compile(r"\b(Vk[A-Z]\w*|vk[A-Z]\w*|VK_[A-Z]\w*|PFN_vk\w*|volk\w*)\b")
VULKAN_AT_HOME = ("lib/device/vulkan/", "examples/renderer/", "examples/host_vulkan.c")

# A library in somebody's process does not end it, talk to its terminal, or change with its environment.
FORBIDDEN = re.compile(
    r"(?<![\w.>])(?<!format\()(abort|exit|_exit|_Exit|quick_exit|raise|system|popen|fork|getenv|secure_getenv|setenv|perror|printf|"
    r"vprintf|fprintf|vfprintf|dprintf|puts|putchar|fputs|fputc|putc|stdout|stderr|setlocale)\b(?=\s*[(,;)])")


def includes(path):
    for number, line in enumerate(source.read(path).split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if match:
            yield number, match[1], match[2]


def layer(path):
    """The layer that a path from lib/ belongs to; None for what is outside all."""
    first = path.split("/")[0]
    return first if first in LAYERS else None


def check_include(path, number, quote, name):
    """A sentence about an #include of a file of lib/ that may not be there."""
    mine, theirs = layer(path[len("lib/"):]), layer(name)
    where = f"{path}:{number}: includes {name}"
    if mine is None:
        return f"{path}: lies in no layer"
    if theirs is None:
        return None
    if quote == "<":
        return f"{where} in angle brackets"
    if not os.path.exists(os.path.join(source.ROOT, "lib", name)):
        return f"{where}, which does not exist"
    if LAYERS.index(theirs) > LAYERS.index(mine):
        return f"{where}, but {mine} lies below {theirs}"
    for backend in ("device/vulkan/", "device/cpu/"):
        if name.startswith(backend) and not path.startswith("lib/" + backend):
            return f"{where}, which is private to lib/{backend}"
    return None


def main():
    problems = []
    for path in source.files("lib", suffixes=(".c", ".h")):
        for number, quote, name in includes(path):
            problem = check_include(path, number, quote, name)
            if problem:
                problems.append(problem)
        for number, line in enumerate(source.strip(source.read(path)).split("\n"), 1):
            for match in FORBIDDEN.finditer(line):
                problems.append(f"{path}:{number}: the library must not use {match[1]}")
    for path in source.files("lib", "include", "examples", suffixes=(".c", ".h")):
        if path.startswith(VULKAN_AT_HOME):
            continue
        for number, line in enumerate(source.strip(source.read(path)).split("\n"), 1):
            match = VULKAN.search(line)
            if match:
                problems.append(f"{path}:{number}: names {match[1]} outside {VULKAN_AT_HOME[0]}")
    for path in source.files("examples", suffixes=(".c", ".h")):
        for number, quote, name in includes(path):
            if layer(name):
                problems.append(f"{path}:{number}: an example includes {name}, which is not public")
    for path in source.files("include", suffixes=(".h",)):
        for number, quote, name in includes(path):
            if quote == '"' and not name.startswith("llmgpu/"):
                problems.append(f"{path}:{number}: a public header includes {name}, which is not installed")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
