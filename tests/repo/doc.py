#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the reference of the public headers, in which nothing may be undocumented: doc.py DOXYFILE"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import source

SKIP = 77


def main():
    if not shutil.which("doxygen"):
        print("no doxygen here")
        return SKIP
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = file.read()
    with tempfile.TemporaryDirectory() as folder:
        index = os.path.join(folder, "index.xml")
        settings += f"\nOUTPUT_DIRECTORY = {folder}\nGENERATE_TAGFILE = {index}\n"
        result = subprocess.run(["doxygen", "-"], input=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        problems = [line for line in result.stdout.splitlines() if line.strip()]
        if result.returncode and not problems:
            problems.append(f"doxygen: exit {result.returncode}")
        with open(index, encoding="utf-8") as file:
            documented = set(re.findall(r"<name>(llmgpu_\w+)</name>", file.read()))
    functions = source.public_functions()
    problems += [f"{name}() is not in the reference" for name in functions if name not in documented]
    print(f"{len(functions)} functions documented")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
