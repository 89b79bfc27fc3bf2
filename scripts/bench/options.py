"""What the benchmarks' command lines have in common."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from . import peers


def build(root, args, names):
    """Builds what will run, and says where it is."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    binaries = peers.Binaries(load=target / "release/selat-load", selat=target / "release/selat")
    if not args.no_build:
        packages = ["--workspace"] if "selat" in names else ["--package", "selat-load"]
        subprocess.run(["cargo", "build", "--release", *packages], cwd=root, stdout=sys.stderr, check=True)
    return binaries


def listed(text):
    return text.split(",")


def titles(scenarios):
    return "; ".join(f"{letter}: {scenario.title}" for letter, scenario in scenarios.items())


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
