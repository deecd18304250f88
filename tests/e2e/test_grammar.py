"""Train on the synthetic grammar with the commands; check BLEU, word order and attention."""

import collections
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from forking import call
from scaling import LONG, scaled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # a slow machine without bf16 takes this long


FEW_WORDS = Path(__file__).parents[1] / "few_words.py"
SMALL = (
    "data.name=files", "data.src=en", "data.tgt=de", "data.valid_pairs=100", "data.test_pairs=300",
    "data.tokenizer.vocab_size=500", "model.hidden_size=96", "model.emb_size=64", "model.attention_size=64",
    "training.max_steps=700", "training.learning_rate=5e-3",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run on short sentences of few words (a minute on one thread); `make test-long` has all."""
    folder = tmp_path_factory.mktemp("grammar")
    keys = ["experiment=grammar", f"hydra.run.dir={folder}/run", f"data.cache_dir={folder}/cache"]
    if not LONG:
        subprocess.run([sys.executable, FEW_WORDS, "90000", folder / "pairs.tsv"], check=True)
        keys += [*SMALL, f"data.train.tsv={folder}/pairs.tsv"]
    status, _, err = call("seq2seq.train", folder, *keys)
    assert status == 0, err
    return folder / "run"


def test_translates_unseen_sentences(run: Path) -> None:
    """A third of the updates are enough for 40 BLEU of the short sentences, all of them for more than 80."""
    status, out, err = call("seq2seq.evaluate", run, str(run), "--json")
    assert status == 0, err
    assert json.loads(out)["test"]["bleu"] >= scaled(60, 90), out


@pytest.mark.skipif(not LONG, reason="two sentences say too little about the small network: `make test-long` has them")
def test_translates_word_order(run: Path, tmp_path: Path) -> None:
    """Verb-second after a fronted adverbial, verb-final in a subordinate clause, a separable prefix at the end.

    The pattern accepts any of the dozens of verbs with that prefix.
    """
    pairs = {
        "In winter, the lazy uncle calls her.": r"Im Winter \w+t der faule Onkel sie an\.",
        "He cries because the mother is sick.": r"Er weint, weil die Mutter krank ist\.",
    }
    for line, pattern in pairs.items():
        status, out, err = call("seq2seq.translate", tmp_path, str(run), "--text", line)
        assert status == 0, err
        assert re.fullmatch(pattern, out.strip()), out


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
    if not LONG:
        del counts["moved"]  # short sentences have too few of them
    for correct, total in counts.values():
        assert total > 100
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
