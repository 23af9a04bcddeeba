#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the ABI of a library with debug information against that of the last release.

    abi.py dump LIBRARY NAME    writes its ABI to NAME.abi, and the enumerators of the headers to NAME.enums
    abi.py compare LIBRARY      fails when a program that was built with those of tests/abi would not run with it

Functions and enumerators may be added, and members at the end of the structs that tell their size. What is marked
experimental may change. libabigail's abidiff compares functions; struct by struct, member by member, this file does, as
abidiff leaves alone what only a reader of names would notice.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import source

SKIP = 77

# Structs that begin with their size or are read with one.
GROWING = {
    "llmgpu_context_params", "llmgpu_context_stats", "llmgpu_device_info", "llmgpu_estimate", "llmgpu_file_info",
    "llmgpu_file_metadata", "llmgpu_file_tensor", "llmgpu_file_value", "llmgpu_io", "llmgpu_model_info",
    "llmgpu_model_params", "llmgpu_sampler_params", "llmgpu_session_params", "llmgpu_session_stats",
    "llmgpu_vulkan_device",
}
EXPERIMENTAL = ("llmgpu_lora", "llmgpu_model_cache", "llmgpu_profile", "llmgpu_agent", "llmgpu_request", "llmgpu_result",
                "llmgpu_audit", "llmgpu_latency", "llmgpu_dataset", "llmgpu_batch") # beginnings of the names of types

SUPPRESSIONS = f"""
[suppress_function]
    symbol_version = LLMGPU_EXPERIMENTAL
[suppress_type]
    name_regexp = ^({"|".join(EXPERIMENTAL)})
[suppress_type]
    type_kind = struct
    name_regexp = ^({"|".join(sorted(GROWING))})$
    has_data_member_inserted_at = end
"""


def dump(library):
    """The ABI that the public headers give to a library, as text in which no path of this machine is."""
    command = ["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed",
               "--exported-interfaces-only", "--drop-private-types", "--headers-dir", os.path.join(source.ROOT, "include"),
               "--type-id-style", "hash"]
    return subprocess.run([*command, library], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def enumerators():
    """{name: value} of the headers. The values are in the programs, not in the library, so all must be written out."""
    found = {}
    for path in source.files("include", suffixes=(".h",)):
        text = source.read(path)
        if not path.endswith("version.h"):  # what may still change comes last
            text = text.partition("#ifdef LLMGPU_EXPERIMENTAL\n")[0]
        for body in re.findall(r"\benum\s+\w+\s*{(.*?)}", source.strip(text), re.S):
            for item in filter(None, map(str.strip, body.split(","))):
                name, _, value = map(str.strip, item.partition("="))
                found[name] = value
    return found


class Types:
    """The types of a dump, spelled out so that two dumps can be compared."""

    def __init__(self, text):
        self.root = xml.etree.ElementTree.fromstring(text)
        self.by_id = {node.get("id"): node for node in self.root.iter() if node.get("id")}

    def spell(self, id):
        """A type without its typedefs."""
        node = self.by_id.get(id)
        if node is None:
            return "..."
        inner = node.get("type-id")
        if node.tag == "typedef-decl":
            return self.spell(inner)
        if node.tag == "pointer-type-def":
            return self.spell(inner) + "*"
        if node.tag == "qualified-type-def":
            return self.spell(inner) + " const"
        if node.tag == "array-type-def":
            return self.spell(inner) + "".join(f"[{range.get('length')}]" for range in node.iter("subrange"))
        if node.tag == "function-type":
            parameters = ", ".join(self.spell(child.get("type-id")) for child in node.iter("parameter"))
            return f"{self.spell(node.find('return').get('type-id'))} ({parameters})"
        return node.get("name")

    def structs(self):
        """{name: (bits, [member with its place and type])} of the public structs that are laid open."""
        found = {}
        for node in self.root.iter("class-decl"):
            name = node.get("name") or ""
            if not name.startswith("llmgpu_") or node.get("is-declaration-only") or name.startswith(EXPERIMENTAL):
                continue
            members = [f"{self.spell(member.find('var-decl').get('type-id'))} {member.find('var-decl').get('name')} "
                       f"at bit {member.get('layout-offset-in-bits')}" for member in node.iter("data-member")]
            found[name] = (int(node.get("size-in-bits")), members)
        return found

    def functions(self):
        """The functions that are described, not only exported."""
        return {node.get("name") for node in self.root.iter("function-decl") if node.get("elf-symbol-id")}


def compare_structs(old, new):
    """Sentences about structs that are no longer what they were."""
    for name, (size, members) in sorted(old.items()):
        if name not in new:
            yield f"struct {name} is gone"
            continue
        size_now, members_now = new[name]
        for was, now in zip(members, members_now + ["gone"] * len(members)):
            if was != now:
                yield f"struct {name}: {was}, is now {now}"
        if name not in GROWING and size != size_now:
            yield f"struct {name}: was {size // 8} bytes, is now {size_now // 8}, and does not tell its size"


def compare_enumerators(path):
    """Sentences about values that are no longer what they were, or are left to be counted."""
    now = enumerators()
    for name, value in now.items():
        if not re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", value):
            yield f"the value of {name} is not written out"
    with open(path, encoding="utf-8") as file:
        for name, value in map(str.split, file):
            if now.get(name) != value:
                yield f"{name}: was {value}, is now {now.get(name, 'gone')}"


def compare(library):
    releases = glob.glob(os.path.join(source.ROOT, "tests", "abi", "*.abi"))
    if len(releases) != 1:
        return [f"tests/abi must hold the ABI of one release, not of {len(releases)}"]
    with open(releases[0], encoding="utf-8") as file:
        old_text = file.read()
    new_text = dump(library)
    old, new = Types(old_text), Types(new_text)
    problems = [f"{name}() is not described in the debug information"
                for name in sorted(source.public_functions().keys() - new.functions())]
    if old.root.get("architecture") != new.root.get("architecture"):
        print(f"the release was dumped on {old.root.get('architecture')}")
        sys.exit(SKIP)
    with tempfile.TemporaryDirectory() as folder:
        allowed, current = os.path.join(folder, "allowed"), os.path.join(folder, "current.abi")
        for path, text in ((allowed, SUPPRESSIONS), (current, new_text)):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        result = subprocess.run(["abidiff", "--suppressions", allowed, "--no-added-syms", releases[0], current],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    if result.returncode:
        problems.append(f"abidiff: exit {result.returncode}\n{result.stdout}")
    problems += compare_structs(old.structs(), new.structs())
    problems += compare_enumerators(releases[0].removesuffix(".abi") + ".enums")
    print(f"{len(new.functions())} functions, {len(new.structs())} structs and {len(enumerators())} enumerators held "
          f"against {os.path.basename(releases[0])}")
    return problems


def main():
    if not shutil.which("abidw") or not shutil.which("abidiff"):
        print("no abidw and abidiff here")
        return SKIP
    action, library = sys.argv[1:3]
    if action == "dump":
        for suffix, text in ((".abi", dump(library)),
                             (".enums", "".join(f"{name} {value}\n" for name, value in enumerators().items()))):
            with open(sys.argv[3] + suffix, "w", encoding="utf-8") as file:
                file.write(text)
        return 0
    return source.report(compare(library))


if __name__ == "__main__":
    sys.exit(main())
