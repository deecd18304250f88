"""Measurements of the benchmark, each in its own process: translation. Results are plain values.

Each function sets up its system as users would: ours with `runtime.configure` and its precision, the textbook in fp32
with the default allocator. Both get the same sentences in the same order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import textbook
import torch
from benchmark_figures import (
    CPU,
    SEED,
    environment,
    gemm_figures,
    runtime_config,
    set_threads,
)
from benchmark_timing import BATCH_SENTENCES, BEAMS, in_batches, peak_rss_mb, spread_over, timed, translation_figures
from benchmark_work import Settings, make_tokenizer, model_config, read
from gemm import SearchStep, search_products
from torch import Tensor

from seq2seq.config.decode import DecodeConfig, override
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.inference.ensemble import Ensemble, EnsembleState
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, seed_everything
from seq2seq.search import batched_search
from seq2seq.search.protocols import Prediction


def translate_ours(settings: Settings) -> dict[str, Any]:
    """Translate with the Translator, all sentences together and one by one."""
    configure(runtime_config(settings))
    lines, translator = translation_work(settings, settings.precision)
    for start in range(0, len(lines), BATCH_SENTENCES):
        our_translate(translator, BEAMS["beam"], lines[start : start + BATCH_SENTENCES])
    figures: dict[str, Any] = {"peak_rss_64_mb": peak_rss_mb()}
    for name, beam_size in BEAMS.items():
        translate = functools.partial(our_translate, translator, beam_size)
        figures[name] = translation_figures(lines, settings.singles, translate)
    figures["peak_rss_mb"] = peak_rss_mb()
    return {**figures, **search_gemm_figures(settings, translator, lines), **environment(translator.dtype)}


def translate_ours_in_batches(settings: Settings) -> dict[str, Any]:
    """Translate with random weights in batches of BATCH_SENTENCES, for the comparison with other toolkits."""
    configure(runtime_config(settings))
    lines, translator = translation_work(settings, settings.precision)
    figures: dict[str, Any] = {}
    for name, beam_size in BEAMS.items():
        translate = functools.partial(our_batches, translator, beam_size)
        figures[name] = translation_figures(lines, settings.singles, translate)
    return {**figures, "peak_rss_mb": peak_rss_mb(), **environment(translator.dtype)}


def translate_textbook(settings: Settings) -> dict[str, Any]:
    """Translate with the textbook network, with the same weights, length limits and length penalty."""
    set_threads(settings)
    lines, translator = translation_work(settings, "fp32")
    network, figures = textbook.copy_of(translator.network).eval(), dict[str, Any]()
    for name, beam_size in BEAMS.items():
        translate = functools.partial(textbook_translate, network, translator.tokenizer, translator.decode, beam_size)
        figures[name] = translation_figures(lines, settings.singles, translate)
    return {**figures, "peak_rss_mb": peak_rss_mb(), **environment(torch.float32)}


def translation_work(settings: Settings, precision: str) -> tuple[list[str], Translator]:
    """Return the sentences and the given model, or a random one whose outputs are about as long as the source."""
    folder = Path(settings.data)
    lines = list(read(folder, "val").src[: settings.sentences])
    if settings.model:
        return lines, Translator.load(settings.model, device="cpu", precision=precision)
    tokenizer = make_tokenizer(read(folder, "train"), settings.vocab, settings.cache)
    seed_everything(SEED)
    network = Seq2Seq(model_config(settings.hidden), tokenizer.src_size, tokenizer.tgt_size)
    decode = DecodeConfig(max_length_ratio=1.0, max_length_extra=1)
    return lines, Translator(network, tokenizer, decode, CPU, precision)


def our_translate(translator: Translator, beam_size: int, lines: Sequence[str], **limits: Any) -> list[list[int]]:
    """Translate `lines` with the Translator; return ids without EOS."""
    return [best.ids for best, *_ in translator.translate_n_best(lines, beam_size=beam_size, **limits)]


def our_batches(translator: Translator, beam_size: int, lines: Sequence[str]) -> list[list[int]]:
    """Translate `lines` in batches of BATCH_SENTENCES, sorted by length; return ids without EOS.

    All outputs of a batch have the limit of the longest, as in other toolkits: the source and EOS.
    """

    def translate(batch: Sequence[str]) -> list[list[int]]:
        longest = max(map(len, translator.tokenizer.encode_src(batch)))
        return our_translate(translator, beam_size, batch, max_length_ratio=0.0, max_length_extra=longest + 1)

    return in_batches(lines, list(map(len, translator.tokenizer.encode_src(lines))), translate)


def textbook_translate(
    network: textbook.Textbook, tokenizer: Tokenizer, decode: DecodeConfig, beam_size: int, lines: Sequence[str]
) -> list[list[int]]:
    """Translate `lines` in batches of BATCH_SENTENCES, sorted by length; return ids without EOS."""
    sources = tokenizer.encode_src(lines)
    order = sorted(range(len(lines)), key=lambda i: len(sources[i]))
    outputs: list[list[int]] = [[] for _ in lines]
    for start in range(0, len(order), BATCH_SENTENCES):
        batch = order[start : start + BATCH_SENTENCES]
        limits = [batched_search.SearchInput(sources[i], [], []).max_length(decode) for i in batch]
        found = textbook.beam_search(network, [sources[i] for i in batch], limits, beam_size, decode.length_penalty)
        for i, ids in zip(batch, found, strict=True):
            outputs[i] = ids
    tokenizer.decode(outputs)
    return outputs


def search_gemm_figures(settings: Settings, translator: Translator, lines: Sequence[str]) -> dict[str, float]:
    """Return the share of the minimal matrix products in the beam search of a sample of batches."""
    sources = translator.tokenizer.encode_src(lines)
    lengths = [len(ids) + 1 for ids in sources]
    beam_size, counting = BEAMS["beam"], CountingEnsemble(translator.ensemble)
    decode = override(translator.decode, {"beam_size": beam_size})
    model, vocab = translator.network.config, translator.tokenizer.tgt_size
    all_batches = list(batched_search.batches(lengths, decode.batch_tokens, beam_size))
    work = []
    for batch in spread_over(all_batches, settings.samples):
        sentences = [lines[i] for i in batch]
        sec, _ = timed(functools.partial(translator.translate, sentences, beam_size=beam_size))
        with translator.inference_mode():
            counting.steps = []
            batched_search.search(counting, [batched_search.SearchInput(sources[i], [], []) for i in batch], decode)
        longest = lengths[batch[0]]
        work.append((search_products(model, vocab, len(batch), longest, counting.steps), sec))
    return gemm_figures(work, translator.dtype)


class CountingEnsemble(Ensemble):
    """Records the size of every step of a search with the networks of another ensemble."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__(ensemble.networks, int8=ensemble.int8)
        self.steps: list[SearchStep] = []

    def step(self, last: Tensor, state: EnsembleState) -> tuple[Prediction, EnsembleState]:
        """Record the size, then take the step."""
        sentences, beam = last.shape
        self.steps.append(SearchStep(sentences, beam, state.memories[0].mask.shape[1]))
        return super().step(last, state)
