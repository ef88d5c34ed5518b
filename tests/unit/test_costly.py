"""Which of the tests that take long are run."""

from tests.costly import choose

NAMES = [f"tests/flows/test_it.py::test_{number}" for number in range(300)]


def test_about_one_in_three_runs_and_others_for_another_version() -> None:
    """All of them have been run after a few versions."""
    versions = [choose(NAMES, f"version {number}") for number in range(60)]
    assert all(60 <= len(chosen) <= 140 for chosen in versions)
    assert versions[0] != versions[1]
    assert versions[0] == choose(NAMES, "version 0")
    assert set().union(*versions) == set(NAMES)


def test_of_each_file_one_runs() -> None:
    """A file whose tests all take long is never left out as a whole."""
    for number in range(30):
        assert len(choose(NAMES[:1], f"version {number}")) == 1
        assert choose(NAMES[:2], f"version {number}")
