"""The corpus is as large as it is meant to be, and no case of it hides another."""

from tests.bad_input.corpus.damage import CLOSED, DAMAGE, REPORTS, STRICT
from tests.bad_input.corpus.names import NAMES, XSS
from tests.bad_input.corpus.texts import HUGE, TEXTS
from tests.bad_input.corpus.times import INSTANTS, LENGTHS, WRITTEN

CLASSES = {
    "texts": [case.name for case in [*TEXTS, *HUGE]],
    "names": [case.name for case in [*NAMES, *XSS]],
    "instants": [case.name for case in INSTANTS],
    "written times": [case.name for case in WRITTEN],
    "lengths": [case.name for case in LENGTHS],
    "damage": [*(case.name for case in DAMAGE), *CLOSED, *REPORTS, *STRICT],
}


def test_it_has_four_hundred_cases() -> None:
    assert len(set(CLASSES["damage"])) >= 400
    assert sum(len(set(cases)) for cases in CLASSES.values()) >= 1_000
    assert len(XSS) >= 200


def test_every_case_has_a_name_of_its_own() -> None:
    for cases in (*list(CLASSES.values())[:-1], [case.name for case in DAMAGE]):
        assert len(set(cases)) == len(cases)
