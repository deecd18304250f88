"""Train on the synthetic grammar with the commands; check BLEU, word order and attention."""

import collections
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scaling import LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # a slow machine without bf16 takes this long


FEW_WORDS = Path(__file__).parents[1] / "few_words.py"
SMALL = (
    "data.name=files", "data.src=en", "data.tgt=de", "data.valid_pairs=100", "data.test_pairs=500",
    "data.tokenizer.vocab_size=1000", "model.hidden_size=256", "model.emb_size=128", "model.attention_size=128",
    "training.max_steps=3200", "training.learning_rate=5e-3",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with a third of the words (nine minutes on one thread); `make test-long` has all."""
    folder = tmp_path_factory.mktemp("grammar")
    keys = ["experiment=grammar", f"hydra.run.dir={folder}/run", f"data.cache_dir={folder}/cache"]
    if not LONG:
        subprocess.run([sys.executable, FEW_WORDS, "32000", folder / "pairs.tsv"], check=True)
        keys += [*SMALL, f"data.train.tsv={folder}/pairs.tsv"]
    subprocess.run([sys.executable, "-m", "seq2seq.train", *keys], check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


def test_reaches_90_bleu(run: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "seq2seq.evaluate", run, "--json"], check=True, capture_output=True, text=True
    )
    assert json.loads(process.stdout)["test"]["bleu"] >= 90


def test_translates_word_order(run: Path) -> None:
    """Verb-second after a fronted adverbial, verb-final in a subordinate clause, a separable prefix at the end.

    The pattern accepts any of the dozens of verbs with that prefix.
    """
    pairs = {
        "In winter, the lazy uncle calls her.": r"Im Winter \w+t der faule Onkel sie an\.",
        "He cries because the mother is sick.": r"Er weint, weil die Mutter krank ist\.",
    }
    command = [sys.executable, "-m", "seq2seq.translate", str(run)]
    process = subprocess.run(command, check=True, capture_output=True, text=True, input="\n".join(pairs))
    for line, pattern in zip(process.stdout.splitlines(), pairs.values(), strict=True):
        assert re.fullmatch(pattern, line), line


def test_attention_follows_reordering(run: Path) -> None:
    """Words attend to their counterparts, also to those far from the same relative position."""
    import torch

    from seq2seq.data.corpora.load import load_corpus
    from seq2seq.storage.model_file import load_model

    model = load_model(run, torch.device("cpu"))
    corpus = load_corpus(model.config.data)
    counterpart = dictionary(list(corpus.train)[:20000])
    counts = {"moved": [0, 0], "in place": [0, 0]}  # [attended to the counterpart, total]
    for src, tgt in list(corpus.tests["test"])[:300]:
        english, german = words(src), words(tgt)
        weights = word_attention(model, src, tgt)
        for j, word in enumerate(german):
            partner = counterpart.get(word, "")
            if english.count(partner) == 1 and german.count(word) == 1:
                i = english.index(partner)
                moved = abs(j * len(english) / len(german) - i) >= 2.5
                count = counts["moved" if moved else "in place"]
                count[0] += int(weights[j].argmax()) == i
                count[1] += 1
    assert counts["moved"][1] > 100
    for correct, total in counts.values():
        assert correct / total >= 0.7, counts


def words(sentence: str) -> list[str]:
    return [word.strip(".,?!") for word in sentence.split()]


def dictionary(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return German word -> the English word with which its Dice coefficient is above 0.9."""
    english, german, both = collections.Counter(), collections.Counter(), collections.Counter()
    for src, tgt in pairs:
        sides = set(words(src)), set(words(tgt))
        english.update(sides[0])
        german.update(sides[1])
        both.update((e, g) for e in sides[0] for g in sides[1])
    return {g: e for (e, g), n in both.items() if n >= 20 and 2 * n / (english[e] + german[g]) > 0.9}


def word_attention(model, src: str, tgt: str):
    """Return attention [German word, English word]: mean over a word's target tokens, sum over its source tokens."""
    import torch

    from seq2seq.data.batches.batch import make_batch

    src_ids, tgt_ids = model.tokenizer.encode_src([src])[0], model.tokenizer.encode_tgt([tgt])[0]
    with torch.inference_mode():
        _, _, attn_weights = model.network(make_batch([src_ids], [tgt_ids]))
    rows, columns = word_indices(model.tokenizer.tgt_pieces(tgt_ids)), word_indices(model.tokenizer.src_pieces(src_ids))
    weights = torch.zeros(len(words(tgt)), len(words(src)))
    for row in range(len(weights)):
        token_weights = attn_weights[0, [k for k, word in enumerate(rows) if word == row]].mean(0)
        weights[row].index_add_(0, torch.tensor(columns), token_weights[: len(columns)])
    return weights


def word_indices(tokens: list[str]) -> list[int]:
    """Return the index of each token's word."""
    index, indices = -1, []
    for token in tokens:
        index += token.startswith("▁")
        indices.append(index)
    return indices
