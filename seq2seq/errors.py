"""The exceptions users see: each is one clear line, and a command that meets one exits with status 2."""


class Seq2SeqError(Exception):
    """A mistake in what the user gave us (a file, a key, a device), never a bug of ours."""


class ConfigError(Seq2SeqError):
    """A setting is unknown, mistyped, out of range or contradicts another; the message names its key."""


class DataError(Seq2SeqError):
    """A text file is missing, unreadable, empty or not parallel; the message names file and line."""


class DownloadError(Seq2SeqError):
    """A corpus could not be fetched or its digest is wrong; the message names the ways on without it."""


class StorageError(Seq2SeqError):
    """The disk refused a write; what stood there before still does."""


class NotFiniteError(Seq2SeqError, FloatingPointError):
    """A network computes NaN: its weights are damaged or its training diverged."""


class ModelFileError(Seq2SeqError):
    """A model or checkpoint file is missing, corrupt, of another format version, or does not fit the run."""
