"""Lines on the terminal: when, who, about what. Colour only where a person sees it."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TextIO

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36, "bold": 1, "dim": 2}


class Screen:
    """Writes whole lines at once, so that those of several processes do not mix."""

    def __init__(self, who: str, out: TextIO | None = None) -> None:
        self._who = who
        self._out = out or sys.stdout
        self._coloured = self._out.isatty() and "NO_COLOR" not in os.environ
        reconfigure = getattr(self._out, "reconfigure", None)
        if reconfigure is not None:
            # A terminal without these characters shows others, and no error.
            reconfigure(errors="replace")

    def say(self, topic: str, text: str, colour: str | None = None) -> None:
        """One line with the time, who speaks, and what it is about."""
        now = datetime.now().strftime("%H:%M:%S.%f")[:-4]  # local: for the person who watches
        head = self.painted(f"{now}  {self._who:<13}", "dim")
        self.write(f"{head} {topic:<9} {self.painted(text, colour)}")

    def title(self, text: str) -> None:
        """A line that begins a part."""
        self.write(f"\n{self.painted(text, 'bold')}")

    def write(self, line: str) -> None:
        """A line as it is."""
        self._out.write(line + "\n")
        self._out.flush()

    def painted(self, text: str, colour: str | None) -> str:
        """The text in a colour, where colours are shown."""
        if colour is None or not self._coloured:
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
