"""What the documentation shows, taken apart: fences, commands in them, the output beside them, links."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^ *(`{3,}|~{3,})(.*)$")
"""However far it stands in, as in lists."""
PROMPT, CONTINUED, LEFT_OUT = "$ ", "> ", "…"
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$")
_LINK = re.compile(r"!?\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
_CODE = re.compile(r"(`+)(.+?)\1(?!`)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fence: its language, the number of its first line of content, and that content."""

    language: str
    line: int
    lines: tuple[str, ...]


@dataclass(slots=True)
class Command:
    """A line behind a `$`, with the lines that it goes on in, and what is shown as its output."""

    line: int
    text: str
    shown: list[str] = field(default_factory=list)
    shown_at: int = 0
    """Number of the first line of output."""


def documents() -> list[Path]:
    """Everything that people read, the tutorial first: its figures are those of an empty stack."""
    found = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return sorted(found, key=lambda path: path.name != "tutorial.md")


def blocks(path: Path) -> Iterator[Block]:
    """Every fence of a document."""
    language, opened, mark, margin = "", 0, "", ""
    content: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if not mark and fence:
            mark, language, opened, content = fence[1], fence[2].strip(), number, []
            margin = line[: len(line) - len(line.lstrip())]
        elif mark and fence and fence[1].startswith(mark) and not fence[2].strip():
            yield Block(language, opened + 1, tuple(content))
            mark = ""
        elif mark:
            content.append(line.removeprefix(margin))
    assert not mark, f"{path}:{opened}: a fence that is never closed"


def commands(block: Block) -> list[Command]:
    """Of a console, in their order.

    Raises:
        AssertionError: it begins with something else than a command.
    """
    found: list[Command] = []
    for number, line in enumerate(block.lines, block.line):
        if line.startswith(PROMPT):
            found.append(Command(number, line.removeprefix(PROMPT), shown_at=number + 1))
            continue
        assert found, f"line {number}: output of no command"
        if line.startswith(CONTINUED) and not found[-1].shown:
            found[-1].text += "\n" + line.removeprefix(CONTINUED)
            found[-1].shown_at = number + 1
        else:
            found[-1].shown.append(line)
    for command in found:
        while command.shown and not command.shown[-1]:
            command.shown.pop()  # an empty line before the next command
    return found


def differs(shown: Sequence[str], printed: Sequence[str], *, exact: bool) -> bool:
    """Does the output differ from what is shown? A line `…` stands for any number of lines."""
    wanted = [_masked(line, exact=exact) for line in shown]
    rest = [_masked(line, exact=exact) for line in printed]
    parts = _split(wanted)
    if len(parts) == 1:
        return parts[0] != rest
    if rest[: len(parts[0])] != parts[0]:
        return True
    rest = rest[len(parts[0]) :]
    for part in parts[1:-1]:
        places = [i for i in range(len(rest)) if rest[i : i + len(part)] == part]
        if not places:
            return True
        rest = rest[places[0] + len(part) :]
    return rest[len(rest) - len(parts[-1]) :] != parts[-1]


def shortened(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """What was printed, shown as it was shown before: with as many lines before and after a `…`."""
    parts = _split(shown)
    first, last = len(parts[0]), len(parts[-1])
    if len(parts) == 1 or len(printed) <= first + last + 1:
        return list(printed)
    return [*printed[:first], LEFT_OUT, *printed[len(printed) - last :]]


def _split(lines: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == LEFT_OUT:
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


_CHANGING = (
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\d[\d,.]*(?= (?:bars )?a second\b)"), "<n>"),
    (re.compile(r"\b\d[\d,.]* s\b"), "<n> s"),
    (re.compile(r"\b20(?:2[4-9]|[3-9]\d)-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?"), "<now>"),
    (re.compile(r"\b\d{13}-\d+\b"), "<entry>"),
    (re.compile(r"^(?:id +\d+$|\d+(?= +(?:bars|patterns)\.))"), "<letter>"),
)


def _masked(line: str, *, exact: bool) -> str:
    """Without what no two runs have in common; unless exact, without any figure."""
    for pattern, name in _CHANGING:
        line = pattern.sub(name, line)
    if not exact:
        line = re.sub(r"\d[\d,.:%]*", "#", line)
    return re.sub(r"\s+", " ", line).strip()


def prose(path: Path) -> str:
    """A document without its fences."""
    inside, kept = "", []
    for line in path.read_text("utf-8").splitlines():
        fence = FENCE.match(line)
        if fence and not inside:
            inside = fence[1]
        elif inside and fence and fence[1].startswith(inside):
            inside = ""
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def inline_code(path: Path) -> list[str]:
    """What stands between backticks in the prose."""
    return [" ".join(found[2].split()) for found in _CODE.finditer(prose(path))]


def links(path: Path) -> list[str]:
    """Where the links and pictures of the prose lead."""
    return _LINK.findall(_CODE.sub("`code`", prose(path)))


def anchors(path: Path) -> set[str]:
    """The names that headings have as targets of links, by GitHub's rule."""
    found: dict[str, int] = {}
    names = set()
    for line in prose(path).splitlines():
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = found.get(name, 0)
            found[name] = count + 1
            names.add(f"{name}-{count}" if count else name)
    return names


def tables(path: Path) -> list[list[str]]:
    """Cells of every row of every table of the prose, heads left out."""
    found: list[list[str]] = []
    for line in prose(path).splitlines():
        if line.startswith("|---"):
            found.pop()
        elif line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def codes(cell: str) -> list[str]:
    """What stands between backticks in a cell."""
    return [found[2] for found in _CODE.finditer(cell)]
