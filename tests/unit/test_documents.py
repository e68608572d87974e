"""How documents are taken apart: what counts as a command, as its output, as the same output."""

from pathlib import Path

import pytest

from support import documents
from support.documents import Block, differs, shortened


def block(*lines: str) -> Block:
    return Block("console", 1, lines)


def test_a_command_goes_on_behind_an_angle_and_is_followed_by_its_output() -> None:
    [first, second] = documents.commands(block("$ curl -d '{", ">  }' here", "told", "", "$ rollo verify"))
    assert (first.text, first.shown, first.shown_at) == ("curl -d '{\n }' here", ["told"], 3)
    assert (second.text, second.shown, second.line) == ("rollo verify", [], 5)


def test_output_of_no_command_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="output of no command"):
        documents.commands(block("told"))


def test_a_fence_that_is_never_closed_is_a_mistake(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ rollo verify\n")
    with pytest.raises(AssertionError, match="never closed"):
        list(documents.blocks(page))


@pytest.mark.parametrize(
    ("shown", "printed", "exact", "is_other"),
    [
        ("3 rows in 1.2 s", "3 rows in 9.9 s", True, False),
        ("3 rows", "4 rows", True, True),
        ("3 rows", "4 rows", False, False),
        ("3 rows", "3 lines", False, True),
        ("a\n…\nz", "a\nb\nc\nz", True, False),
        ("a\n…\nz", "b\nc\nz", True, True),
        ("a\n…\nc\n…\nz", "a\nb\nc\nd\nz", True, False),
        ("a\n…\nx\n…\nz", "a\nb\nc\nd\nz", True, True),
        ("a\nb", "a", True, True),
        ("a   b", "a b", True, False),
    ],
)
def test_output_differs(shown: str, printed: str, exact: bool, is_other: bool) -> None:
    assert differs(shown.split("\n"), printed.split("\n"), exact=exact) is is_other


def test_what_is_written_is_as_long_as_what_was_shown() -> None:
    assert shortened(["a", "…", "z"], ["1", "2", "3", "4"]) == ["1", "…", "4"]
    assert shortened(["a", "…", "z"], ["1", "2", "3"]) == ["1", "2", "3"]
    assert shortened(["a"], ["1", "2"]) == ["1", "2"]


def test_headings_are_targets_by_the_rule_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# What `rollo doctor` checks\n\n## A, b: c\n\n## A, b: c\n\n```text\n# no heading\n```\n"
    page.write_text(text)
    assert documents.anchors(page) == {"what-rollo-doctor-checks", "a-b-c", "a-b-c-1"}


def test_links_are_those_of_the_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](b.md#c) `[no](x)` ![p](p.svg)\n\n```text\n[no](y)\n```\n")
    assert documents.links(page) == ["b.md#c", "p.svg"]


def test_a_fence_in_a_list_stands_in(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("- so:\n\n      ```console\n      $ rollo verify\n      told\n      ```\n")
    [found] = documents.blocks(page)
    assert found == Block("console", 4, ("$ rollo verify", "told"))
