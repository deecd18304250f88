"""Schema of the network: sizes, cells, attention, dropout, initialisation, and which combinations are valid."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import Choice, field
from seq2seq.errors import ConfigError

MAX_UNITS, MAX_LAYERS = 65_536, 100  # a larger value is a typo, and the network would be built before the memory check


class CellName(Choice):
    """The recurrent cell of every layer; the equations are in model/cells.py."""

    lstm = "lstm"
    peephole_lstm = "peephole_lstm"
    gru = "gru"
    rnn = "rnn"


class AttentionName(Choice):
    """Attention score: additive (Bahdanau), general or dot (Luong), or no attention for comparison."""

    additive = "additive"
    general = "general"
    dot = "dot"
    none = "none"


class TieName(Choice):
    """Which embedding matrices share weights (Press and Wolf 2017): target input and output, or the source too."""

    none = "none"
    two_way = "two_way"
    three_way = "three_way"


class TargetOrderName(Choice):
    """Order in which the decoder writes the tokens of a target sentence."""

    left_to_right = "left_to_right"
    right_to_left = "right_to_left"


class MatrixInit(Choice):
    """Distribution that a weight matrix is initialised from."""

    xavier = "xavier"
    orthogonal = "orthogonal"
    uniform = "uniform"


@dataclass
class DropoutConfig:
    """Dropout probability in training, by place (Srivastava et al. 2014; Zaremba et al. 2014)."""

    embedding: float = field(0.0, "of the embeddings that encoder and decoder read", at_least=0, at_most=0.95)
    layers: float = field(0.1, "of the output of every recurrent layer except the last", at_least=0, at_most=0.95)
    context: float = field(0.0, "of the encoder states that attention reads", at_least=0, at_most=0.95)
    readout: float = field(0.1, "of the readout before the vocabulary projection", at_least=0, at_most=0.95)
    recurrent: float = field(
        0.0,
        "weight-drop: of the recurrent weights, one mask per micro-batch (Merity et al. 2018)",
        at_least=0,
        at_most=0.95,
    )
    src_words: float = field(
        0.0, "of whole source tokens (Sennrich et al. 2016, Edinburgh's WMT16 systems)", at_least=0, at_most=0.95
    )
    tgt_words: float = field(0.0, "of whole target tokens that the decoder reads", at_least=0, at_most=0.95)
    variational: bool = field(
        False,
        "variational dropout: embedding, layers, context and readout use one mask for all positions of a sentence "
        "(Gal and Ghahramani 2016)",
    )


@dataclass
class InitialisationConfig:
    """Weight initialisation; embeddings are drawn from N(0, 1/emb_size)."""

    recurrent: MatrixInit = field(
        MatrixInit.orthogonal,
        "recurrent matrices, each gate separately: orthogonal (Saxe et al. 2014), xavier or uniform",
    )
    matrices: MatrixInit = field(
        MatrixInit.xavier,
        "all other matrices, each gate separately: xavier (Glorot and Bengio 2010), orthogonal or uniform",
    )
    uniform_range: float = field(
        0.08, "uniform: range is [-uniform_range, uniform_range] (Sutskever et al. 2014)", at_least=0, at_most=10
    )
    forget_bias: float = field(
        1.0,
        "initial bias of the LSTM forget gates (Gers et al. 2000; Jozefowicz et al. 2015)",
        at_least=-100,
        at_most=100,
    )


@dataclass
class ModelConfig:
    """Sizes and components of the network."""

    emb_size: int = field(256, "size of the embeddings and of the readout", unit="units", at_least=1, at_most=MAX_UNITS)
    hidden_size: int = field(384, "size of the decoder state", unit="units", at_least=1, at_most=MAX_UNITS)
    encoder_hidden_size: int | None = field(
        None,
        "size of the encoder state per direction; null: half of hidden_size",
        unit="units",
        at_least=1,
        at_most=MAX_UNITS,
    )
    attention_size: int = field(
        192,
        "size of the hidden layer of the additive score, all heads together",
        unit="units",
        at_least=1,
        at_most=MAX_UNITS,
    )
    encoder_layers: int = field(
        1, "bidirectional recurrent layers of the encoder", unit="layers", at_least=1, at_most=MAX_LAYERS
    )
    decoder_layers: int = field(1, "recurrent layers of the decoder", unit="layers", at_least=1, at_most=MAX_LAYERS)
    attention: AttentionName = field(
        AttentionName.additive,
        "attention score: additive (Bahdanau et al. 2015), general or dot (Luong et al. 2015); none: the decoder "
        "reads one summary vector (Cho et al. 2014)",
    )
    tie_embeddings: TieName = field(
        TieName.three_way, "share embedding weights: none, two_way (target input and output) or three_way (source too)"
    )
    dropout: DropoutConfig = field(DropoutConfig, "dropout by place")
    cell: CellName = field(CellName.lstm, "recurrent cell: lstm, peephole_lstm (Gers et al. 2002), gru or rnn (tanh)")
    peephole_candidate: bool = field(False, "peephole_lstm: the candidate also sees the memory cell")
    layer_norm: bool = field(
        False,
        "layer normalisation of every gate (Ba et al. 2016; RNMT+, Chen et al. 2018); slow on a GPU, where it "
        "runs step by step",
    )
    residual: bool = field(False, "residual connections from the second layer on (Wu et al. 2016)")
    attention_heads: int = field(
        1,
        "attention heads (additive only), each over its share of the encoder state",
        unit="heads",
        at_least=1,
        at_most=256,
    )
    attention_weight_norm: bool = field(
        False,
        "additive only: weight normalisation: g v / ||v|| with a trained gain g replaces v (Salimans and Kingma 2016)",
    )
    coverage: bool = field(
        False,
        "additive only: the score depends on the attention a position has received (Tu et al. 2016; See et al. "
        "2017, eq. 11)",
    )
    input_feeding: bool = field(
        False,
        "the bottom decoder layer also reads the previous readout (Luong et al. 2015, 3.3); slower, it runs "
        "step by step",
    )
    initialisation: InitialisationConfig = field(InitialisationConfig, "weight initialisation")
    src_vectors: str | None = field(
        None,
        "word vectors that the source embeddings start from: a text file of word2vec, fastText or GloVe, plain or .gz, "
        "with emb_size numbers per word",
        unit="path",
    )
    tgt_vectors: str | None = field(None, "word vectors that the target embeddings start from", unit="path")
    freeze_vectors: bool = field(
        False, "embeddings that start from word vectors are not trained; needs matrices of their own (tie_embeddings)"
    )

    target_order: TargetOrderName = field(
        TargetOrderName.left_to_right,
        "order in which the decoder writes a sentence: left_to_right, or right_to_left, the last token first, for "
        "reranking (Liu et al. 2016; Sennrich et al. 2016)",
    )

    @property
    def reversed_target(self) -> bool:
        """True if the decoder writes the last token of a sentence first."""
        return self.target_order is TargetOrderName.right_to_left

    @property
    def encoder_size(self) -> int:
        """Size of the encoder state per direction."""
        return self.encoder_hidden_size or max(1, self.hidden_size // 2)

    @property
    def drops_by_row(self) -> bool:
        """True if any active dropout draws its own mask for each row of a batch (weight-drop shares one mask)."""
        dropout = self.dropout
        between = dropout.layers if max(self.encoder_layers, self.decoder_layers) > 1 else 0.0
        read = dropout.context if self.attention is not AttentionName.none else 0.0
        return any((dropout.embedding, dropout.readout, dropout.src_words, dropout.tgt_words, between, read))

    @property
    def context_size(self) -> int:
        """Size of an encoder state, both directions together."""
        return 2 * self.encoder_size


def check_model(model: ModelConfig) -> None:
    """Check that the components fit together.

    Raises:
        ConfigError: they do not; names the key.
    """
    additive = model.attention is AttentionName.additive
    heads, context = model.attention_heads, model.context_size
    if heads > 1 and not additive:
        raise ConfigError(f"model.attention_heads={heads} needs model.attention=additive, not {model.attention}")
    for key, size in (("model.attention_size", model.attention_size), ("twice model.encoder_hidden_size", context)):
        if size % heads:
            raise ConfigError(f"model.attention_heads={heads} does not divide {key}={size}")
    for key in ("coverage", "attention_weight_norm"):
        if getattr(model, key) and not additive:
            raise ConfigError(f"model.{key}=true needs model.attention=additive, not {model.attention}")
    if model.attention is AttentionName.dot and model.hidden_size != context:
        raise ConfigError(
            f"model.attention=dot compares model.hidden_size={model.hidden_size} with twice "
            f"model.encoder_hidden_size={context}: make them equal, or use general"
        )
    for key, units in (("model.hidden_size", model.hidden_size), ("model.encoder_hidden_size", model.encoder_size)):
        if model.layer_norm and units == 1:
            raise ConfigError(f"model.layer_norm=true needs {key} above 1: a layer of one unit always normalises to 0")
    _check_vectors(model)
    if model.peephole_candidate and model.cell is not CellName.peephole_lstm:
        raise ConfigError(f"model.peephole_candidate=true needs model.cell=peephole_lstm, not {model.cell}")


def _check_vectors(model: ModelConfig) -> None:
    """Check that no matrix is frozen that is trained as another one.

    Raises:
        ConfigError: it is.
    """
    src, tgt, tied = model.src_vectors is not None, model.tgt_vectors is not None, model.tie_embeddings
    frozen_output = (tied is not TieName.none and tgt) or (tied is TieName.three_way and src)
    if model.freeze_vectors and frozen_output:  # without vectors it has no effect: a stranger's model loses its paths
        allowed = "none" if tgt else "two_way or none"
        raise ConfigError(
            f"model.freeze_vectors=true would freeze the output matrix with model.tie_embeddings={tied}: set "
            f"model.tie_embeddings={allowed}"
        )
