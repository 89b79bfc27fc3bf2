"""Installs what selat is measured beside: Debian's nginx and HAProxy, which must not serve anything by themselves, and
Python's websockets."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Debian asks this program whether a freshly installed service may start; 101 means that it may not.
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\nexit 101\n"


class Missing(Exception):
    """Something is needed that is not there."""


def servers(names):
    missing = sorted(name for name in names if not installed(name))
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"{' and '.join(missing)} missing; install with: apt-get install {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
    with no_service_starts():
        if not apt("install", *missing):
            apt("update")
            if not apt("install", *missing):
                raise Missing(f"apt-get could not install {' '.join(missing)}")
    if shutil.which("systemctl"):
        # Nor after a reboot. Where systemd does not run, there is nothing to disable either.
        quiet(["systemctl", "disable", "--now", *missing])


def websockets(python, requirements):
    """Makes an environment of Python; needs PyPI the first time."""
    commands = [] if python.exists() else [[sys.executable, "-m", "venv", str(python.parent.parent)]]
    commands.append([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement",
                     str(requirements)])
    for command in commands:
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise Missing(f"{' '.join(command)} failed; it needs python3 with venv, and PyPI the first time")


def installed(name):
    return shutil.which(name) is not None


def apt(verb, *packages):
    options = ["--yes", "--quiet", "--no-install-recommends"] if packages else ["--quiet"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["apt-get", verb, *options, *packages], stdout=sys.stderr, env=environment).returncode == 0


@contextlib.contextmanager
def no_service_starts():
    if POLICY.exists():
        yield
        return
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def quiet(command):
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
