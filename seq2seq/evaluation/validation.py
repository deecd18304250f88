"""Validation: loss under teacher forcing, BLEU and chrF of greedy translations, whatever search the config names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch

from seq2seq.config.decode import SearchName
from seq2seq.config.model import AttentionName
from seq2seq.data.batches.batch import Batch
from seq2seq.data.corpus import ParallelText
from seq2seq.data.text.bleu_tokenizer import DEFAULT
from seq2seq.evaluation.metrics import bleu_score, chrf
from seq2seq.inference.text import valid_unicode
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.runtime import autocast, evaluating
from seq2seq.training.loss import output_loss
from seq2seq.training.records import AttentionMap, Sample, Validation

SAMPLES = 5
MAX_TOKENS = 64
"""Highest number of rows and columns of an attention image; early in training outputs may be much longer."""
END = "(end)"


class Validator:
    """Validates the network of `translator`, in its current state, on each call.

    The search is beam search with `beam_size` hypotheses, not `decode.search`: samples would make the monitored score
    noisy, and 32 of them per sentence (mbr) would make a validation slow.
    """

    def __init__(
        self,
        translator: Translator,
        batches: Callable[[], Iterable[Batch]],
        text: ParallelText,
        beam_size: int,
        tokenize: str = DEFAULT,
        tgt_lang: str | None = None,
        others: Mapping[str, Validator] | None = None,
    ) -> None:
        """`tgt_lang` is the language of the translations; `others` validate on the sets of other corpora by name."""
        self._translator, self._batches, self._text = translator, batches, text
        self._beam_size, self._tokenize = beam_size, tokenize
        self._tgt_lang, self._others = tgt_lang, others or {}

    def __call__(self) -> Validation:
        """Return loss, perplexity, BLEU and chrF, with the first translations and the attention of the first one."""
        loss = self._loss()
        n_best = self._translator.translate_n_best(
            self._text.src, tgt_lang=self._tgt_lang, search=SearchName.beam, beam_size=self._beam_size
        )
        outputs = [best for best, *_ in n_best]
        hypotheses = [output.text for output in outputs]
        perplexity = math.exp(loss) if loss < 700 else math.inf
        bleu = bleu_score(hypotheses, self._text.tgt, tokenize=self._tokenize)
        rows = zip(self._text.src[:SAMPLES], hypotheses[:SAMPLES], self._text.tgt[:SAMPLES], strict=True)
        attention = self._attention(self._text.src[0], outputs[0])
        samples = [Sample(*row) for row in rows]
        corpora = {name: validator() for name, validator in self._others.items()}
        figures = loss, perplexity, bleu.value, chrf(hypotheses, self._text.tgt)
        return Validation(*figures, samples, attention, bleu.signature, corpora)

    def _attention(self, line: str, output: Translation) -> AttentionMap | None:
        """Return the attention weights of `output`, by forced decoding.

        None if the network has no attention, a side is empty, or the line is so long that it is translated in parts.
        """
        translator, tokenizer = self._translator, self._translator.tokenizer
        (source,) = tokenizer.encode_src([valid_unicode(line)])
        target = output.ids[:MAX_TOKENS]
        no_attention = translator.network.config.attention is AttentionName.none
        if no_attention or not target or not 0 < len(source) <= translator.max_part_tokens:
            return None
        source = translator.tags.ids(self._tgt_lang) + source
        (forced,) = translator.force_decode([source], [target])
        weights = forced.attn_weights[:MAX_TOKENS, :MAX_TOKENS].tolist()
        columns, rows = [*tokenizer.src_pieces(source), END], [*tokenizer.tgt_pieces(target), END]
        return AttentionMap(columns[:MAX_TOKENS], rows[:MAX_TOKENS], weights)

    def _loss(self) -> float:
        network, device = self._translator.network, self._translator.device
        total, tokens = torch.zeros((), dtype=torch.float64), 0
        with evaluating(network), torch.inference_mode(), autocast(device, self._translator.dtype):
            for batch in self._batches():
                readouts, targets, _ = network.read_out(batch.to(device))
                total += output_loss(network.output, readouts, targets, 0.0)[1].cpu()
                tokens += len(targets)
        return float(total) / tokens
