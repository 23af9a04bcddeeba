#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the tables and plots of docs/pacer.md: pacer.py LLMGPU [--check]

LLMGPU is the command. With --check nothing is written: the tables are held against what the command says now, and that
against what the page claims.
"""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "pacer.md")
HOURS = 24
PLANTS = {"laptop": "laptop GPU", "desktop": "graphics card", "server": "server card"}
BANDS = (3, 5, 8, 10, 15)


def simulate(program, plant, *args):
    """The runs of a simulation, by policy, and the whole."""
    command = [program, "pacer", "--simulate", str(HOURS), "--plant", plant, "--json", *map(str, args)]
    whole = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {run["policy"]: run for run in whole["runs"]}, whole


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def gain(runs, other):
    return 100 * (runs["control"]["tokens"] / runs[other]["tokens"] - 1)


def rows_of(name, runs):
    for policy in ("off", "ramp", "control"):
        r = runs[policy]
        yield [name, f"`{policy}`", f"{r['tokens'] / 1e6:.2f}", f"{r['tokens_per_second']:.1f}", f"{r['mean_c']:.1f}",
               f"{r['settled_max_c']:.1f}", f"{r['swing_c']:.1f}", f"{r['slowed_s'] / 3600:.1f}", f"{r['joules_per_token']:.2f}",
               f"{r['pause_s'] / 3600:.1f}"]
        name = ""


def make(program, plots):
    """The tables by name, and the simulations by plant."""
    found, rows, gains = {}, [], []
    for plant, name in PLANTS.items():
        svg = ["--svg", os.path.join(HERE, f"pacer-{plant}.svg")] if plots else []
        runs, whole = simulate(program, plant, *svg)
        found[plant] = runs, whole
        rows += rows_of(f"{name}, {whole['target_c']:g} of {whole['limit_c']:g} C", runs)
        gains.append([name, f"{gain(runs, 'off'):+.1f}%", f"{gain(runs, 'ramp'):+.1f}%",
                      f"{runs['control']['settled_max_c'] - whole['target_c']:+.1f} C"])
    head = ["device, target and limit", "policy", "million tokens", "tokens/s", "mean C", "highest C", "swing C", "hours slowed",
            "J/token", "hours paused"]
    bands = []
    for band in BANDS:
        row = [f"{band} C"]
        for plant in PLANTS:
            off, _ = simulate(program, plant, "--hysteresis", band, "--policy", "off")
            row.append(f"{gain({'control': found[plant][0]['control'], 'off': off['off']}, 'off'):+.1f}%")
        bands.append(row)
    runs, whole = simulate(program, "trimmed")
    trimmed = list(rows_of(f"{whole['target_c']:g} of {whole['limit_c']:g} C", runs))
    return {
        "day": table(head, rows),
        "gains": table(["device", "`control` beside `off`", "beside `ramp`", "highest, beside the target"], gains),
        "bands": table(["hysteresis", *PLANTS.values()], bands),
        "trimmed": table(head, trimmed),
    }, found


def split(page):
    """The page in parts: text, name of a table, the table, text, ..."""
    return re.split(r"(?s)<!-- table (\w+) -->\n(.*?)<!-- end -->\n", page)


def same(ours, theirs):
    """Whether two tables say the same, but for the last digit of their numbers."""
    number = r"[-+]?\d+(?:\.\d+)?"
    if re.sub(number, "#", ours) != re.sub(number, "#", theirs):
        return False
    pairs = zip(re.findall(number, ours), re.findall(number, theirs))
    return all(abs(float(a) - float(b)) <= max(0.101, 0.003 * abs(float(a))) for a, b in pairs)


def claims(found):
    """Sentences about what the page claims and is not so."""
    for plant, (runs, whole) in found.items():
        for other in ("off", "ramp"):
            if gain(runs, other) < 5:
                yield f"{plant}: control gives {gain(runs, other):+.1f}% beside {other}"
        if runs["control"]["settled_max_c"] > whole["target_c"] + 1:
            yield f"{plant}: control comes to {runs['control']['settled_max_c']:.1f} C"
        if runs["control"]["swing_c"] > 1:
            yield f"{plant}: control swings by {runs['control']['swing_c']:.1f} C"
        if runs["off"]["swing_c"] < 2 * runs["control"]["swing_c"] or runs["control"]["slowed_s"] > 0:
            yield f"{plant}: the device slows down under control"


def main():
    program, check = sys.argv[1], "--check" in sys.argv
    tables, found = make(program, not check)
    with open(PAGE, encoding="utf-8") as file:
        parts = split(file.read())
    problems = list(claims(found))
    if sorted(parts[1::3]) != sorted(tables):
        problems.append(f"{PAGE}: has the tables {parts[1::3]}, not {list(tables)}")
    elif check:
        problems += [f"table {name}: the page says\n{text}\nand the command\n{tables[name]}"
                     for name, text in zip(parts[1::3], parts[2::3]) if not same(text, tables[name])]
        problems += [f"pacer-{plant}.svg is missing" for plant in PLANTS
                     if not os.path.exists(os.path.join(HERE, f"pacer-{plant}.svg"))]
    else:
        text = parts[0]
        for name, after in zip(parts[1::3], parts[3::3]):
            text += f"<!-- table {name} -->\n{tables[name]}<!-- end -->\n{after}"
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(text)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
