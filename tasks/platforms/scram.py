"""Passwords of PostgreSQL, hashed on the client.

Source: PostgreSQL manual 21.5 (password authentication), 34.13 (PQencryptPasswordConn).
"""

from tasks.platforms.protocols import Connection


def scram_verifier(session: Connection, role: str, password: str) -> str:
    """Give what the server keeps of a password: the password itself reaches no log and no view.

    Never MD5, which a server may have by default: whoever reads that can log in by it.

    Args:
        session: A session with the server.
        role: The role that gets the password.
        password: The password.
    """
    verifier = session.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return verifier.decode()
