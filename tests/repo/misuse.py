#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the list of tests/misuse.c against the public headers: each function is in it, with a letter for each pointer."""
import re
import sys

import source


def pointers(parameters):
    """How many parameters are pointers; callbacks by the name of their type are not counted."""
    depth, count, current = 0, 0, ""
    for char in parameters + ",":
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            count += "*" in current
            current = ""
        else:
            current += char
    return count


def declared():
    """{name: number of pointers} of the functions that the headers declare."""
    found = {}
    for path in source.files("include", suffixes=(".h",)):
        text = source.strip(source.read(path))
        for match in re.finditer(r"^LLMGPU_(?:EXPERIMENTAL_)?API\s+[^;{]*?\b(llmgpu_\w+)\s*\(([^;]*)\)\s*;", text, re.M):
            found[match[1]] = pointers(match[2])
    return found


def listed():
    """{name: number of letters} of the rows of the test."""
    text = source.read("tests/misuse.c")
    return {name: len(letters) for name, letters in re.findall(r'^    ROW\((llmgpu_\w+), "([I-]*)"\)', text, re.M)}


def main():
    headers, rows, problems = declared(), listed(), []
    if headers.keys() != source.public_functions().keys():
        problems.append("the functions of the headers were not all understood")
    for name in sorted(headers.keys() | rows.keys()):
        if headers.get(name) != rows.get(name):
            problems.append(f"{name}: pointers in the headers: {headers.get(name, 'no such function')}; "
                            f"letters in tests/misuse.c: {rows.get(name, 'no such row')}")
    print(f"{len(rows)} functions with {sum(rows.values())} pointers")
    return source.report(problems)


if __name__ == "__main__":
    sys.exit(main())
