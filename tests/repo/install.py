#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs the build into a fresh folder and builds against what is there alone.

    install.py BUILD pkgconfig|cmake|meson CC...

The project of that name in tests/consumers is built, in C and where there is a compiler in C++, with the shared library
and with the static one; what comes out answers from the bundled model. The installed command is asked for its version.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import source

SKIP = 77
CONSUMERS = os.path.join(source.ROOT, "tests", "consumers")
MODEL = os.path.join(source.ROOT, "examples", "models", "tavern-3.7m-q8_0.gguf")


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


def pkgconfig(folder, environment):
    output([os.path.join(CONSUMERS, "pkgconfig", "build.sh"), folder], environment)


def cmake(folder, environment):
    # pkg-config is not to help: the package file alone says where things are.
    prefix = os.path.dirname(find(environment["PKG_CONFIG_SYSROOT_DIR"], "llmgpuConfig.cmake"))
    environment = dict(environment, CMAKE_PREFIX_PATH=prefix[: prefix.rindex("/lib")], PKG_CONFIG_PATH="")
    output(["cmake", "-G", "Ninja", "-S", os.path.join(CONSUMERS, "cmake"), "-B", folder], environment)
    output(["cmake", "--build", folder], environment)


def meson(folder, environment):
    output(["meson", "setup", folder, os.path.join(CONSUMERS, "meson")], environment)
    output(["ninja", "-C", folder], environment)


def check(folder, environment, cpp):
    """Runs the programs; all must say the same."""
    answers = set()
    for language in ["c", "cpp"] if cpp else ["c"]:
        for kind in ("shared", "static"):
            program = os.path.join(folder, f"{language}-{kind}")
            answers.add(output([program, MODEL], environment))
            needed = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
            if bool(re.search(r"NEEDED.*\[libllmgpu\.so\.\d+\]", needed)) != (kind == "shared"):
                sys.exit(f"{language}-{kind} is not linked as it says")
    if len(answers) != 1 or not answers.pop().strip():
        sys.exit("the programs do not give the same answer")


def main():
    build, kind, cc = sys.argv[1], sys.argv[2], sys.argv[3:]
    tool = {"pkgconfig": "pkg-config"}.get(kind, kind)
    if not shutil.which(tool):
        print(f"no {tool} here")
        return SKIP
    cpp = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), "")
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, DESTDIR=root)
        output(["meson", "install", "-C", build, "--no-rebuild", "--quiet"], environment)
        lib = find(root, "libllmgpu.so")
        for header in source.files("include", suffixes=(".h", ".hpp")):
            find(root, os.path.basename(header))
        environment = dict(os.environ, LD_LIBRARY_PATH=lib, PKG_CONFIG_SYSROOT_DIR=root, CC=" ".join(cc), CXX=cpp)
        environment["PKG_CONFIG_PATH"] = find(root, "llmgpu.pc") + ":" + os.environ.get("PKG_CONFIG_PATH", "")
        {"pkgconfig": pkgconfig, "cmake": cmake, "meson": meson}[kind](folder, environment)
        check(folder, environment, cpp)
        output([os.path.join(find(root, "llmgpu"), "llmgpu"), "--version"], environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
