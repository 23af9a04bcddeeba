# SPDX-License-Identifier: MIT
"""What the checks of the repository share: its files, and C without comments and strings."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = [".ci", "bindings", "docs", "examples", "include", "kernels", "lib", "subprojects/packagefiles", "tests", "tools"]
TEXT = (".c", ".h", ".cpp", ".hpp", ".comp", ".glsl", ".py", ".go", ".i", ".in", ".sh", ".build", ".md", ".map", ".cmake")
TEXT_NAMES = {"quickstart", "run", "run-tests", "abi-dump", "CMakeLists.txt", "meson_options.txt", ".clang-format", ".editorconfig", ".gitignore"}


def files(*folders, suffixes=None):
    """The text files of the folders (of all, with those beside them), as paths from the root."""
    found = []
    if not folders:
        found = [name for name in os.listdir(ROOT) if os.path.isfile(os.path.join(ROOT, name))]
        folders = FOLDERS
    for folder in folders:
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            found += [os.path.relpath(os.path.join(path, name), ROOT) for name in names]
    for path in sorted(found):
        if path.endswith(suffixes or TEXT) or (not suffixes and os.path.basename(path) in TEXT_NAMES):
            yield path


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def strip(text):
    """C text with comments, strings and characters blanked out, line for line and column for column."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return token.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def public_functions():
    """The functions that the public headers declare: {name: whether it is experimental}."""
    found = {}
    for path in files("include", suffixes=(".h",)):
        for match in re.finditer(r"^LLMGPU_(EXPERIMENTAL_)?API\s+[^;{]*?\b(llmgpu_\w+)\s*\(", strip(read(path)), re.M):
            found[match[2]] = bool(match[1])
    return found


def report(problems):
    """Prints the problems; the exit status."""
    for problem in problems:
        print(problem)
    return 1 if problems else 0
