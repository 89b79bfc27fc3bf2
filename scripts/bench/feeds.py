"""The source of a feed, and what extends it to many clients."""

import re
import subprocess
import sys
from pathlib import Path

from . import peers
from .peers import Process

ROOT = Path(__file__).resolve().parent.parent.parent
CONTROL = ROOT / "loadtest/python"


class Ticker(Process):
    """The source, on the cores of the load."""

    name = "ticker"

    def __init__(self, binaries, place, directory, options):
        super().__init__(binaries, place, directory)
        self.options = options

    def command(self):
        return [str(self.binaries.load), "serve", "ticker", self.address, *self.options]

    def end(self):
        """Ends it; returns how often it was connected to."""
        self.__exit__()
        said = re.search(r"^connections (\d+)$", (self.directory / "log").read_text(), re.MULTILINE)
        if not said:
            raise peers.NotReady("the ticker did not say how often it was connected to")
        return int(said[1])


class Feed(Process):
    """A process that follows `backend` and sends to its clients what it says."""

    options = ()

    def __init__(self, binaries, place, directory, backend, options=()):
        super().__init__(binaries, place, directory, backend)
        self.options = options


class Selat(Feed):
    name = "selat"

    def command(self):
        cores = ",".join(map(str, self.place.proxy_cores))
        return [*self.place.pinned(), str(self.binaries.selat), "feed", self.address, self.backend.url,
                "--cores", cores, "--log-level", "warn", *self.options]


class Floor(Feed):
    """One send of a prepared buffer for each client and message, and nothing else."""

    name = "floor"

    def command(self):
        return [*self.place.pinned(), str(self.binaries.load), "serve", "broadcast", self.address,
                "--from", self.backend.url]


class Python(Feed):
    """`websockets.broadcast`."""

    name = "python"

    def command(self):
        return [*self.place.pinned(), str(python()), str(CONTROL / "broadcast.py"), self.address, self.backend.url]


KINDS = {kind.name: kind for kind in [Selat, Floor, Python]}


def versions(names, binaries):
    told = {
        "selat": lambda: peers.first_line([str(binaries.selat), "--version"]),
        "floor": lambda: "selat-load serve broadcast",
        "python": lambda: peers.first_line([str(python()), "-c", VERSIONS]),
    }
    return {name: told[name]() for name in names}


VERSIONS = "import sys, websockets; print('websockets', websockets.__version__, 'Python', sys.version.split()[0])"


def python():
    return ROOT / "target/bench-venv/bin/python"


def ensure_python():
    """Makes the control's environment; needs PyPI the first time."""
    if not python().exists():
        run([sys.executable, "-m", "venv", str(python().parent.parent)])
    run([str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--requirement", str(CONTROL / "requirements.txt")])


def run(command):
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode != 0:
        raise peers.NotReady(f"{' '.join(command)} failed; it needs python3 with venv, and PyPI the first time")
