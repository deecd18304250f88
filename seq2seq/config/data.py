"""Schema of the data settings: corpus, checks, tokenizer, subword sampling."""

from __future__ import annotations

import re
from dataclasses import dataclass

from omegaconf import MISSING

from seq2seq.config.bleu import BLEU_TOKENIZERS
from seq2seq.config.field import MAX_COUNT, Choice, Effect, field
from seq2seq.errors import ConfigError


class DataName(Choice):
    """Source of the sentence pairs."""

    tatoeba = "tatoeba"
    grammar = "grammar"
    multi30k = "multi30k"
    files = "files"


class PieceType(Choice):
    """SentencePiece's segmentation model (unigram: Kudo 2018; bpe: Sennrich et al. 2016)."""

    unigram = "unigram"
    bpe = "bpe"
    char = "char"


class TextNormalization(Choice):
    """SentencePiece's rules by which characters are replaced before text is segmented."""

    identity = "identity"
    nfkc = "nfkc"
    nmt_nfkc = "nmt_nfkc"
    nfkc_cf = "nfkc_cf"
    nmt_nfkc_cf = "nmt_nfkc_cf"


@dataclass
class FilesConfig:
    """One parallel text: two line-aligned files, or one tab-separated file; plain or .gz."""

    src: str | None = field(None, "source file, one sentence per line (plain or .gz)", unit="path")
    tgt: str | None = field(None, "target file, line-aligned with src (plain or .gz)", unit="path")
    tsv: str | None = field(
        None, "one file instead of src and tgt: source, tab, target; further columns are ignored", unit="path"
    )


@dataclass
class TokenizerConfig:
    """SentencePiece model, trained on the training text unless a model file is given."""

    type: PieceType = field(PieceType.unigram, "segmentation model: unigram, bpe or char")
    vocab_size: int = field(
        4000, "pieces per vocabulary, special ids included", unit="pieces", at_least=8, at_most=1_000_000
    )
    joint: bool = field(True, "one vocabulary for both languages (required by model.tie_embeddings=three_way)")
    byte_fallback: bool = field(
        True, "encode unknown characters as UTF-8 bytes, so that no input is lost (takes 256 pieces)"
    )
    character_coverage: float = field(
        0.9995, "share of character occurrences that the vocabulary covers", at_least=0.98, at_most=1.0
    )
    normalization: TextNormalization = field(
        TextNormalization.identity,
        "characters replaced in the text of both languages, and so in every translation: identity (none), nfkc (2 for "
        "², ? for ？, 1⁄2 for ½), nmt_nfkc (also: a space for zero-width and unusual spaces, nothing for control "
        "characters), nfkc_cf and nmt_nfkc_cf (also: lower case); a given model has its own rules",
    )
    max_line_bytes: int = field(
        65_536,
        "training lines with more bytes are not used to learn the vocabulary; the log has their number",
        unit="bytes",
        at_least=1,
        at_most=1_000_000,
    )
    max_training_bytes: int = field(
        30_000_000,
        "the vocabulary is learned from at most this much text of both sides, evenly spaced lines; learning a unigram "
        "vocabulary takes about 30 times as much memory",
        unit="bytes",
        at_least=1_000_000,
        at_most=1_000_000_000_000,
    )
    src_model: str | None = field(
        None, "SentencePiece .model file for the source (both sides if joint) instead of training one", unit="path"
    )
    tgt_model: str | None = field(None, "SentencePiece .model file for the target; leave null if joint", unit="path")


@dataclass
class SamplingConfig:
    """Subword sampling: a new segmentation of the training text in every epoch, per side.

    unigram: segmentations are drawn with p^alpha (Kudo 2018; 0.1 to 0.5, smaller varies more). bpe: alpha is the
    probability of skipping a merge (BPE-dropout, Provilkov et al. 2020; 0.1).
    """

    src: float | None = field(
        None, "alpha of the source side; null: always the best segmentation", at_least=0, at_most=1
    )
    tgt: float | None = field(
        None, "alpha of the target side; null: always the best segmentation", at_least=0, at_most=1
    )


@dataclass
class DataConfig:
    """Sentence pairs, their direction and their tokenization."""

    name: DataName = field(DataName.tatoeba, "corpus: tatoeba, grammar (synthetic), multi30k or files")
    src: str = field(MISSING, "source language code")
    tgt: str = field(MISSING, "target language code")
    root: str | None = field(None, "folder of the corpus files; null: download them", unit="path")
    cache_dir: str | None = field(
        None,
        "folder of downloads and prepared data; null: data/ in a checkout, else the user's cache folder",
        unit="path",
        effect=Effect.process,
    )
    train: FilesConfig = field(FilesConfig, "training text (data=files)")
    valid: FilesConfig = field(FilesConfig, "validation text (data=files); if not given, held out of train")
    test: FilesConfig = field(FilesConfig, "test text (data=files); if not given, held out of train")
    train_pairs: int | None = field(
        None,
        "use only the first N training pairs; null: all (grammar: 100,000)",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    valid_pairs: int = field(
        2000,
        "pairs held out for validation if the corpus has no validation set",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    test_pairs: int = field(
        2000, "pairs held out for test if the corpus has no test set", unit="pairs", at_least=1, at_most=MAX_COUNT
    )
    max_length: int = field(
        100,
        "maximum length of either side of a training pair, EOS included; longer pairs are dropped and counted",
        unit="pieces",
        at_least=1,
        at_most=100_000,
    )
    overfit_pairs: int | None = field(
        None,
        "debugging: train, validate and test on the first N training pairs, which the network should memorise; "
        "null: off",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    fold: str | None = field(
        None,
        "cross-validation, K/N: divide all pairs except the test sets into N parts, validate on part K, train "
        "on the rest",
        effect=Effect.fixed,
    )
    tokenizer: TokenizerConfig = field(TokenizerConfig, "subword segmentation", effect=Effect.fixed)
    sampling: SamplingConfig = field(SamplingConfig, "subword sampling, BPE-dropout")
    bleu_tokenizer: str | None = field(
        None,
        f"sacreBLEU's tokenizer of validation and test: {', '.join(BLEU_TOKENIZERS)}; null: that of the language tgt",
        effect=Effect.fixed,
    )

    @property
    def fold_of(self) -> tuple[int, int] | None:
        """K and N of `fold`; None without cross-validation.

        Raises:
            ConfigError: `fold` is not K/N with 1 ≤ K ≤ N and N ≥ 2.
        """
        if self.fold is None:
            return None
        numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.fold)
        part, parts = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        if parts < 2 or not 1 <= part <= parts:
            raise ConfigError(f"data.fold={self.fold}: write K/N with 1 ≤ K ≤ N and N ≥ 2, for example data.fold=1/5")
        return part, parts
