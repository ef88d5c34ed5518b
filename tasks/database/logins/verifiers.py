"""What the server keeps of passwords: whether one fits, and what stood there before.

Source: PostgreSQL manual, 53.8 "pg_authid"; RFC 5802 (SCRAM), section 3.
"""

import base64
import hashlib
import hmac
import re

from tasks.database.catalogue import elsewhere, is_superuser
from tasks.platforms.protocols import Database

_SCRAM = re.compile(
    r"SCRAM-SHA-256\$(?P<rounds>\d+):(?P<salt>[^$]+)\$(?P<stored>[^:]+):(?P<server>.+)"
)


def read_verifier(database: Database, role: str) -> str | None:
    """Read what is kept of a role's password.

    Args:
        database: The database under care.
        role: Name of the role.

    Returns:
        The verifier; '' where no password is set; None where only a superuser may see it.
    """
    with database.connect(elsewhere(database)) as session:
        if not is_superuser(session):
            return None
        row = session.execute(
            "SELECT coalesce(rolpassword, '') AS verifier FROM pg_authid WHERE rolname = %s",
            (role,),
        ).fetchone()
    return str(row["verifier"]) if row else ""


def digest(verifier: str) -> str:
    """Give what stands for a verifier where everybody may read it: it is salted, so is this."""
    return hashlib.sha256(verifier.encode()).hexdigest()


def fits(verifier: str, role: str, password: str) -> bool:
    """Say whether a password is the one that a verifier was made of.

    Args:
        verifier: As the server keeps it.
        role: Name of the role (md5 has it in the hash).
        password: The password; of plain characters, as the application's are.

    Returns:
        Whether it fits; False for no verifier.
    """
    if verifier.startswith("md5"):
        digest = hashlib.md5((password + role).encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(verifier, f"md5{digest}")
    found = _SCRAM.fullmatch(verifier)
    if found is None:
        return False
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(found["salt"]), int(found["rounds"])
    )
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client).digest()).decode()
    return hmac.compare_digest(stored, found["stored"])
