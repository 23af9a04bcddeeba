#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What a Makefile would do, with pkg-config: build.sh FOLDER. CC and CXX (no C++ when it is empty) are the compilers.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
shared=$(pkg-config --cflags --libs 'llmgpu >= 0.1')
# The archive by its name, in the place of the shared library; then what it needs in turn.
static=$(pkg-config --static --cflags --libs llmgpu | sed 's/-lllmgpu\b/-l:libllmgpu.a/')
cd "$1"

# The flags and the compilers are split into words on purpose.
# shellcheck disable=SC2086
for kind in shared static; do
    eval "flags=\$$kind"
    $CC -std=c99 "$source/program.c" -o "c-$kind" $flags
    if [ -n "$CXX" ]; then
        $CXX -std=c++17 "$source/program.cpp" -o "cpp-$kind" $flags
    fi
done
