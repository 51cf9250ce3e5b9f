from pathlib import Path

import pytest

from backline.demo.library import USERS, Library, Photo
from backline.demo.thumbnails import SIZES, make_sizes


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "home")
    library.prepare()
    return library


def test_it_lists_what_was_shared_newest_first(library: Library) -> None:
    photos = [Photo(f"id-{number}", "a title", USERS[0], "a job") for number in range(3)]
    for photo in photos:
        library.share(photo)
    library.prepare()  # again: nothing is lost

    assert library.latest(2) == photos[:0:-1]
    assert library.count() == 3


def test_an_original_is_kept_replaced_and_discarded(library: Library) -> None:
    library.keep("a", b"half")
    library.keep("a", b"whole")
    assert library.original("a").read_bytes() == b"whole"
    assert library.saved() == 1

    library.discard("a")
    library.discard("a")
    assert library.saved() == 0
    assert not list(library.originals.iterdir())


def test_it_tells_which_sizes_are_made(library: Library, photo: Path) -> None:
    assert library.made("a") == frozenset()
    make_sizes(photo, library.folder("a"))
    (library.folder("a") / "1600.jpg").unlink()
    assert library.made("a") == frozenset(SIZES) - {1600}


def test_a_profile_counts_the_users_own_photographs(library: Library) -> None:
    library.share(Photo("a", "a title", USERS[0], None))
    library.share(Photo("b", "a title", USERS[1], None))

    profile = library.profile(USERS[0])
    assert profile is not None
    assert (profile.name, profile.photos) == (USERS[0], 1)
    assert profile.motto
    assert library.profile("nobody") is None
