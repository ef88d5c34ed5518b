"""Access logs: answers by what was asked for, without what would tell whose it was."""

from tasks.application.response_sizes import by_pattern

LINE = '10.0.0.7 - - [27/Nov/2026:10:00:00 +0000] "{} HTTP/1.1" {} {} "-" "curl/8"'


def test_requests_for_no_page_are_gathered() -> None:
    """Ids are folded; who asks for a page, writes, or is refused is left out."""
    asked = [
        ("GET /api/v1/programs", 200, 900_000),
        ("GET /api/v1/programs?sort=name&status=secret-word", 200, 5),
        ("GET /api/v1/programs?limit=10", 200, 4_000),
        ("GET /api/v1/programs/17/projects", 200, 7),
        ("GET /api/v1/programs/0b7e9f6a-1c7d-4f0e-9a57-2f1f3f0a9b11/projects", 200, 9),
        ("GET /api/v1/users/somebody@example.com", 200, 1),
        ("POST /api/v1/programs", 201, 300),
        ("GET /api/v1/gone", 404, 30),
        ("GET http://[broken", 200, 1),
    ]
    lines = [LINE.format(*one) for one in asked]
    assert by_pattern([*lines, "not a request", ""]) == {
        "GET /api/v1/programs": [900_000],
        "GET /api/v1/programs?sort&status": [5],
        "GET /api/v1/programs/{id}/projects": [7, 9],
        "GET /api/v1/users/{id}": [1],
    }
