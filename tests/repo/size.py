#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The size of the installed, stripped library, with every kernel in it: size.py BUILD STRIP SPIRV KERNEL...

SPIRV is how many kernels must be there as SPIR-V: those that are not of the CPU device alone, or 0 in a build without
Vulkan.
"""
import os
import subprocess
import sys
import tempfile

import source

PROMISED = 6_000_000 # bytes, what the library stays under whatever joins it
EXPECTED = 5_700_000 # little above what it is; to be raised when a feature is worth it. Training has 900 KB of it

MAGIC = bytes([0x83, 0x84, 0x8c, 0x39, 0x80, 0x8a, 0x04]) # begins each SPIR-V module: 0x07230203 and the version 1.5, packed


def main():
    build, strip, spirv, kernels = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet"], check=True,
                       env=dict(os.environ, DESTDIR=root))
        found = [os.path.join(path, name) for path, _, names in os.walk(root) for name in names
                 if name.startswith("libllmgpu.so.") and not os.path.islink(os.path.join(path, name))]
        if len(found) != 1:
            return source.report([f"installed: {found}, not one library"])
        subprocess.run([strip, found[0]], check=True)
        with open(found[0], "rb") as file:
            content = file.read()
    # A linker may let a name be the end of another string.
    problems = [f"the kernel {name} is not in it" for name in kernels if name.encode() + b"\0" not in content]
    if content.count(MAGIC) != spirv:
        problems.append(f"{content.count(MAGIC)} SPIR-V modules, not {spirv}")
    for limit in (PROMISED, EXPECTED):
        if len(content) > limit:
            problems.append(f"{len(content)} bytes, more than {limit}")
    print(f"{len(content)} bytes, {content.count(MAGIC)} SPIR-V modules, {len(kernels)} kernels")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
