"""The proxies, each started on a port of its own and ended by its process id."""

import contextlib
import os
import pwd
import random
import resource
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

READY_SECONDS = 10
END_SECONDS = 10

# Between two scrapes of metrics; monitoring asks less often.
SCRAPE_SECONDS = 1

# What every proxy and the load client are told to speak under --tls.
SUITE = "TLS_AES_128_GCM_SHA256"

# Below the ports that the kernel gives to outgoing connections, which are many here.
PORTS = range(20_000, 32_000)


class NotReady(Exception):
    """Something did not start."""


@dataclass
class Binaries:
    load: Path
    selat: Path


@dataclass
class Place:
    """Which cores the proxy has, and which everything else has."""

    proxy_cores: list
    load_cores: list
    shared: bool

    @classmethod
    def of(cls, text):
        allowed = os.sched_getaffinity(0)
        proxy = cores(text)
        if not set(proxy) <= allowed:
            raise NotReady(f"cores {text}: allowed here are {', '.join(map(str, sorted(allowed)))}")
        load = sorted(allowed - set(proxy))
        return cls(proxy, load or sorted(allowed), shared=not load)

    def pinned(self):
        return ["taskset", "-c", ",".join(map(str, self.proxy_cores))]


def cores(text):
    """The cores in a list like 0-3,6."""
    chosen = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or last and not last.isdecimal():
            raise NotReady(f"cores {text}: write for instance 0-3,6")
        chosen += range(int(first), int(last or first) + 1)
    return chosen


def free_port():
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise NotReady(f"no free port among 100 from {PORTS.start} to {PORTS.stop}")


class Process:
    """A process of ours, from `with` to its end. Subclasses say how to start it."""

    name = ""
    version = ""

    def __init__(self, binaries, place, directory, backend=None, certificate=None):
        self.binaries, self.place, self.backend, self.certificate = binaries, place, backend, certificate
        self.port = free_port()
        self.directory = directory / f"{self.name}-{self.port}"
        # A port may come up twice in a run.
        self.directory.mkdir(exist_ok=True)
        self.process = None

    def command(self):
        raise NotImplementedError

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"{'wss' if self.certificate else 'ws'}://{self.address}/"

    def load_options(self):
        """What the load client has to know of the target beyond its URL."""
        return ["--ca", str(self.certificate.chain), "--cipher", SUITE] if self.certificate else []

    @property
    def pid(self):
        return self.process.pid

    def pids(self):
        """The processes whose cost is the proxy's."""
        return [self.pid]

    def __enter__(self):
        log = self.directory / "log"
        with log.open("w") as output:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self.wait_until_ready()
        except NotReady as error:
            self.__exit__()
            raise NotReady(f"{error}\n{log.read_text()}") from None
        return self

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if self.process.poll() is not None:
                raise NotReady(f"{self.name} ended at once")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} does not listen on port {self.port}")
            time.sleep(0.02)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Backend(Process):
    """The echo server behind every proxy."""

    name = "backend"

    def command(self):
        return [str(self.binaries.load), "serve", "echo", self.address]


class Direct:
    """No proxy: what the load and the backend do by themselves."""

    version = "no proxy"

    def __init__(self, _binaries, _place, _directory, backend):
        self.url = backend.url

    def load_options(self):
        return []

    def pids(self):
        return []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Relay(Process):
    """Bytes moved, and nothing else: as cheap as a proxy can be that copies."""

    name = "relay"
    version = "selat-load serve relay"

    def command(self):
        return [*self.place.pinned(), str(self.binaries.load), "serve", "relay", self.address,
                "--to", self.backend.address]


class Selat(Process):
    name = "selat"

    def __init__(self, binaries, *rest):
        super().__init__(binaries, *rest)
        self.version = first_line([str(binaries.selat), "--version"])

    def command(self):
        cores = ",".join(map(str, self.place.proxy_cores))
        return [*self.place.pinned(), str(self.binaries.selat), self.address, f"ws://{self.backend.address}",
                "--cores", cores, "--log-level", "warn"]


class SelatOperated(Selat):
    """The same, run from a file with one route and one pool, and its metrics scraped once a second."""

    name = "selat-run"

    CONFIG = """\
[process]
cores = "{cores}"

[listen.public]
addr = "{address}"

[route.all]
pool = "backend"

[pool.backend]
backends = ["ws://{backend}"]

[admin]
addr = "127.0.0.1:{admin}"

[log]
level = "warn"
"""

    def command(self):
        self.admin = free_port()
        config = self.directory / "selat.toml"
        cores = ",".join(map(str, self.place.proxy_cores))
        config.write_text(self.CONFIG.format(
            cores=cores, address=self.address, backend=self.backend.address, admin=self.admin))
        return [*self.place.pinned(), str(self.binaries.selat), "run", "-c", str(config)]

    def __enter__(self):
        super().__enter__()
        self.ended = threading.Event()
        threading.Thread(target=self.scrape, daemon=True).start()
        return self

    def scrape(self):
        while not self.ended.wait(SCRAPE_SECONDS):
            with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{self.admin}/metrics") as answer:
                answer.read()

    def __exit__(self, *rest):
        self.ended.set()
        super().__exit__(*rest)


class SelatTls(Selat):
    """TLS toward clients. From a file, since flags cannot lift the limit on handshakes, which the others have not."""

    CONFIG = """\
[process]
cores = "{cores}"

[listen.public]
addr = "{address}"

[listen.public.tls]
cert = "{certificate.chain}"
key = "{certificate.key}"
min_version = "1.3"
handshakes = "off"

[route.all]
pool = "backend"

[pool.backend]
backends = ["ws://{backend}"]

[log]
level = "warn"
"""

    def command(self):
        config = self.directory / "selat.toml"
        cores = ",".join(map(str, self.place.proxy_cores))
        config.write_text(self.CONFIG.format(
            cores=cores, address=self.address, backend=self.backend.address, certificate=self.certificate))
        return [*self.place.pinned(), str(self.binaries.selat), "run", "-c", str(config)]


class Nginx(Process):
    """One worker for each core; its master does nothing and is not counted."""

    name = "nginx"

    CONFIG = """\
daemon off;
user {user};
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid {directory}/pid;
error_log {directory}/errors warn;
events {{
    worker_connections 16384;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' close;
    }}
    upstream backend {{
        server {backend};
    }}
    server {{
        listen {address}{ssl} backlog=4096;{tls}
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
            proxy_buffer_size 64k;
            proxy_buffers 4 64k;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
    }}
}}
"""

    TLS = """
        ssl_certificate {certificate.chain};
        ssl_certificate_key {certificate.key};
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites {suite};
        ssl_session_tickets on;
        ssl_buffer_size 16k;"""

    def __init__(self, *rest):
        super().__init__(*rest)
        self.version = first_line([tool("nginx"), "-v"])

    def command(self):
        config = self.directory / "nginx.conf"
        config.write_text(self.CONFIG.format(
            user=pwd.getpwuid(os.geteuid()).pw_name, workers=len(self.place.proxy_cores),
            descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1], directory=self.directory,
            backend=self.backend.address, address=self.address, ssl=" ssl" if self.certificate else "",
            tls=self.TLS.format(certificate=self.certificate, suite=SUITE) if self.certificate else "",
        ))
        return [*self.place.pinned(), tool("nginx"), "-p", str(self.directory), "-e", str(self.directory / "errors"),
                "-c", str(config)]

    def wait_until_ready(self):
        super().wait_until_ready()
        deadline = time.monotonic() + READY_SECONDS
        while len(self.pids()) < len(self.place.proxy_cores):
            if time.monotonic() > deadline:
                raise NotReady("nginx has not started its workers")
            time.sleep(0.02)

    def pids(self):
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


class Haproxy(Process):
    """Without splicing, HTTP until the upgrade."""

    name = "haproxy"
    mode = "mode http"

    CONFIG = """\
global
    nbthread {threads}
    maxconn 9000
    maxpipes 900{tls}
defaults
    {mode}
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend clients
    bind {address}{ssl} backlog 4096
    default_backend echo
backend echo
    server echo {backend}
"""

    TLS = """
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites {suite}"""

    def __init__(self, *rest):
        super().__init__(*rest)
        self.version = first_line([tool("haproxy"), "-v"])

    def command(self):
        config = self.directory / "haproxy.cfg"
        config.write_text(self.CONFIG.format(
            threads=len(self.place.proxy_cores), mode=self.mode, address=self.address, backend=self.backend.address,
            ssl=f" ssl crt {self.certificate.both}" if self.certificate else "",
            tls=self.TLS.format(suite=SUITE) if self.certificate else "",
        ))
        return [*self.place.pinned(), tool("haproxy"), "-db", "-f", str(config)]


class HaproxyTcp(Haproxy):
    """Bytes from the first on, spliced where HAProxy thinks it pays."""

    name = "haproxy-tcp"
    mode = "mode tcp\n    option splice-auto"


KINDS = {kind.name: kind for kind in [Selat, SelatOperated, Nginx, Haproxy, HaproxyTcp, Relay]} | {"direct": Direct}


# Those that end TLS themselves.
TLS_KINDS = {kind.name: kind for kind in [SelatTls, Nginx, Haproxy]}


def make(name, binaries, place, directory, backend, certificate=None):
    if certificate:
        return TLS_KINDS[name](binaries, place, directory, backend, certificate)
    return KINDS[name](binaries, place, directory, backend)


def tool(name):
    """Debian keeps servers where a user's PATH does not lead."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not found:
        raise NotReady(f"{name} is not installed")
    return found


def first_line(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotReady(f"{command[0]} does not run: {error}") from None
    return done.stdout.splitlines()[0]
