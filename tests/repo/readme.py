#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the examples of the README: readme.py BUILD CC...

Blocks marked `sh` run in a fresh folder with the built command on the PATH and the bundled model under its path; blocks
marked `c` are compiled against the built library, warnings being errors, and run there without arguments.
"""
import os
import re
import subprocess
import sys
import tempfile

import source


def blocks(text):
    """(first line, language, text) of each fenced block."""
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.S | re.M):
        yield text.count("\n", 0, match.start()) + 1, match[1], match[2]


def run(command, folder, environment, text=None):
    return subprocess.run(command, cwd=folder, env=environment, input=text, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run_c(text, folder, environment, build, cc):
    with open(os.path.join(folder, "example.c"), "w", encoding="utf-8") as file:
        file.write(text)
    lib = os.path.join(build, "lib")
    compiled = run([*cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(source.ROOT, "include"), "example.c",
                    "-o", "example", "-L", lib, "-lllmgpu", f"-Wl,-rpath,{lib}"], folder, environment)
    return compiled if compiled.returncode else run(["./example"], folder, environment)


def main():
    build, cc = os.path.abspath(sys.argv[1]), sys.argv[2:]
    environment = dict(os.environ)
    environment["PATH"] = os.path.join(build, "examples", "llmgpu") + ":" + environment["PATH"]
    problems, count = [], 0
    for line, language, text in blocks(source.read("README.md")):
        if language not in ("sh", "c"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.join(source.ROOT, "examples"), os.path.join(folder, "examples"))
            environment["XDG_CACHE_HOME"] = os.path.join(folder, "cache")
            if language == "sh":
                result = run(["sh", "-eu"], folder, environment, text)
            else:
                result = run_c(text, folder, environment, build, cc)
            count += 1
            print(f"README.md:{line}: {language}: exit {result.returncode}\n{result.stdout}")
            if result.returncode or not result.stdout.strip():
                problems.append(f"README.md:{line}: the {language} example failed or printed nothing")
    if not count:
        problems.append("README.md: no examples found")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
