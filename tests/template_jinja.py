#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our templates against Python's jinja2: template_jinja.py RENDER

RENDER is the program of template_render.c. Each case is rendered by both, as chat templates are rendered where they come
from: in jinja2's immutable sandbox, with trimmed blocks, loop controls, tojson() without HTML escapes, raise_exception(),
strftime_now() and the generation tag. They must give the same text, or both fail. Skipped without jinja2.
"""
import copy
import datetime
import functools
import json
import os
import re
import struct
import subprocess
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox
except ImportError:
    sys.exit(77)

import template_cases
import template_fuzz

NOW = 1718000000  # 2024-06-10, a Monday
FOLDER = os.path.dirname(os.path.abspath(__file__))


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what an assistant said; the text is as without it."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render"), [], [], body).set_lineno(line)

    def render(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def make_environment():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = (
        lambda form: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form))
    return environment


ENVIRONMENT = make_environment()

# What Python prints of values that are no data.
OPAQUE = re.compile(r"<(generator|built-in|function|bound|class|Macro|LoopContext|dict_|\w+ object|method-wrapper|\w+reverse|\w+iterator)|"
                    r"<jinja2|Markup\(", re.I)
# Python's integers have no end; and jinja2 folds the slice of a literal that has none to nothing.
TOLERATED = re.compile(r"64 bits|type (int|float|bool|None|dict|method) cannot be sliced")


@functools.lru_cache(maxsize=None)
def compiled(template):
    return ENVIRONMENT.from_string(template)


def reference(template, context):
    """(text, None) or (None, error)."""
    try:
        # A copy: indent() appends to a list that it is given.
        text = compiled(template).render(**copy.deepcopy(context))
        text.encode()  # lone surrogates are no text
        return text, None
    except RecursionError:
        return None, "RecursionError"
    except Exception as error:  # whatever a template does
        return None, f"{type(error).__name__}: {error}"


def ours(render, cases):
    """(text, None) or (None, error) of each (template, context)."""
    data = json.dumps([{"template": template, "context": context, "now": NOW} for template, context in cases],
                      ensure_ascii=False)
    output = subprocess.run([render], input=data.encode(), stdout=subprocess.PIPE, check=True).stdout
    # Not splitlines(): other characters end lines, too.
    results = [json.loads(line) for line in output.decode().split("\n")[:-1]]
    return [(result.get("text"), result.get("error")) for result in results]


def compare(render, name, cases, must_work):
    """Prints what differs; the number of differences."""
    failures = worked = 0
    for (template, context), (text, error) in zip(cases, ours(render, cases)):
        wanted, why = reference(template, context)
        worked += wanted is not None
        if text == wanted and (text is not None or not must_work):
            continue
        if (wanted and OPAQUE.search(wanted)) or (error and TOLERATED.search(error)):
            continue
        failures += 1
        if failures <= 10:
            print(f"{name}: {template!r}\n  with    {json.dumps(context)[:600]}\n  jinja2: {wanted!r} {why or ''}\n"
                  f"  ours:   {text!r} {error or ''}")
    print(f"{name}: {len(cases)} cases, {worked} of them with a text, {failures} differ")
    return failures


def families():
    """Each template of tests/templates with each conversation."""
    names = os.listdir(os.path.join(FOLDER, "templates"))
    for name in sorted(name for name in names if name.endswith(".jinja")):
        with open(os.path.join(FOLDER, "templates", name), encoding="utf-8", newline="") as file:
            template = file.read()
        yield name, [(template, context) for context in template_cases.contexts()]


def shared():
    """The templates of the vocabularies beside the checkout."""
    folder = os.path.join(os.environ.get("LLMGPU_SHARED") or "", "vocab")
    for name in ("ggml-vocab-phi-3.gguf", "ggml-vocab-qwen2.gguf"):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        key = b"tokenizer.chat_template"
        start = data.index(key) + len(key)
        kind, size = struct.unpack_from("<IQ", data, start)
        assert kind == 8
        template = data[start + 12:start + 12 + size].decode()
        yield name, [(template, context) for context in template_cases.contexts()]


def main():
    render = sys.argv[1]
    failures = 0
    for name, cases in [*families(), *shared()]:
        failures += compare(render, name, cases, False)
    failures += compare(render, "language", template_cases.language(), True)
    failures += compare(render, "refused", template_cases.refused(), False)
    failures += compare(render, "fuzz", template_fuzz.cases(), False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
