"""The one certificate of a run: every proxy shows it, and the load client believes nothing else."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import install

DAYS = 2


@dataclass
class Certificate:
    """ECDSA on P-256, signed by itself, for 127.0.0.1."""

    chain: Path
    key: Path
    both: Path
    """As HAProxy wants it."""

    @classmethod
    def made_in(cls, directory):
        made = cls(directory / "certificate.pem", directory / "key.pem", directory / "both.pem")
        command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-keyout", str(made.key), "-out", str(made.chain), "-days", str(DAYS), "-subj", "/CN=bench-peers",
            # One that is a CA's would not do as a server's.
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise install.Missing(f"openssl made no certificate:\n{done.stderr}")
        made.both.write_text(made.chain.read_text() + made.key.read_text())
        return made
