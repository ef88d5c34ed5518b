"""nginx for tests: what is installed, else Debian's package without installing it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.sandbox.nginx import find_nginx
from infra.testbed.docker.engine import locked

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("REMEDY_TEST_CACHE") or ROOT / ".remedy" / "cache") / "nginx"
PACKAGES = ("nginx", "nginx-light")  # before Debian 12 the program is in the second


@pytest.fixture(scope="session")
def nginx_folder() -> Iterator[Path]:
    """The folder of nginx's program: what is installed, else Debian's package, unpacked."""
    installed = find_nginx()
    if installed is not None:
        yield installed.parent
        return
    # Not the cache: nginx runs as nobody, who may not get there.
    folder = Path(tempfile.mkdtemp(prefix="remedy-nginx-"))
    folder.chmod(0o755)
    try:
        for package in debian_packages():
            subprocess.run(["dpkg", "-x", package, folder], check=True)
        programs = folder / "usr" / "sbin"
        shown = subprocess.run([programs / "nginx", "-v"], capture_output=True, check=False)
        if shown.returncode:
            missing(f"Debian's nginx does not run here: {shown.stderr.decode()}")
        yield programs
    finally:
        shutil.rmtree(folder)


def debian_packages() -> list[Path]:
    """Give Debian's packages of nginx, downloaded into the cache once; installs nothing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        missing("neither nginx nor apt-get to get it with.")
    CACHE.mkdir(parents=True, exist_ok=True)
    downloads = [["apt-get", "download", package] for package in PACKAGES]
    # The lists of packages may never have been fetched, and only root may fetch them.
    lists = [["apt-get", "update"]] if os.geteuid() == 0 else []
    with locked(CACHE / "packages.lock"):  # another worker of xdist downloads them too
        for attempt in (downloads, [*lists, *downloads]):
            if not any(CACHE.glob("*.deb")):
                for command in attempt:
                    subprocess.run(command, cwd=CACHE, capture_output=True, check=False)
    return list(CACHE.glob("*.deb")) or missing("`apt-get download nginx` gave nothing.")


def missing(found: str) -> NoReturn:
    """Skip, or fail where every test has to run."""
    reason = f"Expected: nginx. Found: {found} Do next: apt-get install nginx"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def manual(changed: Mapping[str, str]) -> str:
    """Give the nginx lines of docs/operations.md, with what is another thing here laid over."""
    page = (ROOT / "docs" / "operations.md").read_text()
    lines = page.partition("```nginx\n")[2].partition("```")[0]
    for there, here in changed.items():
        assert there in lines, there
        lines = lines.replace(there, here)
    return lines


def make_certificate(folder: Path) -> Path:
    """Write key.pem and cert.pem of loopback, valid for an hour; give the second."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "remedy.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path = folder / "cert.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def nginx_with(lines: str, programs: Path, folder: Path) -> Iterator[None]:
    """Serve by an nginx with these lines in its `http` part while the block lasts."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{lines}}}\n"
    )
    command: list[str | Path] = [
        programs / "nginx",
        "-c",
        configuration,
        "-e",
        folder / "error.log",
    ]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    server = subprocess.Popen(command)
    try:
        while not (folder / "pid").read_text():  # `-t` has made it
            assert server.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(30)
