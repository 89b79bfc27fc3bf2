"""A terminal for tests/top.rs: runs a program in it, and says what the screen shows.

usage: terminal.py COLUMNS LINES PROGRAM [ARGUMENT...]

Each line of standard input is a JSON list, answered by a JSON line once it is so:
  ["shows", TEXT]  ["hides", TEXT]  ["begins", LINE, TEXT]  ["screen"]
  ["keys", TEXT]  ["resize", COLUMNS, LINES]  ["signal", NUMBER]
  ["ended"]        the program's exit code (negative: a signal), and whether the terminal is as it was found
"""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pyte

DEADLINE = 30


class Terminal:
    def __init__(self, columns, lines, program):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.said = b""
        # The program's end stays open here, so that its settings can be looked at when the program is gone.
        self.ours, self.theirs = pty.openpty()
        self.set_size(columns, lines)
        self.settings = termios.tcgetattr(self.theirs)
        self.program = subprocess.Popen(
            program,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color"},
        )
        self.ending = os.pidfd_open(self.program.pid)

    def set_size(self, columns, lines):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def text(self):
        return "\n".join(self.screen.display)

    def read(self, timeout):
        """Shows what the program says within the time; whether there was anything."""
        ready, _, _ = select.select([self.ours], [], [], timeout)
        if ready:
            said = os.read(self.ours, 65536)
            self.said += said
            self.stream.feed(said)
        return bool(ready)

    def until(self, is_so):
        deadline = time.monotonic() + DEADLINE
        while not is_so():
            left = deadline - time.monotonic()
            if left <= 0 or self.program.poll() is not None:
                raise SystemExit(f"not in time; the screen shows:\n{self.text()}")
            self.read(min(left, 1))

    def shows(self, text):
        self.until(lambda: text in self.text())

    def hides(self, text):
        self.until(lambda: text not in self.text())

    def begins(self, line, text):
        self.until(lambda: self.screen.display[line].startswith(text))

    def keys(self, text):
        os.write(self.ours, text.encode())

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        self.screen.reset()
        self.set_size(columns, lines)

    def signal(self, number):
        self.program.send_signal(number)

    def ended(self):
        deadline = time.monotonic() + DEADLINE
        while not select.select([self.ending], [], [], 0)[0]:
            if time.monotonic() > deadline:
                self.program.kill()
                raise SystemExit(f"it does not end; the screen shows:\n{self.text()}")
            self.read(0.1)
        while self.read(0):
            pass
        return {
            "code": self.program.wait(),
            "was_entered": b"\x1b[?1049h" in self.said,
            "is_left": self.said.rfind(b"\x1b[?1049l") > self.said.rfind(b"\x1b[?1049h"),
            "is_cooked": termios.tcgetattr(self.theirs) == self.settings,
            "has_cursor": not self.screen.cursor.hidden,
        }


terminal = Terminal(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
commands = {
    "shows": terminal.shows,
    "hides": terminal.hides,
    "begins": terminal.begins,
    "screen": terminal.text,
    "keys": terminal.keys,
    "resize": terminal.resize,
    "signal": terminal.signal,
    "ended": terminal.ended,
}
try:
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(commands[command](*arguments)), flush=True)
finally:
    terminal.program.kill()
