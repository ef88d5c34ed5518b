"""The ledger's keys, all derived from one master key that lies outside its database."""

import base64
import binascii
import hashlib
import hmac
import os
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.guardrails.errors import LedgerBroken
from tasks.guardrails.settings import Settings

_LENGTH = 32


class Keys:
    """Signs entries, encrypts approvers' secrets and fingerprints values.

    Args:
        master: 32 random bytes.
    """

    def __init__(self, master: bytes) -> None:
        """Keep the master key; everything else is derived from it when needed."""
        self._master = master

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self._master, b"remedy/" + purpose.encode(), "sha256")

    @cached_property
    def _signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._derive("sign"))

    @cached_property
    def _box(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(self._derive("encrypt")))

    def sign(self, text: str) -> str:
        """Sign a text.

        Returns:
            The Ed25519 signature in base64.
        """
        return base64.b64encode(self._signer.sign(text.encode())).decode()

    def is_signed(self, text: str, signature: str) -> bool:
        """Say whether a signature over a text is ours."""
        try:
            self._signer.public_key().verify(
                base64.b64decode(signature, validate=True), text.encode()
            )
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def encrypt(self, secret: str) -> str:
        """Encrypt a secret for keeping in the ledger's database."""
        return self._box.encrypt(secret.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Decrypt what `encrypt` gave."""
        return self._box.decrypt(token.encode()).decode()

    def fingerprint(self, value: str) -> str:
        """Give a keyed fingerprint: equal values are recognised, none can be guessed from it."""
        return hmac.new(self._derive("fingerprint"), value.encode(), hashlib.sha256).hexdigest()


def load_keys(settings: Settings) -> Keys:
    """Load the master key from the environment or its file, made at the first use.

    Args:
        settings: Names the variable's value and the home folder.

    Returns:
        The keys.

    Raises:
        LedgerBroken: The key is not 32 bytes in base64, or its file is readable by others.
    """
    if settings.ledger_key:
        return Keys(_decode(settings.ledger_key, "REMEDY_LEDGER_KEY"))
    path = settings.home / "keys" / "ledger.key"
    if not path.exists():
        _make(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise LedgerBroken(
            expected=f"a key file that only its owner reads: {path}.",
            found=f"mode {mode:04o}.",
            todo=f"Run: chmod 600 {path}",
        )
    return Keys(_decode(path.read_text().strip(), str(path)))


def _make(path: Path) -> None:
    """Write a new key; of two processes at once one wins and both use it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(base64.b64encode(os.urandom(_LENGTH)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def _decode(text: str, where: str) -> bytes:
    try:
        master = base64.b64decode(text, validate=True)
    except binascii.Error:
        master = b""
    if len(master) != _LENGTH:
        raise LedgerBroken(
            expected=f"{_LENGTH} bytes in base64 as the ledger's key.",
            found=f"something else in {where}.",
            todo="Put the key back from where it is kept; without it nothing can be verified.",
        )
    return master
