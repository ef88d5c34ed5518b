"""An authority, and the certificates that it signs, as an engine with TLS and its clients have.

Source: docs.docker.com/engine/security/protect-access.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_FOR = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}
_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Signed:
    """A certificate, and the key that it was made for.

    Args:
        certificate: As PEM.
        key: As PEM.
    """

    certificate: bytes
    key: bytes


class Authority:
    """Somebody who signs certificates.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        """Make its key, and its own certificate."""
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named(name)
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        made = _begun(self._name, self._name, self._key, timedelta(days=2)).add_extension(
            constraint, critical=True
        )
        self.certificate = _pem(made.sign(self._key, hashes.SHA256()))

    def sign(self, purpose: str, name: str, valid: timedelta = timedelta(days=1)) -> Signed:
        """Make a key and sign a certificate for it.

        Args:
            purpose: 'server' or 'client'.
            name: Address of the server, or name of the client.
            valid: How long from now on; less than nothing for one that has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = _begun(_named(name), self._name, key, valid).add_extension(
            x509.ExtendedKeyUsage([_FOR[purpose]]), critical=False
        )
        if purpose == "server":
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
            made = made.add_extension(names, critical=False)
        return Signed(
            _pem(made.sign(self._key, hashes.SHA256())),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def write_folder(folder: Path, authority: Authority, client: Signed) -> Path:
    """Write what a client of an engine has: ca.pem, cert.pem and key.pem.

    Args:
        folder: Where; made.
        authority: Whom the client trusts.
        client: Who it is.

    Returns:
        The folder.
    """
    folder.mkdir(mode=0o700)
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "cert.pem").write_bytes(client.certificate)
    (folder / "key.pem").write_bytes(client.key)
    return folder


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + valid)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
