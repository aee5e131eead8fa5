"""What the program knows, read from its own sources: commands and their options (Tests/Golden/help.txt, which a test keeps equal to
the program) and settings (Setting.swift)."""
import os
import pathlib
import re
import shlex
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def commands():
    """Each command ("queue drain"): its options."""
    known = {}
    here = None
    for line in (REPOSITORY / "Tests/Golden/help.txt").read_text().splitlines():
        if match := re.fullmatch(r"\$ reeve ?(.*?) ?--help", line):
            here = known.setdefault(match[1], set())
        elif here is not None and (match := re.match(r"  (--[a-z-]+)", line)):
            here.add(match[1])
    return known


def variables():
    """Environment variables that are read."""
    known = set()
    text = (REPOSITORY / "Sources/ReeveCLI/Configuration/Setting.swift").read_text()
    for match in re.finditer(r'Setting\(\s*"([a-z0-9_]+)"(.*?)\)\n', text, re.S):
        name = "REEVE_" + match[1].upper()
        known.add(name)
        if "isSecret: true" in match[2]:
            known.add(name + "_FILE")
    return known | {"REEVE_CONFIG"}


class Program:
    def __init__(self, found):
        self.found = found
        self.commands = commands()
        self.variables = variables()
        self.taken = set()

    def check_variable(self, name, place, value=None):
        """That the program reads it, and would take this value."""
        if not name.startswith("REEVE_"):
            return
        if name in self.variables:
            if value and not name.endswith("_FILE") and not re.search(r"[%$]", value):
                self.check_value(name, place, value)
            return
        # librdkafka's properties, dots as underscores; what identity programs of the operator's read.
        if re.match(r"REEVE_(KAFKA|IDENTITY)_", name):
            return
        self.found.wrong(f"{place}: nothing reads {name}")

    def check_value(self, name, place, value):
        """Asks the program itself, where it was built."""
        program = os.environ.get("REEVE")
        if not program or (name, value) in self.taken:
            return
        self.taken.add((name, value))
        told = subprocess.run([REPOSITORY / program, "config"], env={name: value}, capture_output=True, text=True)
        if told.returncode:
            self.found.wrong(f"{place}: {name}={value}: {told.stderr.strip()}")

    def check_call(self, words, place):
        """A call of reeve: its words without the program's name."""
        path = []
        while words and " ".join([*path, words[0]]) in self.commands:
            path.append(words.pop(0))
        if not path:
            if words and words[0].startswith("-"):
                path = [""]
            else:
                return self.found.wrong(f"{place}: there is no command 'reeve {' '.join(words[:2])}'")
        name = " ".join(path)
        nested = [c for c in self.commands if c.startswith(name + " ") and name]
        plain = self.commands[name]
        if nested and words and re.fullmatch("[a-z-]+", words[0]) and not plain - {"--ticket", "--json", "--no-input", "--help", "--version"}:
            return self.found.wrong(f"{place}: there is no command 'reeve {name} {words[0]}'")
        for word in words:
            option = word.split("=")[0]
            if re.fullmatch("--[a-z][a-z-]*", option) and option not in plain:
                self.found.wrong(f"{place}: 'reeve {name}' has no option {option}")


def calls_in_text(text):
    """The calls of reeve in a shell script or a block of one: words up to what ends a simple command."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line)
        for match in re.finditer(r'(?<!-n)(?:^|[\s;(|&"/])(?:reeve|\$reeve|"\$reeve")"?((?:\s+[^\s;|&)<>]+|\s+\'[^\']*\'|\s+"[^"]*")+)', line):
            words = []
            try:
                parts = shlex.split(match[1].replace("…", ""))
            except ValueError:
                parts = match[1].split()
            for part in parts:
                words.append(part)
            if words and re.fullmatch(r"[a-z][a-z-]*|--[a-z-]+", words[0]):
                yield words
