"""What a search, the model it asks and the processors it obeys agree on; tensors by sentence and beam, no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.data.special_ids import BOS_ID, PAD_ID, UNK_ID

NEVER_EMITTED = (PAD_ID, UNK_ID, BOS_ID)

_S = TypeVar("_S")  # typing.Self needs Python 3.11


@runtime_checkable
class SearchState(Protocol):
    """What the step function carries from token to token: any tensors indexed by sentence and beam."""

    def reorder(self: _S, parents: Int[Tensor, "batch new_beam"]) -> _S:
        """Return the state whose beam k is this state's beam `parents[:, k]` (the beam may widen or narrow)."""
        ...

    def keep(self: _S, sentences: Int[Tensor, " kept"]) -> _S:
        """Return the state of these sentences only, in this order."""
        ...


@dataclass(frozen=True)
class Prediction:
    """What may come next, as a network says it: log p = logits - normaliser.

    Searches that look at the best tokens only need no matrix of log-probabilities.

    Attributes:
        logits: of all tokens, or of `tokens` alone.
        normaliser: in fp32 or better.
        tokens: which ids the logits are of, ascending and with all special ones; None: all.
        vocab: how many ids there are where `tokens` is given.
    """

    logits: Float[Tensor, "batch beam words"]
    normaliser: Float[Tensor, "batch beam"]
    tokens: Int[Tensor, " words"] | None = None
    vocab: int = 0

    @property
    def log_probs(self) -> Float[Tensor, "batch beam vocab"]:
        """Return log p of every next token, in the normaliser's type."""
        logits = self.whole().logits
        return logits.to(self.normaliser.dtype) - self.normaliser[:, :, None]

    def whole(self) -> Prediction:
        """Return the same with logits of all tokens, -inf where there were none."""
        if self.tokens is None:
            return self
        logits = self.logits.new_full((*self.logits.shape[:2], self.vocab), -torch.inf)
        logits[:, :, self.tokens] = self.logits
        return Prediction(logits, self.normaliser)


State = TypeVar("State", bound=SearchState)
# (last tokens [batch, beam], state) -> (what comes next, new state)
StepFunction = Callable[[Tensor, State], tuple[Prediction, State]]


@runtime_checkable
class StepModel(Protocol[State]):
    """A model as the search sees it: a state for a batch of sources, and a step function over that state."""

    def start(
        self,
        sources: Sequence[Sequence[int]],
        device: torch.device,
        coverage: bool = False,
        required: Iterable[int] = (),
    ) -> State:
        """Encode the sources (ids without EOS) and return the state before the first token.

        Args:
            sources: the batch.
            device: where the model is.
            coverage: whether the state keeps the attention that each source position received.
            required: target ids that a vocabulary shortlist must include.
        """
        ...

    def step(self, last: Int[Tensor, "batch beam"], state: State) -> tuple[Prediction, State]:
        """Return the prediction of the next token and the new state."""
        ...

    def coverage_penalty(self, state: State) -> Float[Tensor, "batch beam"]:
        """Return the coverage penalty of every hypothesis (`length_penalty.coverage_penalty`)."""
        ...


@runtime_checkable
class LogitsProcessor(Protocol):
    """Changes what may be said next, or how much it counts, by what a hypothesis has said so far."""

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam said"]) -> None:
        """Change `log_probs` in place (-inf forbids); no value may rise above 0 or from -inf to more."""
        ...

    def keep(self: _S, sentences: Int[Tensor, " kept"]) -> _S:
        """Return the rule for these sentences only, in this order."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One output.

    Attributes:
        tokens: ids without EOS.
        token_log_probs: log p of each token and of EOS at the end, given what stands before it, by the model alone.
        score: what hypotheses are ranked by.
    """

    tokens: list[int]
    token_log_probs: list[float]
    score: float

    @property
    def log_prob(self) -> float:
        """Return log p(tokens, EOS | source)."""
        return sum(self.token_log_probs)
