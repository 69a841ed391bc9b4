"""Which ids may name a container."""

from __future__ import annotations

import pytest

from boxes.errors import UsageError
from boxes.spec.identifier import check_id


@pytest.mark.parametrize("text", ["a", "0", "_", "+", "a.b-c+d_e", "A9", "a..", "a" * 255])
def test_an_id_is_returned_as_it_is(text: str) -> None:
    assert check_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        ".",
        "..",
        ".a",
        "-a",
        "--force",
        "a/b",
        "../x",
        "/",
        "é",
        "aé",
        "\uff11",
        "a\udc80",
        "a:b",
        "a\\b",
        "a~",
        "",
        "a\n",
        "\n",
        "a b",
        "a\0",
        "a" * 256,
    ],
)
def test_what_could_leave_its_directory_or_look_like_an_option_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_id(text)
    assert "\n" not in str(caught.value)


def test_the_error_names_the_id_and_what_is_expected() -> None:
    with pytest.raises(UsageError) as caught:
        check_id("a/b")
    assert str(caught.value) == (
        "'a/b' is not a container id: expected letters, digits, '_', '+', '.' and '-', and no '.' or '-' first"
    )


def test_the_error_of_a_long_id_does_not_repeat_it() -> None:
    with pytest.raises(UsageError) as caught:
        check_id("a" * 300)
    assert str(caught.value) == "a container id has 1 to 255 characters, not 300"
