"""Rows that every seeded sandbox has, known by their ids, and the probe account's requests."""

import uuid

from tasks.platforms.protocols import ProbeAccount, Request

PROBE = "remedy-probe"
KNOWN_PROGRAM, KNOWN_PROGRAM_NAME = uuid.UUID(int=0x1001), "Program 1"
KNOWN_PROJECT, KNOWN_PROJECT_NAME = uuid.UUID(int=0x2001), "Project 1"

_AUTHORIZED = {"Authorization": "Bearer {token}", "Cache-Control": "no-cache"}


def probe_account() -> ProbeAccount:
    """Give the probe account: reads known rows past the cache, writes one, deletes it again."""
    return ProbeAccount(
        username=PROBE,
        login=Request(
            method="POST",
            path="/api/v1/auth/login",
            body={"username": "{username}", "password": "{password}"},
            capture={"token": "access_token"},
        ),
        read=[
            Request(
                method="GET",
                path=f"/api/v1/programs/{KNOWN_PROGRAM}",
                headers=_AUTHORIZED,
                expect={"name": KNOWN_PROGRAM_NAME},
            ),
            Request(
                method="GET",
                path=f"/api/v1/projects/{KNOWN_PROJECT}",
                headers=_AUTHORIZED,
                expect={"name": KNOWN_PROJECT_NAME},
            ),
        ],
        write=Request(
            method="POST",
            path="/api/v1/programs",
            headers=_AUTHORIZED,
            body={"name": "Remedy probe {unique}"},
            status=201,
            capture={"id": "id"},
        ),
        read_back=Request(
            method="GET",
            path="/api/v1/programs/{id}",
            headers=_AUTHORIZED,
            expect={"name": "Remedy probe {unique}"},
        ),
        delete=Request(
            method="DELETE", path="/api/v1/programs/{id}", headers=_AUTHORIZED, status=204
        ),
    )
