"""What a check found: what is wrong, and what could not be looked at."""
import sys


class Findings:
    def __init__(self, name):
        self.name = name
        self.errors = []
        self.missing = []
        self.notes = []

    def wrong(self, text):
        if text not in self.errors:
            self.errors.append(text)

    def unseen(self, text):
        if text not in self.missing:
            self.missing.append(text)

    def note(self, text):
        self.notes.append(text)

    def end(self):
        """Prints it; the exit code."""
        for text in self.missing:
            print(f"not checked  {self.name}: {text}")
        for text in self.errors:
            print(f"wrong        {self.name}: {text}", file=sys.stderr)
        if not self.errors:
            print(f"ok           {self.name}" + (f" ({'; '.join(self.notes)})" if self.notes else ""))
        return 1 if self.errors else 0
