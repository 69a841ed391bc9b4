"""The grammar of the command line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxes.cli.options import DURATION, FLAG, INT, MANY, SIZE, Command, Option, check_count, integer, parse
from boxes.errors import UsageError

COMMAND = Command(
    "verb",
    "",
    usage="ID [MORE]",
    options=(
        Option("bundle", "", short="b", default="."),
        Option("detach", "", short="d", kind=FLAG),
        Option("env", "", short="e", kind=MANY),
        Option("preserve-fds", "", kind=INT, default=0),
        Option("memory", "", kind=SIZE),
        Option("interval", "", kind=DURATION),
        Option("format", "", default="table", choices=("table", "json")),
        Option("no-subreaper", "", kind=FLAG),
    ),
    least=1,
    most=2,
)
OTHERS = Command("other", "", usage="ID COMMAND", options=COMMAND.options, command=True)


@pytest.mark.parametrize(
    "argv", [["-b", "x"], ["--b", "x"], ["-bundle", "x"], ["--bundle", "x"], ["--bundle=x"], ["-b=x"]]
)
def test_spellings_of_an_option_mean_the_same(argv: list[str]) -> None:
    assert parse(COMMAND, [*argv, "id"]).text("bundle") == "x"
    assert parse(COMMAND, ["id", *argv]).arguments == ["id"]


def test_single_dash_long_flag_as_go_runc_sends_it() -> None:
    parsed = parse(COMMAND, ["-no-subreaper", "--bundle", "b", "id"])
    assert parsed.flag("no-subreaper")
    assert parsed.arguments == ["id"]


def test_defaults_without_options() -> None:
    parsed = parse(COMMAND, [])
    assert parsed.text("bundle") == "."
    assert parsed.flag("detach") is False
    assert parsed.many("env") == []
    assert parsed.integer("preserve-fds") == 0
    assert parsed.text("format") == "table"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("T", True), ("false", False), ("0", False)])
def test_boolean_takes_a_value_only_after_equals(text: str, value: bool) -> None:
    assert parse(COMMAND, [f"--detach={text}"]).flag("detach") is value
    assert parse(COMMAND, ["--detach", text]).arguments == [text]


def test_repeated_options_are_collected_or_the_last_counts() -> None:
    parsed = parse(COMMAND, ["-e", "A=1", "--env=B=2", "--bundle", "x", "--bundle", "y"])
    assert parsed.many("env") == ["A=1", "B=2"]
    assert parsed.text("bundle") == "y"


def test_value_may_look_like_an_option() -> None:
    parsed = parse(COMMAND, ["--preserve-fds", "-1", "-e", "--detach"])
    assert parsed.integer("preserve-fds") == -1
    assert parsed.many("env") == ["--detach"]
    assert not parsed.flag("detach")


def test_two_dashes_end_the_options() -> None:
    parsed = parse(COMMAND, ["-d", "--", "--bundle", "-"])
    assert parsed.arguments == ["--bundle", "-"]


def test_a_dash_is_an_argument() -> None:
    assert parse(COMMAND, ["-", "-d"]).arguments == ["-"]


def test_options_end_at_the_first_argument_of_a_verb_that_takes_a_command() -> None:
    parsed = parse(OTHERS, ["-d", "id", "ls", "-d", "--", "--help"])
    assert parsed.arguments == ["id", "ls", "-d", "--", "--help"]
    assert not parsed.help


@pytest.mark.parametrize("flag", ["-h", "--help", "-help", "--h"])
def test_help_wins_over_what_follows(flag: str) -> None:
    assert parse(COMMAND, ["id", flag, "--nonsense"]).help


def test_missing_value_in_the_words_engines_probe_for() -> None:
    with pytest.raises(UsageError, match=r"^flag needs an argument: --bundle$"):
        parse(COMMAND, ["--bundle"])
    with pytest.raises(UsageError, match=r"^flag needs an argument: -b$"):
        parse(COMMAND, ["-b"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--bundel", "x"], "unknown flag '--bundel' for 'box verb' (did you mean '--bundle'?)"),
        (["--zzz=1"], "unknown flag '--zzz' for 'box verb'"),
        (["-9"], "unknown flag '-9' for 'box verb'"),
        (["-=1"], "unknown flag '-' for 'box verb'"),
        (["-db"], "unknown flag '-db' for 'box verb'"),
        (["--root", "x"], "unknown flag '--root' for 'box verb' ('--root' is a global flag: it goes before 'verb')"),
        (["--bundle="], "flag --bundle: '' where a value is wanted"),
        (["--format", "xml"], "flag --format: 'xml' where 'table' or 'json' is wanted"),
        (["--detach=maybe"], "flag --detach: 'maybe' where 'true' or 'false' is wanted"),
        (["--preserve-fds", "1_0"], "flag --preserve-fds: '1_0' is no number"),
        (["--memory", "much"], "flag --memory: 'much' is no size"),
        (["--interval", "soon"], "flag --interval: 'soon' is no duration"),
    ],
)
def test_one_clear_line_for_what_is_wrong(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(COMMAND, argv)
    assert str(caught.value) == message


def test_values_before_an_error_are_known() -> None:
    values: dict[str, object] = {}
    with pytest.raises(UsageError):
        parse(COMMAND, ["--bundle", "x", "--nonsense"], values)
    assert values["bundle"] == "x"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4096", 4096), ("100M", 100 * 2**20), ("1.5g", 3 * 2**29), ("2GiB", 2**31), ("1kb", 1024), ("-1", -1)],
)
def test_sizes(text: str, value: int) -> None:
    assert parse(COMMAND, ["--memory", text]).integer("memory") == value


@pytest.mark.parametrize("text", ["-2", "1x", "M", "1.M", "9" * 30, "9999999999P", "\u0967M", "1 0", ""])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        parse(COMMAND, ["--memory", text])


@pytest.mark.parametrize(
    ("text", "value"), [("5s", 5.0), ("1m30s", 90.0), ("250ms", 0.25), ("3", 3.0), ("1.5h", 5400.0)]
)
def test_durations(text: str, value: float) -> None:
    assert parse(COMMAND, ["--interval", text]).seconds("interval") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "-5s", "5x", "5s5", "1,5s", "\u0665s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError):
        parse(COMMAND, [f"--interval={text}"])


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_are_read_back(number: int) -> None:
    assert integer(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "-", "+1", "1_0", " 1", "1 ", "0x1", "1.0", "\u0661", "²", str(2**63), "9" * 5000]
)
def test_no_integers(text: str) -> None:
    assert integer(text) is None


@given(st.lists(st.text()))
def test_whatever_is_typed_is_parsed_or_refused(argv: list[str]) -> None:
    with contextlib.suppress(UsageError):
        parse(COMMAND, argv)


def test_a_long_command_line_is_read_in_linear_time() -> None:
    assert len(parse(COMMAND, ["x"] * 500_000).arguments) == 500_000


def test_too_few_and_too_many_arguments() -> None:
    with pytest.raises(UsageError, match=r"^'box verb' needs ID \(usage: box verb ID \[MORE\]\)$"):
        check_count(COMMAND, [])
    with pytest.raises(UsageError, match=r"^unexpected argument 'c' for 'box verb' "):
        check_count(COMMAND, ["a", "b", "c"])
    check_count(COMMAND, ["a"])
