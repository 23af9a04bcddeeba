#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles each public header alone, as a strict program of an old language: headers.py c|c++ HEADER... -- CC...

C headers are C99 and C++11, with and without what is experimental; C++ headers (.hpp) are C++17. Every compiler that is
here is asked.
"""
import os
import shutil
import subprocess
import sys

import source

SKIP = 77
INCLUDE = os.path.join(source.ROOT, "include")


def compilers(language, cc):
    """The commands to ask, each once."""
    names = [cc, ["gcc"], ["clang"]] if language == "c" else [["g++"], ["clang++"], ["c++"]]
    found = {}
    for command in names:
        path = shutil.which(command[0])
        if path:
            found.setdefault(os.path.realpath(path), command)
    return list(found.values())


def check(compiler, header, language, defines):
    """The compiler's complaints about a header that stands alone."""
    standard = "c99" if language == "c" else "c++17" if header.endswith(".hpp") else "c++11"
    command = [*compiler, "-x", language, f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror",
               "-fsyntax-only", "-I", INCLUDE, *defines, "-"]
    # Twice, so that a missing guard shows; and a use, so that the file is not empty.
    text = f"#include <{header}>\n#include <{header}>\nextern int used;\n"
    return subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def main():
    language, split = sys.argv[1], sys.argv.index("--")
    commands = compilers(language, sys.argv[split + 1 :])
    if not commands:
        print(f"no {language} compiler here")
        return SKIP
    problems = []
    for header in [os.path.relpath(path, INCLUDE) for path in sys.argv[2:split]]:
        for compiler in commands:
            for defines in ([], ["-DLLMGPU_EXPERIMENTAL"]):
                complaints = check(compiler, header, language, defines)
                if complaints:
                    problems.append(f"{' '.join(compiler + defines)}: {header}:\n{complaints}")
    print(f"asked: {', '.join(' '.join(command) for command in commands)}")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
