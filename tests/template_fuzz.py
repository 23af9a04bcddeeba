# SPDX-License-Identifier: MIT
"""Random templates, the same ones each time: expressions that mostly make sense, and text with tags between."""
import random

from template_cases import DATA

COUNT = 600
SEED = 20240610

NUMBERS = ["0", "1", "2", "-3", "7", "2.5", "0.1", "1e3", "i", "n", "f", "t", "l|length", "l[0]", "people[0].age"]
STRINGS = ["''", "'a'", "'Hello, World'", "' x y '", "'a,b,,c'", "\"it's\"", "s", "u", "blank", "empty", "words[1]", "people[1].name",
           "'1\\n2\\n\\n3'"]
LISTS = ["[]", "[1, 2, 3]", "['b', 'a']", "l", "words", "nested", "people", "d.keys()|list", "range(4)", "(1, 'x')", "u|list"]
DICTS = ["{}", "{'a': 1, 'b': [2]}", "d", "people[0]", "{1: 2, none: 3}"]
OTHERS = ["none", "true", "false", "nothing", "d.missing", "l[9]", "nil"]

TEXT_FILTERS = ["upper", "lower", "capitalize", "title", "trim", "trim('ab')", "replace('a', 'xy')", "replace('', '-')",
                "indent", "indent(2, true)", "truncate(5)", "truncate(4, true, '')", "center(9)", "string", "default('z')",
                "default('z', true)", "reverse", "first", "last", "list", "wordcount", "tojson", "join('-')", "int", "float"]
LIST_FILTERS = ["list", "first", "last", "reverse|list", "sort", "sort(reverse=true)", "unique|list", "join(', ')", "length", "sum", "max",
                "min", "map('string')|list", "map('upper')|list", "map('length')|list", "select|list", "reject|list", "tojson",
                "select('odd')|list", "select('string')|list", "reject('none')|list", "batch(2)|list", "batch(2, 0)|list",
                "slice(2)|list", "map(attribute='name')|list", "selectattr('age', 'gt', 26)|list", "map(attribute='0')|list",
                "sort(attribute='name')", "groupby('age')|list", "tojson(indent=2)", "default([])", "count", "string"]
DICT_FILTERS = ["list", "length", "dictsort", "dictsort(reverse=true)", "items|list", "tojson", "tojson(indent=1)", "first", "last", "string",
                "sort", "map('upper')|list", "join"]
NUMBER_FILTERS = ["abs", "round", "round(1)", "int", "float", "string", "tojson", "default(5)", "round(0, 'ceil')"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "odd", "even",
         "true", "false", "divisibleby 2", "eq 1", "ne('a')", "lt 3", "ge 2", "in [1, 'a']", "lower", "upper", "callable"]
METHODS = ["strip()", "lstrip()", "rstrip('d ')", "upper()", "lower()", "title()", "capitalize()", "split()", "split(',')", "split(' ', 1)",
           "rsplit(',', 1)", "splitlines()", "startswith('a')", "endswith(('b', ' '))", "find('l')", "rfind('l')", "count('a')",
           "replace('l', 'L', 1)", "join(['x', 'y'])", "join('ab')", "partition(',')", "removeprefix('a')", "removesuffix('d')",
           "isdigit()", "isspace()", "islower()", "format(1)", "center(8, '*')", "ljust(4)", "index('e')"]
DICT_METHODS = ["get('a')", "get('zz', 1)", "keys()|list", "values()|list", "items()|list", "a", "b", "name", "items"]
SUBSCRIPTS = ["[0]", "[-1]", "[5]", "['a']", "[1:]", "[:2]", "[::-1]", "[::2]", "[-2:]", "[2:0:-1]", "[1:-1]", ".x", "[none]", "[i]"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
TEXTS = ["a", " b ", "\n", "  \n", "\n  ", " ", "\u00e9", "x\ny", "\t", "}}", "%", "{", "#}"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, items):
        return self.random.choice(items)

    def atom(self):
        return self.pick(self.pick([NUMBERS, STRINGS, LISTS, DICTS, NUMBERS, STRINGS, OTHERS]))

    def of_kind(self, depth):
        """An expression that its suffix suits."""
        atoms, suffixes = self.pick([
            (STRINGS, ["|" + f for f in TEXT_FILTERS]), (LISTS, ["|" + f for f in LIST_FILTERS]),
            (DICTS, ["|" + f for f in DICT_FILTERS]), (NUMBERS, ["|" + f for f in NUMBER_FILTERS]),
            (STRINGS, ["." + m for m in METHODS]), (DICTS, ["." + m for m in DICT_METHODS]),
            (STRINGS + LISTS, SUBSCRIPTS)])
        inner = self.pick(atoms) if depth <= 0 or self.random.random() < 0.7 else self.expression(depth - 1)
        return f"({inner}){self.pick(suffixes)}"

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        kind = self.random.randrange(12)
        sub = self.expression
        if kind < 4:
            return self.of_kind(depth)
        if kind < 7:
            return f"{sub(depth - 1)} {self.pick(OPERATORS)} {sub(depth - 1)}"
        if kind == 7:
            return f"({sub(depth - 1)}) is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind == 8:
            return f"({sub(depth - 1)} if {sub(depth - 1)} else {sub(depth - 1)})"
        if kind == 9:
            return self.pick(["[{}, {}]", "({}, {})", "{{'k': {}, 'm': {}}}", "[{}] + [{}]"]).format(sub(depth - 1), sub(depth - 1))
        if kind == 10:
            return self.pick(["not {}", "-{}", "({})", "+{}"]).format(sub(depth - 1))
        return self.atom()

    def tag(self, form, *arguments):
        """A tag with random signs."""
        left, right = self.pick(["", "", "", "-", "+"]), self.pick(["", "", "", "-"])
        if form == "{{" and left == "+":
            left = ""
        close = "}}" if form == "{{" else "%}"
        return f"{form}{left} {' '.join(arguments)} {right}{close}"

    def body(self, depth):
        return "".join(self.piece(depth) for _ in range(self.random.randrange(1, 4)))

    def piece(self, depth):
        kind = self.random.randrange(9 if depth > 0 else 4)
        block = lambda *words: self.tag("{%", *words)
        if kind < 2:
            return self.pick(TEXTS)
        if kind < 4:
            return self.tag("{{", self.expression(2))
        if kind == 4:
            other = self.pick(["", block("else") + self.body(depth - 1), block("elif", self.expression(1)) + self.body(depth - 1)])
            return block("if", self.expression(2)) + self.body(depth - 1) + other + block("endif")
        if kind == 5:
            condition = self.pick(["", "", "if x", "if x != 1"])
            inner = self.body(depth - 1) + self.tag("{{", self.pick(["x", "loop.index", "loop.last", "loop.length", "x|string"]))
            stop = self.pick(["", "", block("if", "loop.index > 1") + block(self.pick(["break", "continue"])) + block("endif")])
            other = self.pick(["", block("else") + self.pick(TEXTS)])
            return block("for x in", self.pick(LISTS + DICTS + STRINGS), condition) + stop + inner + other + block("endfor")
        if kind == 6:
            name = self.pick(["v", "w", "i", "x"])
            return block("set", name, "=", self.expression(2)) + self.tag("{{", name)
        if kind == 7:
            return self.pick([block("set", "v") + self.body(depth - 1) + block("endset") + "{{ v }}",
                              block("filter upper") + self.body(depth - 1) + block("endfilter"),
                              "{#" + self.pick(["", "-", "+"]) + " c " + self.pick(["", "-", "+"]) + "#}",
                              block("raw") + self.pick(["{{ x }}", " {% y %} ", ""]) + block("endraw"),
                              block("with v =", self.expression(1)) + self.body(depth - 1) + block("endwith")])
        return (block("macro m(a, b=2)") + self.body(depth - 1) + "{{ a }}" + block("endmacro") +
                "{{ m(" + self.pick(["1", "s, b=i", "b=l", ""]) + ") }}")


def cases(seed=SEED, count=COUNT):
    maker = Maker(seed)
    return [("{{ " + maker.expression(3) + " }}" if i % 3 else maker.body(3), DATA) for i in range(count)]
