"""`rollo scan` as a person runs it."""

import asyncio
import json
from pathlib import Path

from rollotape.settings import Settings
from support.gateway import Setup, build_model, insert_patterns, serve
from support.stacks import rollo


def test_a_scan_is_a_table_or_the_answer_itself(settings: Settings) -> None:
    setups = [Setup(1), Setup(2, "MSFT", confidence=0.6, side="distribution", phase=None)]
    asyncio.run(insert_patterns(settings.database_url, setups))
    asyncio.run(build_model(settings))
    with serve(settings) as url:
        table = rollo("scan", "--url", url)
        answer = rollo("scan", "--url", url, "--json", "--symbols", "MSFT")
        refused = rollo("scan", "--url", url, "--sectors", "Wheat")
        keyed = rollo("scan", "--url", url, "--sort", "symbol", ROLLO_API_KEY="rollo_any")

    assert "2 of 2 patterns" in table.stdout
    assert table.stdout.index("AAPL") < table.stdout.index("MSFT")
    assert [item["symbol"] for item in json.loads(answer.stdout)["patterns"]] == ["MSFT"]
    assert (refused.returncode, "sectors" in refused.stderr) == (2, True)
    assert keyed.returncode == 0


def test_without_a_gateway_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    away = rollo("scan", "--url", "http://127.0.0.1:1")
    nowhere = rollo("scan", "--data", str(tmp_path))
    wrong = rollo("scan", "--url", "file:///etc/passwd")

    assert (away.returncode, nowhere.returncode, wrong.returncode) == (1, 2, 2)
    assert "cannot be asked" in away.stderr
    assert "no stack runs" in nowhere.stderr
