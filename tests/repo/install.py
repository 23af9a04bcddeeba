#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs the build into a fresh folder and builds against what is there alone: install.py BUILD CC...

A program is linked with what pkg-config says, once with the shared library and once with the static one, and run; the
installed command is asked for its version.
"""
import os
import subprocess
import sys
import tempfile

PROGRAM = """
#include <llmgpu/llmgpu.h>
#include <stdio.h>

int main(void)
{
    llmgpu_device_list *list;
    if (llmgpu_device_list_create(&list) < 0)
        return 1;
    printf("llmgpu %s, %u devices\\n", llmgpu_version(), (unsigned)llmgpu_device_list_count(list));
    llmgpu_device_list_free(list);
    return 0;
}
"""


def find(folder, name):
    """The folder below `folder` that holds the file `name`."""
    for path, _, names in os.walk(folder):
        if name in names:
            return path
    sys.exit(f"{name} was not installed")


def output(command, environment):
    print("$", " ".join(command))
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    print(result.stdout, end="")
    if result.returncode:
        sys.exit(result.returncode)
    return result.stdout


def main():
    build, cc = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as root:
        environment = dict(os.environ, DESTDIR=root)
        output(["meson", "install", "-C", build, "--no-rebuild", "--quiet"], environment)
        lib = find(root, "libllmgpu.so")
        find(root, "llmgpu.h")
        environment = dict(os.environ, LD_LIBRARY_PATH=lib, PKG_CONFIG_SYSROOT_DIR=root)
        environment["PKG_CONFIG_PATH"] = find(root, "llmgpu.pc") + ":" + os.environ.get("PKG_CONFIG_PATH", "")
        source, program = os.path.join(root, "program.c"), os.path.join(root, "program")
        with open(source, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        flags = output(["pkg-config", "--cflags", "--libs", "llmgpu"], environment).split()
        output([*cc, source, "-o", program, *flags], environment)
        output([program], environment)
        # The archive by its name, in the place of the shared library; then what it needs in turn.
        flags = output(["pkg-config", "--static", "--cflags", "--libs", "llmgpu"], environment).split()
        flags = [os.path.join(lib, "libllmgpu.a") if flag == "-lllmgpu" else flag for flag in flags]
        output([*cc, source, "-o", program, *flags], environment)
        output([program], environment)
        output([os.path.join(find(root, "llmgpu"), "llmgpu"), "--version"], environment)


if __name__ == "__main__":
    main()
