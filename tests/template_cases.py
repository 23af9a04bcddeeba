# SPDX-License-Identifier: MIT
"""Conversations, and small templates that use the language feature by feature."""
import os

LANGUAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates", "language")

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a place, now or \"later\".",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "a town's name"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"], "minimum": 0, "description": "how far ahead"},
            "spots": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}}},
            "required": ["place"]}}},
    {"type": "function", "function": {
        "name": "beenden", "description": "Beendet das Gespr\u00e4ch \u2013 <sofort> & 'ganz'",
        "parameters": {"type": "object", "properties": {}}}},
]

SYSTEM = {"role": "system", "content": "You are terse.  "}
HELLO = {"role": "user", "content": "  Hello, \u4e16\u754c! \U0001f600\n"}
HI = {"role": "assistant", "content": "Hi.\n"}
WHY = {"role": "user", "content": "Why {{ braces }} and <|special|> \"quotes\"?"}
THOUGHT = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nBecause."}
REASON = {"role": "assistant", "content": "Since then.", "reasoning_content": "Let me see.\nWell."}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "abcdefghi", "type": "function", "function": {
        "name": "get_weather", "arguments": {"place": "Z\u00fcrich", "days": 2, "warm": True, "f": 1.5, "n": None}}},
    {"id": "bcdefghij", "type": "function", "function": {"name": "beenden", "arguments": {}}}]}
CALL_TEXT = {"role": "assistant", "content": "I look.", "tool_calls": [
    {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": "{\"place\": \"Rom\"}"}}]}
ANSWER = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": "{\"t\": 21.5}"}
ANSWER_2 = {"role": "tool", "name": "beenden", "tool_call_id": "bcdefghij", "content": "ok"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}

CONVERSATIONS = [
    [],
    [SYSTEM],
    [HELLO],
    [SYSTEM, HELLO],
    [HELLO, HI, WHY],
    [SYSTEM, HELLO, HI, WHY, THOUGHT, HELLO],
    [SYSTEM, WHY, REASON, HELLO],
    [HELLO, REASON],
    [SYSTEM, HELLO, CALL, ANSWER, ANSWER_2],
    [HELLO, CALL_TEXT, ANSWER, HI, WHY],
    [SYSTEM, HELLO, CALL, ANSWER, ANSWER_2, THOUGHT, WHY, CALL_TEXT, ANSWER],
    [PARTS, HI, PARTS],
    [SYSTEM, SYSTEM, HELLO],
    [HELLO, HELLO],
    [HI, HELLO],
    [{"role": "user"}],
    [{"role": "wizard", "content": "Abracadabra"}],
]

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def contexts():
    """What templates are rendered with."""
    for messages in CONVERSATIONS:
        for tools in (None, TOOLS):
            for prompt in (False, True):
                yield {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt, **TOKENS}
        yield {"messages": messages, "add_generation_prompt": True, "enable_thinking": False, "tools": TOOLS[:1],
               "date_string": "10 Jun 2024", "tools_in_user_message": False, **TOKENS}
        yield {"messages": messages, "add_generation_prompt": True, "enable_thinking": True, **TOKENS}


DATA = {
    "s": "Hello, World", "u": "Gr\u00fc\u00dfe \u4e16\u754c \U0001f600", "blank": "  \t x y \n", "empty": "", "i": 7, "n": -3, "f": 2.5,
    "t": True, "nil": None, "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "nested": [[1, 2], [3], []],
    "d": {"b": 1, "a": {"x": [1, 2]}, "C": None, "items": 5}, "people": [
        {"name": "Bo", "age": 30, "town": {"zip": 2}}, {"name": "al", "age": 25, "town": {"zip": 1}},
        {"name": "Cy", "age": 30}],
}


def lines(name):
    with open(os.path.join(LANGUAGE, name), encoding="utf-8", newline="") as file:
        return file.read().split("\n")[:-1]


def language():
    """Templates that both must render: lists of expressions, and statements with a line of dashes between them."""
    cases = []
    for line in lines("expressions.txt"):
        cases.append(("{{ [" + line + "] }}", DATA))
        cases.append(("{{ (" + line + ", 0)[0] }}|{% if (" + line + ", 0)[0] %}y{% endif %}", DATA))
    statements = "\n".join(lines("statements.txt")).split("\n-----\n")
    newlines = ["a\r\nb\rc\n\n", "a\n\n", "\n", "", "{% if t %}\r\nx\r\n{% endif %}\r\n", "{{ 'a\r\nb' }}\r"]
    return cases + [(template, DATA) for template in statements + newlines]


def refused():
    """Templates that both must refuse, one in a line."""
    return [(line, DATA) for line in lines("refused.txt")]
