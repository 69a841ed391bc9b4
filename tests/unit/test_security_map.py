"""docs/security.md names each published advisory, with a defence and a test that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
MAP = (CHECKOUT / "docs/security.md").read_text()
SECURITY = CHECKOUT / "tests/security"
# Published until September 2026. A new one is added here first.
RUNC = """
    CVE-2014-9357 CVE-2015-3627 CVE-2015-3629 CVE-2015-3630 CVE-2015-3631 CVE-2016-3697 CVE-2016-9962 CVE-2019-5736 CVE-2019-16884
    CVE-2019-19921 CVE-2021-30465 CVE-2021-43784 CVE-2022-29162 CVE-2023-25809 CVE-2023-27561 CVE-2023-28642 CVE-2024-21626
    CVE-2024-45310 CVE-2025-31133 CVE-2025-52565 CVE-2025-52881 CVE-2026-41579 GHSA-g54h-m393-cpwq
    GHSA-q3j5-32m5-58c2 GHSA-gp4j-w3vj-7299 GHSA-gxmr-w5mj-v8hh GHSA-fgv8-vj5c-2ppq GHSA-fh74-hm69-rqjw GHSA-c3xm-pvg7-gh7r
    GHSA-v95c-p5hm-xq8f GHSA-f3fp-gc8g-vw66 GHSA-m8cg-xc2p-r3fc GHSA-xr7r-f8xq-vfvv GHSA-jfvp-7x6p-h2pv GHSA-9493-h29p-rfm2
    GHSA-qw9x-cqr3-wc7r GHSA-cgrx-mc8f-2prm GHSA-xjvp-4fhw-gc47
"""
CRUN = """
    CVE-2019-18837 CVE-2022-27650 CVE-2025-24965 CVE-2026-30892 CVE-2026-47766 CVE-2026-88264 CVE-2026-88265 GHSA-f42g-r5jj-qh4j
    GHSA-4vg2-xjqj-7chj
"""
YOUKI = "CVE-2025-27612 CVE-2025-54867 CVE-2025-62161 CVE-2025-62596 GHSA-3q8j-pf29-vwv8"
OTHERS = """
    CVE-2015-1331 CVE-2015-1334 CVE-2015-1335 CVE-2016-8649 CVE-2016-8659 CVE-2016-10124 CVE-2017-5226 CVE-2017-5985 CVE-2018-6556
    CVE-2018-10856 CVE-2018-15664 CVE-2019-14271 CVE-2020-5291 CVE-2020-15257 CVE-2021-41103 CVE-2022-0492 CVE-2022-0811
    CVE-2022-1227 CVE-2022-1708 CVE-2022-2995 CVE-2022-4318 CVE-2022-23471 CVE-2022-24769 CVE-2022-27649 CVE-2022-27651
    CVE-2022-27652 CVE-2022-31030 CVE-2022-36109 CVE-2022-47952 CVE-2023-25173 CVE-2024-1753 CVE-2024-3154 CVE-2024-5154
    CVE-2024-8676 CVE-2024-9676 CVE-2024-23651 CVE-2024-23652 CVE-2024-23653 CVE-2024-25621 CVE-2024-40635 CVE-2025-0750
    CVE-2025-4437 CVE-2025-47291 CVE-2025-64329 CVE-2025-64750 CVE-2025-65105 CVE-2026-23953 CVE-2026-39402 CVE-2026-40226
    CVE-2026-41163 CVE-2026-41567 CVE-2026-41568 CVE-2026-42306 CVE-2026-46680 CVE-2026-47262 CVE-2026-50195 CVE-2026-53488
    CVE-2026-53489 CVE-2026-53492 CVE-2026-55686 CVE-2026-57231 CVE-2026-87766 GHSA-7ww5-4wqc-m92c GHSA-w2j5-3rcx-vx7x
"""
HAZARDS = [f"C{number}" for number in range(1, 25)]
NAMED = re.compile(r"`([\w./]+\.(?:py|c)):(\w+)`")


def rows() -> dict[str, str]:
    """Each row of the tables of ids, by its first cell."""
    lines = [line for line in MAP.splitlines() if line.startswith("| ") and line.count("|") >= 5]
    return {line.split("|")[1].strip(): line for line in lines}


def ids() -> list[str]:
    return f"{RUNC} {CRUN} {YOUKI} {OTHERS}".split()


@cache
def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def place(file: str) -> Path:
    """A test by its name alone is one of tests/security; what is no test is of the package, or of native."""
    if file.startswith("tests/"):
        return CHECKOUT / file
    if file.startswith("test_"):
        return SECURITY / file
    return CHECKOUT / file if file.startswith("native/") else CHECKOUT / "src/boxes" / file


def defined(file: str, name: str) -> bool:
    if file.endswith(".c"):
        return re.search(rf"^[\w *]*\b{name}\(", text(place(file)), re.MULTILINE) is not None
    if (file, name) == ("system.py", "fsencode"):
        return "fsencode" in text(place(file))
    return re.search(rf"^ *(?:def|class) {name}\b|^{name} = ", text(place(file)), re.MULTILINE) is not None


@pytest.mark.parametrize("id", [*ids(), *HAZARDS])
def test_each_has_a_row_with_a_test(id: str) -> None:
    found = [row for cell, row in rows().items() if id in cell.replace(",", " ").split()]
    assert found, f"{id} is not in docs/security.md"
    assert any("test_" in file for row in found for file, _ in NAMED.findall(row))


def test_list_has_no_id_twice_and_lacks_none_of_the_document() -> None:
    assert len(ids()) == len(set(ids()))
    cells = " ".join(rows()).replace(",", " ").split()
    assert {word for word in cells if word.startswith(("CVE-", "GHSA-"))} == set(ids())


@pytest.mark.parametrize("file, name", sorted(set(NAMED.findall(MAP))))
def test_what_is_named_exists(file: str, name: str) -> None:
    assert place(file).exists(), f"no {place(file)}"
    assert defined(file, name), f"no {name} in {file}"


def test_each_file_of_the_attacks_is_in_the_map() -> None:
    named = {file for file, _ in NAMED.findall(MAP)} | set(re.findall(r"test_\w+\.py", MAP))
    missing = {path.name for path in SECURITY.glob("test_*.py")} - named
    assert missing == set()
