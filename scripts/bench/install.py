"""Installs Debian's nginx and HAProxy where they are missing, without letting them serve anything by themselves."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import peers

# Debian asks this program whether a freshly installed service may start; 101 means that it may not.
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\nexit 101\n"


def ensure(names):
    missing = sorted(name for name in names if not installed(name))
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise peers.NotReady(f"{' and '.join(missing)} missing; install with: apt-get install {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
    with no_service_starts():
        if not apt("install", *missing):
            apt("update")
            if not apt("install", *missing):
                raise peers.NotReady(f"apt-get could not install {' '.join(missing)}")
    if shutil.which("systemctl"):
        # Nor after a reboot. Where systemd does not run, there is nothing to disable either.
        quiet(["systemctl", "disable", "--now", *missing])


def installed(name):
    try:
        peers.tool(name)
        return True
    except peers.NotReady:
        return False


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
