"""The settings of the data: which sentence pairs, how they are checked, and their pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass

from omegaconf import MISSING

from seq2seq.config.field import Choice, setting
from seq2seq.errors import ConfigError


class DataName(Choice):
    """Where the sentence pairs come from."""

    tatoeba = "tatoeba"
    grammar = "grammar"
    multi30k = "multi30k"
    files = "files"


class PieceType(Choice):
    """SentencePiece's segmentation model (Kudo 2018 for unigram, Sennrich et al. 2016 for bpe)."""

    unigram = "unigram"
    bpe = "bpe"
    char = "char"


@dataclass
class FilesConfig:
    """One parallel text: either two line-aligned files or one tab-separated file, plain or .gz."""

    src: str | None = setting(None, "source-side file, one sentence a line (plain or .gz)", unit="path")
    tgt: str | None = setting(None, "target-side file, line-aligned with src (plain or .gz)", unit="path")
    tsv: str | None = setting(
        None, "one file instead of two: source, tab, target; more columns are ignored", unit="path"
    )


@dataclass
class TokenizerConfig:
    """SentencePiece model, trained on the training text unless given."""

    type: PieceType = setting(PieceType.unigram, "segmentation model: unigram, bpe or char")
    vocab_size: int = setting(4000, "pieces per vocabulary, special ids included", unit="pieces", at_least=8)
    joint: bool = setting(True, "one vocabulary for both languages (needed by three-way tied embeddings)")
    byte_fallback: bool = setting(True, "spell unknown characters as bytes, so that no input is lost (256 pieces)")
    character_coverage: float = setting(
        0.9995, "share of characters that get a piece of their own", at_least=0.98, at_most=1.0
    )
    src_model: str | None = setting(None, "SentencePiece .model for the source instead of training one", unit="path")
    tgt_model: str | None = setting(None, "the same for the target; leave null where joint", unit="path")


@dataclass
class SamplingConfig:
    """Another segmentation of the training text in every epoch, by side.

    unigram: pieces are drawn by p^alpha (Kudo 2018; 0.1 to 0.5, the smaller the more varied). bpe: alpha is the share
    of merges left out (Provilkov et al. 2020; 0.1).
    """

    src: float | None = setting(
        None, "alpha of the source side; null: always the best segmentation", at_least=0, at_most=1
    )
    tgt: float | None = setting(
        None, "alpha of the target side; null: always the best segmentation", at_least=0, at_most=1
    )


@dataclass
class DataConfig:
    """Which sentence pairs, in which direction, cut into which pieces."""

    name: DataName = setting(DataName.tatoeba, "corpus: tatoeba, grammar (synthetic), multi30k or files")
    src: str = setting(MISSING, "source language code")
    tgt: str = setting(MISSING, "target language code")
    root: str | None = setting(None, "read the corpus files from this folder instead of downloading them", unit="path")
    cache_dir: str | None = setting(
        None,
        "where downloads and prepared data are kept; null: data/ in a checkout, else the user's cache folder",
        unit="path",
    )
    train: FilesConfig = setting(FilesConfig, "training text (data=files)")
    valid: FilesConfig = setting(FilesConfig, "validation text (data=files); absent: held out of train")
    test: FilesConfig = setting(FilesConfig, "test text (data=files); absent: held out of train")
    train_pairs: int | None = setting(
        None, "use only this many training pairs; null: all (grammar: 100,000)", unit="pairs", at_least=1
    )
    valid_pairs: int = setting(
        2000, "pairs held out for validation where the corpus has no such set", unit="pairs", at_least=1
    )
    test_pairs: int = setting(2000, "pairs held out for test where there is no such set", unit="pairs", at_least=1)
    max_length: int = setting(
        100,
        "longest side of a training pair, EOS included; longer pairs are dropped and counted",
        unit="pieces",
        at_least=1,
    )
    overfit_pairs: int | None = setting(
        None,
        "train, validate and test on the first so many training pairs: can the network memorise them? null: off",
        unit="pairs",
        at_least=1,
    )
    fold: str | None = setting(
        None, "K/N: cross-validation; of N parts of all but the test sets validate on part K, train on the others"
    )
    tokenizer: TokenizerConfig = setting(TokenizerConfig, "subword segmentation")
    sampling: SamplingConfig = setting(SamplingConfig, "subword sampling, BPE-dropout")

    @property
    def fold_of(self) -> tuple[int, int] | None:
        """K and N of `fold`.

        Raises:
            ConfigError: there is no such part.
        """
        if self.fold is None:
            return None
        numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.fold)
        part, parts = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        if parts < 2 or not 1 <= part <= parts:
            raise ConfigError(f"data.fold={self.fold}: write K/N with 1 ≤ K ≤ N and N ≥ 2, for example data.fold=1/5")
        return part, parts
