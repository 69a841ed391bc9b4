"""The command line: forms of arguments, help, messages and log files, as engines send and parse them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import not_for
from tests.support.runtime import Runtime

VERBS = ["create", "start", "state", "kill", "delete", "run", "exec", "list", "ps", "spec"]
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class TestHelp:
    @pytest.mark.parametrize("flag", ["--help", "-h"])
    @pytest.mark.parametrize("verb", VERBS)
    def test_of_each_verb_goes_to_stdout(self, box: Runtime, verb: str, flag: str) -> None:
        result = box.bare(verb, flag).ok()
        assert verb in result.out
        assert result.err == ""

    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_names_every_verb(self, box: Runtime, flag: str) -> None:
        words = box.bare(flag).ok().out.split()
        assert set(VERBS) <= {word.rstrip(",") for word in words}

    @pytest.mark.parametrize("flag", ["--version", "-v"])
    def test_version_has_the_specifications(self, box: Runtime, flag: str) -> None:
        lines = box.bare(flag).ok().out.splitlines()
        assert lines[0].startswith(f"{box.name} version ")
        assert any(line.startswith("spec: 1.") for line in lines)

    @pytest.mark.parametrize("verb", VERBS[:-2])
    def test_names_every_flag_of_the_contract(self, box: Runtime, verb: str) -> None:
        flags = {
            "create": [
                "--bundle",
                "--console-socket",
                "--pid-file",
                "--no-pivot",
                "--no-new-keyring",
                "--preserve-fds",
            ],
            "run": ["--bundle", "--console-socket", "--pid-file", "--no-pivot", "--detach", "--keep", "--no-subreaper"],
            "exec": [
                "--process",
                "--cwd",
                "--env",
                "--tty",
                "--user",
                "--cap",
                "--additional-gids",
                "--detach",
                "--cgroup",
                "--ignore-paused",
            ],
            "delete": ["--force"],
            "kill": ["--all"] if box.name == "box" else [],
            "list": ["--format", "--quiet"],
        }.get(verb, [])
        text = box.bare(verb, "--help").ok().out
        assert [flag for flag in flags if flag not in text] == []


class TestUsage:
    def test_unknown_verb_is_refused(self, box: Runtime) -> None:
        result = box.bare("nosuchverb")
        assert result.code != 0
        assert "nosuchverb" in result.err + result.out

    @pytest.mark.parametrize("verb", VERBS[:-3])
    def test_unknown_flag_is_refused_and_named(self, box: Runtime, verb: str) -> None:
        result = box(verb, "--no-such-flag", "id")
        assert result.code == (255 if verb == "exec" and box.name == "box" else 1)
        assert "no-such-flag" in result.err

    @pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete", "run", "exec", "ps"])
    def test_missing_id_is_refused(self, box: Runtime, bundle: Bundle, verb: str) -> None:
        result = box(verb, cwd=bundle.save().path)
        assert result.code != 0
        assert result.err

    @pytest.mark.parametrize("verb", ["create", "start", "state", "delete", "run"])
    def test_one_argument_too_many_is_refused(self, box: Runtime, bundle: Bundle, verb: str) -> None:
        assert box(verb, bundle.id, "extra", cwd=bundle.save().path).code != 0

    @pytest.mark.parametrize("flag", ["--bundle", "--pid-file", "--console-socket", "--preserve-fds"])
    def test_flag_without_its_value_is_refused(self, box: Runtime, flag: str) -> None:
        result = box("create", flag)
        assert result.code == 1
        assert "flag needs an argument" in result.err + result.out

    def test_single_dash_works_for_long_flags(self, box: Runtime, bundle: Bundle) -> None:
        bundle.args("/bin/echo", "ran").save()
        assert box("run", "-bundle", str(bundle.path), "-no-subreaper", bundle.id).ok().out == "ran\n"

    @pytest.mark.parametrize("form", ["--bundle={}", "-b={}", "-bundle={}"])
    def test_value_may_follow_an_equals_sign(self, box: Runtime, bundle: Bundle, form: str) -> None:
        bundle.args("/bin/echo", "ran").save()
        assert box("run", form.format(bundle.path), bundle.id).ok().out == "ran\n"

    def test_boolean_flag_may_have_a_value(self, box: Runtime, bundle: Bundle) -> None:
        bundle.args("/bin/echo", "ran").save()
        assert box("run", "--bundle", str(bundle.path), "--detach=false", bundle.id).ok().out == "ran\n"

    def test_double_dash_ends_the_flags(self, box: Runtime, bundle: Bundle) -> None:
        bundle.args("/bin/echo", "ran").save()
        assert box("run", "--bundle", str(bundle.path), "--", bundle.id).ok().out == "ran\n"

    def test_containerds_form_of_delete_works(self, box: Runtime, bundle: Bundle) -> None:
        log = bundle.path / "log.json"
        box.start(bundle).wait()
        box.bare(
            "--root", str(box.root), "--log", str(log), "--log-format", "json", "delete", "--force", bundle.id
        ).ok()

    def test_global_flags_work_in_both_forms(self, box: Runtime, bundle: Bundle) -> None:
        assert box.bare(f"--root={box.root}", "--log-format=json", "list", "-q").out == ""


class TestLog:
    def failing(self, box: Runtime, *flags: str, verb: tuple[str, ...] = ("state", "missing")) -> str:
        result = box.bare("--root", str(box.root), *flags, *verb)
        assert result.code != 0
        return result.err

    def test_json_file_holds_exactly_one_object(self, box: Runtime, directory: Path) -> None:
        log = directory / "log.json"
        self.failing(box, "--log", str(log), "--log-format", "json")
        entry = json.loads(log.read_text())
        assert entry["level"] == "error"
        assert "does not exist" in entry["msg"]
        assert RFC_3339.fullmatch(entry["time"])

    def test_json_of_a_bad_config_is_one_object(self, box: Runtime, bundle: Bundle) -> None:
        log = bundle.path / "log.json"
        bundle.config["root"]["path"] = 'no such\n"root" ü'
        bundle.save()
        self.failing(
            box, "--log", str(log), "--log-format", "json", verb=("create", "--bundle", str(bundle.path), bundle.id)
        )
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["level"] for line in lines].count("error") == 1

    def test_of_a_missing_program_has_what_engines_look_for(self, box: Runtime, bundle: Bundle) -> None:
        log = bundle.path / "log.json"
        bundle.args("nosuchprogram").save()
        self.failing(
            box, "--log", str(log), "--log-format", "json", verb=("run", "--bundle", str(bundle.path), bundle.id)
        )
        assert "executable file not found in" in json.loads(log.read_text().splitlines()[-1])["msg"]

    def test_text_file_is_written(self, box: Runtime, directory: Path) -> None:
        log = directory / "log"
        self.failing(box, "--log", str(log))
        assert "does not exist" in log.read_text()

    def test_file_is_appended_to(self, box: Runtime, directory: Path) -> None:
        log = directory / "log.json"
        for _ in range(2):
            self.failing(box, "--log", str(log), "--log-format", "json")
        assert len(log.read_text().splitlines()) == 2

    def test_error_goes_to_stderr_too(self, box: Runtime, directory: Path) -> None:
        assert "does not exist" in self.failing(box, "--log", str(directory / "log"), "--log-format", "json")

    def test_success_logs_nothing(self, box: Runtime, bundle: Bundle) -> None:
        log = bundle.path / "log.json"
        bundle.save()
        box.bare(
            "--root",
            str(box.root),
            "--log",
            str(log),
            "--log-format",
            "json",
            "run",
            "--bundle",
            str(bundle.path),
            bundle.id,
        ).ok()
        assert log.read_text() == ""

    def test_unwritable_file_is_refused(self, box: Runtime) -> None:
        box.bare("--log", "/no/such/dir/log", "state", "x").refused("/no/such/dir/log")

    def test_unknown_format_is_refused(self, box: Runtime) -> None:
        box.bare("--log-format", "xml", "state", "x").refused("xml")

    @not_for("runc", "crun", reason="they have no facts besides")
    def test_json_has_the_facts_as_data(self, box: Runtime, bundle: Bundle) -> None:
        log = bundle.path / "log.json"
        bundle.process["user"]["uid"] = -1
        bundle.save()
        self.failing(
            box, "--log", str(log), "--log-format", "json", verb=("create", "--bundle", str(bundle.path), bundle.id)
        )
        entry = json.loads(log.read_text())
        assert (entry["code"], entry["pointer"]) == ("config", "/process/user/uid")

    @not_for("runc", "crun", reason="they follow it")
    def test_file_that_is_a_symlink_is_not_followed(self, box: Runtime, directory: Path) -> None:
        (directory / "victim").write_text("untouched")
        (directory / "log").symlink_to("victim")
        box.bare("--root", str(box.root), "--log", str(directory / "log"), "state", "missing")
        assert (directory / "victim").read_text() == "untouched"


class TestMessage:
    @not_for("runc", "crun", reason="they log lines of their own form")
    @pytest.mark.parametrize(
        "args",
        [("state", "missing"), ("create", "--bundle", "/nowhere", "x"), ("nosuchverb",), ("kill",)],
        ids=" ".join,
    )
    def test_is_one_line_that_begins_with_the_name(self, box: Runtime, args: tuple[str, ...]) -> None:
        err = box(*args).err
        assert err.startswith("box: ")
        assert err.count("\n") == 1
        assert not err.rstrip().endswith(".")

    def test_of_a_missing_bundle_names_it(self, box: Runtime) -> None:
        box("create", "--bundle", "/no/such/bundle", "x").refused("/no/such/bundle")

    def test_of_a_missing_config_names_it(self, box: Runtime, directory: Path) -> None:
        box("create", "--bundle", str(directory), "x").refused("config.json")

    @not_for("runc", "crun", reason="they escape in ways of their own")
    def test_with_control_characters_stays_one_line(self, box: Runtime) -> None:
        err = box("state", "a\nb\x1b[31m").refused().err
        assert err.count("\n") == 1
        assert "\x1b" not in err


class TestIdentifier:
    @pytest.mark.parametrize("good", ["a", "0", "_x", "A.b-c+d_e", "9" * 64, "a" * 200])
    def test_good_one_is_taken(self, box: Runtime, bundle: Bundle, good: str) -> None:
        bundle.id = good
        assert box.run(bundle.args("/bin/echo", "ran")).ok().out == "ran\n"

    @pytest.mark.parametrize("bad", ["", "a/b", "../x", "a\n", "é", "a b", "a:b", "x" * 1025, "/abs", "a\\b", "a%2f"])
    def test_bad_one_is_refused(self, box: Runtime, bundle: Bundle, bad: str) -> None:
        box("create", "--bundle", str(bundle.save().path), bad).refused()
        assert not box.root.exists() or list(box.root.iterdir()) == []


def test_root_defaults_to_run(box: Runtime) -> None:
    assert box.bare("state", "no-such-container-of-tests").refused("does not exist").out == ""


def test_output_that_cannot_be_written_is_an_error_without_a_traceback(box: Runtime, bundle: Bundle) -> None:
    box.create(bundle)
    result = box("state", bundle.id, prefix=("/bin/sh", "-c", 'exec "$@" > /dev/full', "sh"))
    assert "Traceback" not in result.err
    assert box.name != "box" or result.code == 1
