#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds a Go program with the package in a build folder, without a network, and runs it: go.py BUILD MODEL CC...

BUILD is "" when there is no package.
"""
import os
import subprocess
import sys
import tempfile

MODULE = "module smoke\n\ngo 1.18\n\nrequire llmgpu v0.0.0\n\nreplace llmgpu => {}\n"


def main():
    if not sys.argv[1]:
        print("the Go package was not made")
        return 77
    build, model, cc = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]
    here = os.path.dirname(os.path.abspath(__file__))
    environment = dict(
        os.environ, GO111MODULE="on", GOFLAGS="-mod=mod", GOPROXY="off", GOSUMDB="off", CGO_ENABLED="1", CC=" ".join(cc),
        GOPATH=os.path.join(build, "go"), GOCACHE=os.path.join(build, "go", "cache"),
        PKG_CONFIG_PATH=os.path.join(build, "meson-uninstalled"), LD_LIBRARY_PATH=os.path.join(build, "lib"))
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(here, "go", "main.go"), "rb") as program:
            text = program.read()
        for name, content in (("main.go", text), ("go.mod", MODULE.format(os.path.join(build, "bindings", "go")).encode())):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        for command in (["go", "vet", "."], ["go", "build", "-o", "smoke", "."], [os.path.join(folder, "smoke"), model]):
            status = subprocess.run(command, cwd=folder, env=environment).returncode
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
