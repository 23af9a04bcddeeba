#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The form of the files: their first line, blanks, and the sizes of files and functions, whose numbers it prints."""
import re
import sys

import source

MAX_FILE = 1000
MAX_FUNCTION = 120
WHY = "one piece"  # what the comment above a longer function says, and why

SPDX = "SPDX-License-Identifier: MIT"
NEED_SPDX = (".c", ".h", ".cpp", ".hpp", ".comp", ".glsl", ".py", ".go", ".i", ".in", ".sh", ".build", ".cmake")


def check_text(path, text):
    """Sentences about the first line, tabs, trailing blanks and the end of a file."""
    lines = text.split("\n")
    first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
    if (path.endswith(NEED_SPDX) or lines[0].startswith("#!")) and SPDX not in first:
        yield f"{path}:1: the first line must be '{SPDX}'"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield f"{path}: must end with one newline"
    for number, line in enumerate(lines, 1):
        if "\t" in line and not path.endswith(".go"): # gofmt asks for them
            yield f"{path}:{number}: a tab"
        if "\r" in line or line != line.rstrip():
            yield f"{path}:{number}: trailing blanks"
    if len(lines) - 1 > MAX_FILE and "enerated" not in lines[1]:
        yield f"{path}: {len(lines) - 1} lines, more than {MAX_FILE}"


def functions(text):
    """(name, first line, lines, comment above) of each function of a C file in the tree's form."""
    code = source.strip(text).split("\n")
    lines = text.split("\n")
    start = None
    for i, line in enumerate(code):
        if line == "{":
            start = i
        elif line == "}" and start is not None:
            head = start
            while head > 0 and re.match(r"[^#\s].*[^;}\s]\s*$|\s+\S", code[head - 1]):
                head -= 1
            name = re.search(r"(\w+)\s*\(", " ".join(code[head:start]))
            end = head
            while end > 0 and lines[end - 1].strip() and not code[end - 1].strip():
                end -= 1
            yield (name[1] if name else "?", head + 1, i - head + 1, " ".join(lines[end:head]))
            start = None


def quantiles(numbers):
    numbers = sorted(numbers) or [0]
    at = [numbers[min(int(len(numbers) * share), len(numbers) - 1)] for share in (0.5, 0.9, 1)]
    return "p50 {}, p90 {}, max {}".format(*at)


def main():
    problems, file_sizes, function_sizes = [], [], []
    for path in source.files():
        text = source.read(path)
        problems += check_text(path, text)
        if not path.endswith((".c", ".h", ".cpp", ".hpp", ".comp", ".glsl")):
            continue
        if path.startswith("lib/"):
            file_sizes.append(text.count("\n"))
        for name, line, size, comment in functions(text):
            if path.startswith("lib/"):
                function_sizes.append(size)
            if size > MAX_FUNCTION and WHY not in comment:
                problems.append(f"{path}:{line}: {name}() has {size} lines, more than {MAX_FUNCTION}; "
                                f"a comment above it must say why it is {WHY}")
    print(f"lib: lines of files: {quantiles(file_sizes)}; of functions: {quantiles(function_sizes)}")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
