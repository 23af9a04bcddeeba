#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles each public header alone, as a strict program of an old language: headers.py c|c++ HEADER... -- CC..."""
import os
import shutil
import subprocess
import sys

import source

SKIP = 77


def compiler(language, cc):
    if language == "c":
        return [*cc, "-x", "c", "-std=c99"]
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name, "-x", "c++", "-std=c++11"]
    print("no C++ compiler here")
    sys.exit(SKIP)


def main():
    language, split = sys.argv[1], sys.argv.index("--")
    command = compiler(language, sys.argv[split + 1 :])
    command += ["-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    command += ["-I", os.path.join(source.ROOT, "include"), "-"]
    problems = []
    for header in sys.argv[2:split]:
        # Twice, so that a missing guard shows; and a use, so that the file is not empty.
        name = os.path.relpath(header, os.path.join(source.ROOT, "include"))
        text = f"#include <{name}>\n#include <{name}>\nextern int used;\n"
        result = subprocess.run(command, input=text, capture_output=True, text=True)
        if result.returncode:
            problems.append(f"{name} does not compile alone:\n{result.stderr}")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
