"""Schema of the subword segmentation: vocabularies and subword sampling."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import Choice, field

AUTO = "auto"


class PieceType(Choice):
    """SentencePiece's segmentation model (unigram: Kudo 2018; bpe: Sennrich et al. 2016)."""

    unigram = "unigram"
    bpe = "bpe"
    char = "char"
    word = "word"


class TextNormalization(Choice):
    """SentencePiece's rules by which characters are replaced before text is segmented."""

    identity = "identity"
    nfkc = "nfkc"
    nmt_nfkc = "nmt_nfkc"
    nfkc_cf = "nfkc_cf"
    nmt_nfkc_cf = "nmt_nfkc_cf"


@dataclass
class TokenizerConfig:
    """SentencePiece model, trained on the training text unless a model file is given."""

    type: PieceType = field(PieceType.unigram, "segmentation model: unigram, bpe, char or word (words between spaces)")
    vocab_size: int | str = field(
        4000,
        "tokens per vocabulary, special ids included; auto: by the number of training pairs, 1,000 × (pairs / "
        "30,000)^0.7, stored as a number with the run",
        unit="tokens",
        at_least=8,
        at_most=1_000_000,
        word=AUTO,
    )
    joint: bool = field(True, "one vocabulary for both languages (required by model.tie_embeddings=three_way)")
    byte_fallback: bool = field(
        True,
        "encode unknown characters as UTF-8 bytes, so that no input is lost (takes 256 tokens); no effect with "
        "type=word, where a word outside the vocabulary is unknown",
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
    normalization_rules: str | None = field(
        None,
        "your own replacements instead of normalization: SentencePiece's table of hexadecimal code points, source, "
        "tab, target",
        unit="path",
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
    user_symbols: list[str] = field(
        list,
        "texts that are one token each wherever they occur, which no segmentation splits, for example <url>; the tags "
        "of corpora are added to them",
    )


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
