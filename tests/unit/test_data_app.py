"""`python -m seq2seq.data`: a missing or unknown subcommand is one line."""

from pathlib import Path

import pytest

from seq2seq.cli.data.app import main


@pytest.mark.parametrize("argv", [[], ["no-such-subcommand"]])
def test_an_unknown_subcommand_is_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_prepare_reads_paths_of_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    overrides = ["data=files", "data.src=en", "data.tgt=de", "data.train.src=~/none.en", "data.train.tgt=~/none.de"]
    assert main(["prepare", *overrides, f"data.cache_dir={tmp_path}"]) == 2
    assert f"{tmp_path}/none.en: no such file" in capsys.readouterr().err
