"""`python -m seq2seq.data`: a missing or unknown subcommand is one line."""

import pytest

from seq2seq.cli.data.app import main


@pytest.mark.parametrize("argv", [[], ["no-such-subcommand"]])
def test_an_unknown_subcommand_is_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
