"""The ledger's keys, all derived from one master key that lies outside its database.

The master key stands in base64 in a file or a variable. Behind it, after a comma each, stand
the earlier ones as `LAST:PUBLIC`: the last entry that one signed, and its public key. The
private part of a key that was rotated is kept nowhere.
"""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from tasks.guardrails.errors import LedgerBroken
from tasks.guardrails.settings import Settings

_LENGTH = 32


@dataclass(frozen=True)
class Retired:
    """A key that was rotated.

    Args:
        last: The last entry that it signed; what it signs behind that counts for nothing.
        public: Its public key in base64.
    """

    last: int
    public: str


class Keys:
    """Signs entries, encrypts approvers' secrets and fingerprints values.

    Args:
        master: 32 random bytes.
        retired: The keys before, oldest first.
    """

    def __init__(self, master: bytes, retired: tuple[Retired, ...] = ()) -> None:
        """Keep the master key; everything else is derived from it when needed."""
        self._master = master
        self._retired = retired

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read keys as `text` writes them; None where it is something else."""
        master, *before = text.strip().split(",")
        parts = [word.partition(":") for word in before]
        try:
            keys = cls(
                base64.b64decode(master, validate=True),
                tuple(Retired(int(last), public) for last, _, public in parts),
            )
            for one in keys._retired:
                _public_key(one.public)
        except ValueError:
            return None
        return keys if len(keys._master) == _LENGTH else None

    def text(self) -> str:
        """Write the keys in one line, for their file or variable."""
        before = (f"{one.last}:{one.public}" for one in self._retired)
        return ",".join((base64.b64encode(self._master).decode(), *before))

    def successor(self, last: int) -> "Keys":
        """Make the keys that come after these.

        Args:
            last: The last entry that these have signed.
        """
        return Keys(os.urandom(_LENGTH), (*self._retired, Retired(last, self.public)))

    @cached_property
    def public(self) -> str:
        """The public key in base64."""
        return base64.b64encode(self._signer.public_key().public_bytes_raw()).decode()

    @property
    def rotated_after(self) -> int:
        """The last entry that an earlier key has signed, 0 where there was none."""
        return self._retired[-1].last if self._retired else 0

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

    def is_signed(self, text: str, signature: str, seq: int | None = None) -> bool:
        """Say whether a signature over a text is ours.

        Args:
            text: What was signed.
            signature: The signature in base64.
            seq: Entry that it belongs to: each counts by the key of its time and by no other.
                Without one, by the key of now.
        """
        before = (one.public for one in self._retired if seq is not None and seq <= one.last)
        return _is_signed(text, signature, next(before, self.public))

    def retired_after(self, text: str, signature: str) -> int | None:
        """Give the last entry of the earlier key by which a text is signed; None for no such."""
        fits = (one.last for one in self._retired if _is_signed(text, signature, one.public))
        return next(fits, None)

    def encrypt(self, secret: str) -> str:
        """Encrypt a secret for keeping in the ledger's database."""
        return self._box.encrypt(secret.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Decrypt what `encrypt` gave; '' for anything else."""
        try:
            return self._box.decrypt(token.encode()).decode()
        except InvalidToken:
            return ""

    def fingerprint(self, value: str) -> str:
        """Give a keyed fingerprint: equal values are recognised, none can be guessed from it."""
        return hmac.new(self._derive("fingerprint"), value.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=16)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))


def _is_signed(text: str, signature: str, public: str) -> bool:
    try:
        _public_key(public).verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def key_file(settings: Settings) -> Path:
    """Give the file of the master key."""
    return settings.home / "keys" / "ledger.key"


def load_keys(settings: Settings) -> Keys:
    """Load the keys from the environment or their file, made at the first use.

    Args:
        settings: Names the variable's value and the home folder.

    Returns:
        The keys.

    Raises:
        LedgerBroken: The key is not 32 bytes in base64, or its file is readable by others.
    """
    if settings.ledger_key:
        return _parse(settings.ledger_key, "REMEDY_LEDGER_KEY")
    path = key_file(settings)
    if not path.exists():
        _make(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise LedgerBroken(
            expected=f"a key file that only its owner reads: {path}.",
            found=f"mode {mode:04o}.",
            todo=f"Run: chmod 600 {path}",
        )
    return _parse(path.read_text(), str(path))


def write_keys(path: Path, keys: Keys) -> None:
    """Write keys for their owner only; they are on the disk when this returns."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(keys.text() + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Have the folder that a file lies in on the disk: its names as they are now."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make(path: Path) -> None:
    """Write a new key; of two processes at once one wins and both use it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    write_keys(partial, Keys(os.urandom(_LENGTH)))
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def _parse(text: str, where: str) -> Keys:
    keys = Keys.parse(text)
    if keys is None:
        raise LedgerBroken(
            expected=f"{_LENGTH} bytes in base64 as the ledger's key.",
            found=f"something else in {where}.",
            todo="Put the key back from where it is kept; without it nothing can be verified.",
        )
    return keys
