"""Metrics against values worked out by hand and against the sacreBLEU command."""

import gzip
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu

from seq2seq.errors import ConfigError, DataError
from seq2seq.evaluation.metrics import bleu, bleu_metric, bleu_score, exact_match, score, sentence_scores
from seq2seq.evaluation.moses import MosesTokenizer

REFERENCES = [
    "The cat is on the mat.",
    "A dog ran home, didn't it?",
    "„Grüße“, sagte sie – und ging.",
    "He paid 1,000.50 dollars (cash).",
]
HYPOTHESES = [
    "the cat sat on the mat.",
    "A dog ran home didn't it?",
    "„Grüße“, sagte Sie und ging.",
    "He paid 1,000.50 Dollars.",
]

# 8 words against 9. n-gram matches 7/8, 4/7, 2/6, 1/5: their product is 1/30.
FOX, FOX_REFERENCE = "the quick brown fox jumps over the dog", "the quick brown fox jumped over the lazy dog"
FOX_BLEU = 100 * math.exp(1 - 9 / 8) * (1 / 30) ** (1 / 4)


def test_bleu_of_a_sentence_worked_out_by_hand() -> None:
    assert bleu([FOX], [FOX_REFERENCE]) == pytest.approx(FOX_BLEU, abs=1e-9)
    assert score([FOX], [FOX_REFERENCE]).bleu.value == pytest.approx(FOX_BLEU, abs=1e-9)


def test_bleu_adds_counts_over_the_corpus_before_dividing() -> None:
    # With "a b c d" right in full: 11/12, 7/10, 4/8, 2/6 and 12 words against 13; a mean of sentences would differ.
    expected = 100 * math.exp(1 - 13 / 12) * (11 / 12 * 7 / 10 * 4 / 8 * 2 / 6) ** (1 / 4)
    assert bleu([FOX, "a b c d"], [FOX_REFERENCE, "a b c d"]) == pytest.approx(expected, abs=1e-9)


def test_punctuation_is_tokenised() -> None:
    # on the old mat . | on the old mat !: five words each, of which the first four agree.
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert bleu(["on the old mat."], ["on the old mat!"]) == pytest.approx(expected, abs=1e-9)


def test_a_warning_about_tokenised_text_names_no_parameter_that_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    score(["the dog ."] * 100, ["the dog ."] * 100)
    assert "tokenized period" in caplog.text
    assert "detokenize your test data" in caplog.text
    assert "force" not in caplog.text


def test_ter_is_edits_per_reference_word() -> None:
    # "jumps" is replaced and "lazy" inserted: 2 edits, 9 words.
    assert score([FOX], [FOX_REFERENCE]).ter.value == pytest.approx(100 * 2 / 9)


def test_ter_counts_a_moved_phrase_once() -> None:
    assert score(["c d e a b"], ["a b c d e"]).ter.value == pytest.approx(100 * 1 / 5)


def test_chrf_is_the_mean_over_character_ngram_orders() -> None:
    # "abc" against "abd": 2 of 3 characters, 1 of 2 pairs, no triple; precision equals recall.
    assert score(["abc"], ["abd"]).chrf.value == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


def test_chrf_weighs_recall_twice_as_much_as_precision() -> None:
    # "a" against "ab", single characters only: precision 1, recall 1/2, beta 2.
    assert score(["a"], ["ab"]).chrf.value == pytest.approx(100 * 5 * 1 * 0.5 / (4 * 1 + 0.5))


def test_identical_text_is_perfect() -> None:
    scores = score(REFERENCES, REFERENCES)
    values = {name: metric.value for name, metric in scores.metrics().items()}
    assert values == pytest.approx({"bleu": 100, "chrf": 100, "ter": 0, "bleu_tok_lc": 100})


def test_only_lower_cased_bleu_ignores_case() -> None:
    scores = score([FOX.upper()], [FOX_REFERENCE])
    assert scores.bleu.value == 0
    assert scores.bleu_tok_lc.value == pytest.approx(FOX_BLEU, abs=1e-9)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    assert score(HYPOTHESES[::-1], REFERENCES[::-1]).to_dict() == score(HYPOTHESES, REFERENCES).to_dict()


def test_swapping_two_hypotheses_lowers_every_score() -> None:
    right, wrong = (score(h, REFERENCES).metrics() for h in (HYPOTHESES, [*HYPOTHESES[1::-1], *HYPOTHESES[2:]]))
    for name, metric in right.items():
        assert (metric.value < wrong[name].value) if name == "ter" else (metric.value > wrong[name].value)


def test_an_empty_line_counts_as_an_empty_translation() -> None:
    scores = score(["", "a b c d"], ["a b c d", "a b c d"])
    assert scores.sentences == 2
    assert scores.bleu.value == pytest.approx(100 * math.exp(1 - 8 / 4))
    assert scores.ter.value == pytest.approx(50)


def test_nothing_but_empty_translations_scores_zero() -> None:
    values = [metric.value for metric in score([""], ["a b c d"]).metrics().values()]
    assert values == [0, 0, 100, 0]


def test_scores_and_signatures_are_those_of_the_sacrebleu_command(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("\n".join(REFERENCES) + "\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("\n".join(HYPOTHESES) + "\n", encoding="utf-8")

    def sacrebleu_command(*options: str) -> list[tuple[float, str]]:
        command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-f", "json", "-w", "2", *options]
        # `-f json` prints a list of metrics, or the metric itself where there is one.
        parsed = json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout)
        return [(m["score"], m["signature"]) for m in (parsed if isinstance(parsed, list) else [parsed])]

    expected = sacrebleu_command("-m", "bleu", "chrf", "ter") + sacrebleu_command("-lc", "-tok", "13a")
    plain = score(HYPOTHESES, REFERENCES).to_dict()
    names = ("bleu", "chrf", "ter", "bleu_tok_lc")
    assert [(plain[name], plain[f"{name}_signature"]) for name in names] == expected


def test_signatures_name_version_case_and_tokenisation() -> None:
    metrics = score(HYPOTHESES, REFERENCES).metrics()
    assert all(f"version:{sacrebleu.__version__}" in metric.signature for metric in metrics.values())
    assert "case:mixed" in metrics["bleu"].signature
    assert "tok:13a" in metrics["bleu"].signature
    assert "case:lc" in metrics["bleu_tok_lc"].signature
    assert "tok:13a" in metrics["bleu_tok_lc"].signature


def test_chinese_is_tokenised_into_characters() -> None:
    hypothesis, reference = (
        "狗看见房子。",
        "狗看见了房子。",
    )  # 6 characters against 7; n-grams 6/6, 4/5, 2/4, 0/3
    expected = 100 * math.exp(1 - 7 / 6) * (6 / 6 * 4 / 5 * 2 / 4 * 0.5 / 3) ** (1 / 4)  # exponential smoothing
    found = bleu_score([hypothesis], [reference], tokenize="zh")
    assert found.value == pytest.approx(expected)
    assert "tok:zh" in found.signature
    assert bleu([hypothesis], [reference]) == 0  # 13a: one word
    scores = score([hypothesis], [reference], tokenize="zh")
    assert scores.bleu_tok_lc.value == scores.bleu.value
    assert scores.ter.value == pytest.approx(100 / 7)
    assert "norm:yes|punct:yes|asian:yes" in scores.ter.signature


def test_ter_of_other_scripts_without_spaces_counts_characters() -> None:
    ter = score(["กขคง"], ["กขคจ"], tokenize="char").ter
    assert ter.value == pytest.approx(25)
    assert "tok:char-tercom-noshift|" in ter.signature
    assert score(["งกขค"], ["กขคง"], tokenize="char").ter.value == pytest.approx(50)  # moved: out and in
    assert score(["กขคง"], ["จฉช"], ["กขคจฉ"], tokenize="char").ter.value == pytest.approx(50)  # 2 of 4 on average
    assert score(["กข", ""], ["", "กขคง"], tokenize="char").ter.value == pytest.approx(150)
    assert "tok:tercom|norm:no" in score(["我 爱 你"], ["我 爱 他"]).ter.signature  # segmented into words before


def test_ter_of_long_lines_of_characters_is_quick() -> None:
    source = random.Random(1)
    lines = ["".join(source.choice("กขคงจฉชซ") for _ in range(400)) for _ in range(2)]
    before = time.process_time()
    assert 0 < score(lines[:1], lines[1:], tokenize="char").ter.value < 100
    assert time.process_time() - before < 3  # with the search for shifts tens of seconds


def test_several_references() -> None:
    references = [FOX_REFERENCE, "a b"], [FOX, "b c d e"]
    scores = score([FOX, "b c d e"], *references)
    assert [metric.value for metric in scores.metrics().values()] == pytest.approx([100, 100, 0, 100])
    assert all("nrefs:2" in metric.signature for metric in scores.metrics().values())
    assert bleu([FOX, "b c d e"], *references) == pytest.approx(100)
    with pytest.raises(DataError, match="2 hypotheses but 1 references"):
        score([FOX, "a"], ["a", "b"], ["a"])


def test_exact_match_is_the_share_of_hypotheses_that_equal_a_reference() -> None:
    hypotheses, first = ["Zoë  ran.\u00a0", "a b", "Cat", "x"], ["Zoe\u0308 ran.", "a  B", "cat", "y"]
    assert exact_match(hypotheses, first) == 25  # normalised: composed characters and white space, not case
    assert exact_match(hypotheses, first, ["", "", "", "x"]) == 50
    assert exact_match(hypotheses, first, ignore_case=True) == 75
    assert score(hypotheses, first).exact_match == 25


def test_length_ratio_is_that_of_bleu() -> None:
    assert score([FOX], [FOX_REFERENCE]).length_ratio == 8 / 9
    # The closest reference counts: 8 words, not 12.
    assert score([FOX], [FOX_REFERENCE + " in the rain"], [FOX]).length_ratio == 1


def test_sentence_scores_are_chrf_of_each_sentence() -> None:
    scores = sentence_scores(["abc", "a", "x"], ["abd", "ab", "y"])
    # Worked out by hand: see the tests of chrF.
    assert scores == pytest.approx([100 * (2 / 3 + 1 / 2 + 0) / 3, 100 * 5 * 0.5 / (4 + 0.5), 0])
    assert sentence_scores(["abc"], ["x"], ["abc"]) == [100]
    with pytest.raises(DataError, match="1 hypotheses but 2 references"):
        sentence_scores(["a"], ["a", "b"])


def test_plain_values_survive_json_and_have_two_decimals() -> None:
    plain = score([FOX], [FOX_REFERENCE]).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["bleu"], plain["ter"], plain["sentences"]) == (round(FOX_BLEU, 2), 22.22, 1)


@pytest.mark.parametrize("function", [bleu, score])
def test_different_numbers_of_sentences_are_refused(function: Callable[[list[str], list[str]], object]) -> None:
    with pytest.raises(DataError, match="3 hypotheses but 2 references"):
        function(["a"] * 3, ["a"] * 2)


@pytest.mark.parametrize("function", [bleu, score])
def test_no_sentences_are_refused(function: Callable[[list[str], list[str]], object]) -> None:
    with pytest.raises(DataError, match="nothing to score"):
        function([], [])


def test_moses_splits_apostrophes_and_lower_cases_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MosesTokenizer("fr")("l'homme « rit »…") == "l&apos; homme &quot; rit &quot; ..."
    assert MosesTokenizer("de")("ein 3-jähriges Kind, z.B. Max.") == "ein 3-jähriges Kind , z.B. Max ."
    scores = score(["L'homme rit très fort."], ["l'Homme rit très fort."], tokenize="moses-fr")
    assert scores.bleu_tok_lc.value == pytest.approx(100)
    assert scores.bleu.value < 70
    assert "case:lc" in scores.bleu_tok_lc.signature
    assert "tok:moses-fr-sacremoses-" in scores.bleu_tok_lc.signature
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(ConfigError, match=r"needs sacremoses: pip install 'attentional-lstm\[moses\]'"):
        score(["a"], ["a"], tokenize="moses-fr")


@pytest.mark.slow
@pytest.mark.parametrize(("language", "tokens"), [("de", 12_103), ("fr", 13_988)])
def test_moses_gives_the_published_reference_lengths_of_multi30k(corpora: Path, language: str, tokens: int) -> None:
    with gzip.open(
        corpora / "multi30k" / f"test_2016_flickr.{language}.gz", "rt", encoding="utf-8", newline="\n"
    ) as file:
        references = file.read().removesuffix("\n").split("\n")
    metric = bleu_metric([references], f"moses-{language}", lowercase=True)
    assert metric.corpus_score(references, None).ref_len == tokens


@pytest.mark.slow
def test_real_text_has_the_scores_of_sacrebleu(corpora: Path) -> None:
    with gzip.open(corpora / "multi30k" / "test_2016_flickr.de.gz", "rt", encoding="utf-8", newline="\n") as file:
        references = file.read().removesuffix("\n").split("\n")
    hypotheses = [" ".join(line.split()[: max(1, len(line) // 7)]).capitalize() for line in references]
    scores = score(hypotheses, references)
    assert scores.sentences == 1000
    assert scores.bleu.value == bleu(hypotheses, references)
    assert scores.bleu.value == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert scores.chrf.value == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert scores.ter.value == sacrebleu.corpus_ter(hypotheses, [references]).score
    assert scores.bleu_tok_lc.value == sacrebleu.corpus_bleu(hypotheses, [references], lowercase=True).score
