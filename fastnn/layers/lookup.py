"""Tokens as whole numbers: what raw columns of text or of codes become before the engine sees them."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._settings import count, flag, listed
from fastnn.data.frames import as_array, column_names, columns, is_frame, is_null, row_pieces
from fastnn.layers.base import Layer, NotYetError, check_width
from fastnn.layers.categories import ENCODINGS, LARGEST, check_output_mode, encode_op, encoded_width

Indices = npt.NDArray[np.int64]
MASKED = -1  # among indices for columns: no column is set


def as_columns(values: Any, name: str) -> npt.NDArray[Any]:
    """An array of rows and columns; values of shape (rows,) are one column."""
    array = as_array(values, name)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (rows,) or (rows, columns), got {array.shape}")
    return array if array.ndim == 2 else array[:, None]


class Lookup(Layer):
    """What :class:`StringLookup` and :class:`IntegerLookup` share: a vocabulary, whose first entries are special.

    With ``output_mode="int"`` the indices are: the mask token, where there is one; then `num_oov_indices` for tokens
    out of the vocabulary; then the tokens. In the other modes a masked token has no column.
    """

    prepares = True
    _KEPT = Layer._KEPT | {"_given"}
    vocabulary: tuple[Any, ...] | None

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        invert: bool,
        output_mode: str,
        pad_to_max_tokens: bool,
        name: str | None,
        dtype: Any,
        input_shape: Any,
    ) -> None:
        super().__init__(name, dtype, input_shape)
        self.max_tokens = None if max_tokens is None else check_width("max_tokens", max_tokens)
        if self.max_tokens is not None and not 1 < self.max_tokens <= LARGEST:
            raise ValueError(f"max_tokens must lie between 2 and 2**24, got {max_tokens}")
        self.num_oov_indices = count("num_oov_indices", num_oov_indices, 0, LARGEST)
        self.mask_token = None if mask_token is None else self._token(mask_token, "mask_token")
        self.oov_token = self._token(oov_token, "oov_token")
        self.output_mode = check_output_mode(output_mode, whole_numbers=True)
        self.invert, self.pad_to_max_tokens = flag("invert", invert), flag("pad_to_max_tokens", pad_to_max_tokens)
        if self.invert and self.output_mode != "int":
            raise ValueError(f"output_mode must be 'int' where invert is True, got {output_mode!r}")
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ValueError("pad_to_max_tokens needs max_tokens")
        self.vocabulary = None
        self._given = vocabulary is not None
        self._features = 0
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    # ---- what the two kinds of tokens differ in ----

    def _token(self, value: Any, argument: str) -> Any:
        """A token as Python holds it, or an error that names the argument."""
        raise NotImplementedError

    def _index(self, tokens: list[Any]) -> None:
        """Make ready to find these tokens."""
        raise NotImplementedError

    def _tokens_in(self, array: npt.NDArray[Any], name: str, first: int = 0) -> Any:
        """The tokens of an array of two axes, row by row: a list of text, or an array of numbers.

        `first` is the number of its first row, for messages.
        """
        raise NotImplementedError

    def _find(self, tokens: Any) -> Indices:
        """The place of each token in the vocabulary; - 1 - (its out-of-vocabulary number) where it has none."""
        raise NotImplementedError

    def _flat(self, values: Any, name: str) -> tuple[Any, tuple[int, int]]:
        """The tokens of what is called `name`, one after the other, and the rows and columns that they make."""
        if not is_frame(values) or not column_names(values):
            array = as_columns(values, name)
            return self._tokens_in(array, name), array.shape
        each = []
        for it, column in columns(values, name):  # NumPy may turn dates into numbers, and numbers into others, of all
            array = as_columns(column, it)
            if array.shape[1] != 1:
                raise ValueError(f"{it} must hold one token a row, got rows of shape {array.shape[1:]}")
            each.append(self._tokens_in(array, it))
        shape = len(each[0]), len(each)
        if isinstance(each[0], list):
            return [token for row in zip(*each, strict=True) for token in row], shape
        return np.column_stack(each).ravel(), shape

    # ---- the vocabulary ----

    @property
    def _masks(self) -> list[Any]:
        """The mask token, where it has an index."""
        return [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []

    @property
    def _specials(self) -> int:
        """How many tokens come before those of the vocabulary; a list of them could be long."""
        return len(self._masks) + self.num_oov_indices

    def _start_with_special(self, tokens: list[Any]) -> bool:
        masks = self._masks
        unknown = tokens[len(masks) : self._specials]
        return len(tokens) >= self._specials and tokens[: len(masks)] == masks and set(unknown) <= {self.oov_token}

    def _tokens(self) -> tuple[Any, ...]:
        if self.vocabulary is None:
            raise NotYetError(f"{self._called} has no vocabulary yet: call adapt before the model is built")
        return self.vocabulary

    def _may_change(self, action: str) -> None:
        if self._built:
            raise ValueError(f"{self._called} belongs to a model that is built: call {action} before")

    def set_vocabulary(self, vocabulary: Any) -> None:
        """Use these tokens, in their order.

        Parameters
        ----------
        vocabulary : sequence of tokens
            Each once, at least one. The special tokens may stand before them, as :meth:`get_vocabulary` gives them.

        Raises
        ------
        ValueError, TypeError
            In one sentence; the layer is as it was then.
        """
        self._may_change("set_vocabulary")
        if isinstance(vocabulary, (str, bytes)) or not hasattr(vocabulary, "__iter__"):
            raise TypeError(f"vocabulary must be a list of tokens, got {type(vocabulary).__name__}")
        tokens = [self._token(value, "vocabulary") for value in vocabulary]
        if self._start_with_special(tokens):
            tokens = tokens[self._specials :]
        if not tokens:
            raise ValueError("vocabulary must hold at least one token")
        repeated = [token for token, times in Counter(tokens).items() if times > 1]
        if repeated:
            raise ValueError(f"vocabulary must hold each token once, got {repeated[0]!r} more than once")
        reserved = [self.mask_token] * (self.mask_token is not None) + [self.oov_token] * self.invert
        for token in reserved:
            if token in tokens:
                raise ValueError(f"vocabulary must not hold {token!r} here: special tokens may stand only at the start")
        most = LARGEST if self.max_tokens is None else self.max_tokens
        if self._specials + len(tokens) > most:
            raise ValueError(f"vocabulary must hold at most {most - self._specials} tokens, got {len(tokens)}")
        vars(self)["vocabulary"] = tuple(tokens)
        self._index(tokens)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens in the order of their indices.

        Parameters
        ----------
        include_special_tokens : bool, default True
            With those for masked and unknown tokens, which come first.
        """
        special = [*self._masks, *([self.oov_token] * self.num_oov_indices)] if include_special_tokens else []
        return [*special, *self._tokens()]

    def vocabulary_size(self) -> int:
        """The number of indices, those of special tokens included."""
        return self._specials + len(self._tokens())

    def adapt(self, data: Any) -> None:
        """Take the tokens of `data` for the vocabulary, the most frequent ones first.

        Parameters
        ----------
        data : array-like, shape (rows,) or (rows, columns)
            At least one token. Of tokens that are as frequent the last one by value comes first, as in Keras. An array
            is read some rows at a time, so that it may be a file that is larger than memory (numpy.memmap).

        Raises
        ------
        ValueError, TypeError
            In one sentence; the layer is as it was then.
        """
        if self._given:
            raise ValueError(f"{self._called} was given its vocabulary: adapt() would have no effect")
        self._may_change("adapt")
        counts: Counter[Hashable] = Counter()
        if isinstance(data, np.ndarray):
            pieces = row_pieces(as_columns(data, "data"))
            parts = (self._tokens_in(piece, "data", first) for first, piece in pieces)
        else:
            parts = (tokens for tokens in self._flat(data, "data")[:1])
        for tokens in parts:
            counts.update(tokens if isinstance(tokens, list) else tokens.tolist())
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        ranked = sorted(counts.items(), key=lambda item: (item[1], _bytes(item[0])), reverse=True)
        most = None if self.max_tokens is None else self.max_tokens - self._specials
        self.set_vocabulary([token for token, _ in ranked[:most]])

    # ---- lookups ----

    def prepare(self, values: Any, name: str = "x") -> Indices:
        """The index of each token, as the next layer gets it.

        Parameters
        ----------
        values : array-like, shape (rows,) or (rows, columns)
        name : str
            What error messages call it.

        Returns
        -------
        ndarray of int64, shape (rows, columns)
            -1 for a masked token where indices become columns.
        """
        self._tokens()
        tokens, shape = self._flat(values, name)
        found = self._find(tokens)
        masked = np.zeros(len(found), bool)
        if self.mask_token is not None:
            masked = np.asarray(tokens, object if isinstance(tokens, list) else None) == self.mask_token
        unknown = (found < 0) & ~masked
        if unknown.any():
            if not self.num_oov_indices:
                at = int(np.argmax(unknown))
                raise ValueError(
                    f"{name} must hold tokens of {self._called}'s vocabulary, as num_oov_indices is 0, but row "
                    f"{at // max(shape[1], 1)} holds {tokens[at]!r}"
                )
            found[unknown] = -1 - found[unknown] - self.num_oov_indices
        found += self._specials
        found[masked] = 0 if self.output_mode == "int" else MASKED
        return found.reshape(shape)

    def __call__(self, values: Any) -> npt.NDArray[Any]:
        """The layer's output for these tokens, without a model; with ``invert`` the tokens of these indices.

        Parameters
        ----------
        values : array-like
            Of tokens, shape (rows,) or (rows, columns); with ``invert`` of whole numbers, of any shape.

        Returns
        -------
        ndarray
            Indices in the shape of `values`, columns of shape (rows, outputs), or tokens.
        """
        if self.invert:
            return self._tokens_of(np.asarray(values))
        indices = self.prepare(values, "values")
        if self.output_mode == "int":
            return indices.reshape(np.shape(values))
        size, (rows, columns) = self._depth(), indices.shape
        place = np.arange(columns) * size if self.output_mode == "one_hot" else 0
        out = np.zeros((rows, encoded_width(self.output_mode, columns, size)), np.float32)
        kept = indices != MASKED
        row, _ = np.nonzero(kept)
        np.add.at(out, (row, (indices + place)[kept]), 1)
        return out if self.output_mode == "count" else np.minimum(out, 1)

    def _tokens_of(self, indices: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if indices.dtype.kind not in "iu":
            raise TypeError(f"values must hold whole numbers, got dtype {indices.dtype}")
        known = np.array([*self.get_vocabulary(), self.oov_token])
        inside = (indices >= 0) & (indices < len(known) - 1)
        return known[np.where(inside, indices, len(known) - 1)]

    # ---- the layer ----

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """Whether indices are all it gives; else an op makes columns of them."""
        return self.output_mode == "int"

    def _depth(self) -> int:
        """Columns of one encoded token."""
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens is not None else self.vocabulary_size()

    def build(self, inputs: int) -> int:
        """An index for each token, or the columns of the vocabulary."""
        if self.invert:
            raise ValueError(f"{self._called} gives tokens (invert=True), which no layer can read: call it alone")
        self._features = inputs
        return encoded_width(self.output_mode, inputs, self._depth())

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Nothing for indices, which x holds already; else the op that makes columns of them."""
        if self.output_mode not in ENCODINGS:
            return []
        return [encode_op(self.output_mode, self._features, self._depth(), skips=True)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the vocabulary in use among them."""
        return super().get_config() | {
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "mask_token": self.mask_token,
            "oov_token": self.oov_token,
            "vocabulary": listed(self.vocabulary),
            "invert": self.invert,
            "output_mode": self.output_mode,
            "pad_to_max_tokens": self.pad_to_max_tokens,
        }


def _bytes(token: Any) -> Any:
    """Text as bytes, whose order is that of Keras."""
    return token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token


def _instead_of_text(token: Any) -> str:
    """The end of a sentence on what is no text: what to do."""
    if is_null(token) or (isinstance(token, float) and math.isnan(token)):
        return ': fill it first, as with fillna("")'
    return ": for whole numbers there is IntegerLookup" if isinstance(token, (int, np.integer)) else ""


class StringLookup(Lookup):
    """Text as whole numbers: the index of each token in a vocabulary.

    It must be the first layer of a model or of a branch, and runs once on the data, before the engine.

    Parameters
    ----------
    max_tokens : int, optional
        The most entries that :meth:`adapt` makes, the special ones included; default: no limit.
    num_oov_indices : int, default 1
        Indices for tokens that the vocabulary does not hold; with 0 such a token is an error. With several a token
        gets one by its checksum (another one than Keras's hash gives).
    mask_token : str, optional
        Has index 0, and no column in the other modes.
    oov_token : str, default "[UNK]"
        What indices out of the vocabulary stand for with `invert`.
    vocabulary : sequence of str, optional
        Instead of :meth:`adapt`.
    invert : bool, default False
        Text of indices; such a layer is called alone, on predicted classes for example.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Indices, or columns as of :class:`CategoryEncoding`.
    pad_to_max_tokens : bool, default False
        `max_tokens` columns even where the vocabulary is smaller.
    encoding : str, default "utf-8"
        Of tokens that are bytes.
    name : str, optional
    dtype : {"float32", "float64", "mixed_bfloat16"}, optional
    input_shape : tuple of int, optional

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.StringLookup(vocabulary=["red", "green"])
    >>> layer(["green", "blue"])
    array([2, 0])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        dtype: Any = None,
        input_shape: Any = None,
    ) -> None:
        if not isinstance(encoding, str):
            raise TypeError(f"encoding must be a string such as 'utf-8', got {type(encoding).__name__}")
        try:
            "a".encode(encoding)
        except (LookupError, ValueError):  # unknown, or a codec of bytes or of nothing, such as hex
            raise ValueError(f"encoding must be that of a text, such as 'utf-8', got {encoding!r}") from None
        self.encoding = encoding
        self._places: dict[str, int] = {}
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, invert, output_mode, pad_to_max_tokens,
            name, dtype, input_shape,
        )  # fmt: skip

    def _token(self, value: Any, argument: str) -> str:
        if isinstance(value, bytes):
            return self._decoded(value, argument)
        if not isinstance(value, str):
            raise TypeError(f"{argument} must hold text, got {type(value).__name__}")
        return str(value)

    def _decoded(self, value: bytes, argument: str) -> str:
        try:
            return value.decode(self.encoding)
        except UnicodeDecodeError:
            raise ValueError(f"{argument} must hold text in the encoding {self.encoding!r}, got {value!r}") from None

    def _index(self, tokens: list[str]) -> None:
        self._places = {token: place for place, token in enumerate(tokens)}

    def _tokens_in(self, array: npt.NDArray[Any], name: str, first: int = 0) -> list[str]:
        if array.dtype.kind not in "OSUT":
            hint = "; for whole numbers there is IntegerLookup" if array.dtype.kind in "iu" else ""
            raise TypeError(f"{name} must hold text for {self._called}, got dtype {array.dtype}{hint}")
        tokens = array.ravel().tolist()
        for at, token in enumerate(tokens):
            if not isinstance(token, str):
                if not isinstance(token, bytes):
                    row, hint = first + at // array.shape[1], _instead_of_text(token)
                    raise TypeError(f"{name} must hold text for {self._called}, but row {row} holds {token!r}{hint}")
                tokens[at] = self._decoded(token, name)
        return tokens

    def _find(self, tokens: list[str]) -> Indices:
        places, spread = self._places, self.num_oov_indices
        get: Callable[[str], int | None] = places.get
        found = [get(token) for token in tokens]
        if None in found:
            for at, place in enumerate(found):
                if place is None:
                    number = zlib.crc32(_bytes(tokens[at])) % spread if spread > 1 else 0
                    found[at] = -1 - number
        return np.array(found, np.int64)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the vocabulary in use among them."""
        return super().get_config() | {"encoding": self.encoding}


class IntegerLookup(Lookup):
    """Whole numbers of any size as indices: the place of each in a vocabulary.

    It must be the first layer of a model or of a branch, and runs once on the data, before the engine.

    Parameters
    ----------
    max_tokens : int, optional
        The most entries that :meth:`adapt` makes, the special ones included; default: no limit.
    num_oov_indices : int, default 1
        Indices for numbers that the vocabulary does not hold; with 0 such a number is an error. With n of them a number
        x gets x mod n.
    mask_token : int, optional
        Has index 0, and no column in the other modes.
    oov_token : int, default -1
        What indices out of the vocabulary stand for with `invert`.
    vocabulary : sequence of int, optional
        Instead of :meth:`adapt`.
    invert : bool, default False
        Numbers of indices; such a layer is called alone.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Indices, or columns as of :class:`CategoryEncoding`.
    pad_to_max_tokens : bool, default False
        `max_tokens` columns even where the vocabulary is smaller.
    name : str, optional
    dtype : {"float32", "float64", "mixed_bfloat16"}, optional
    input_shape : tuple of int, optional

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.IntegerLookup(vocabulary=[404, 200])
    >>> layer([200, 500])
    array([2, 0])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        name: str | None = None,
        dtype: Any = None,
        input_shape: Any = None,
    ) -> None:
        self._sorted = self._order = np.zeros(0, np.int64)
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, invert, output_mode, pad_to_max_tokens,
            name, dtype, input_shape,
        )  # fmt: skip

    def _token(self, value: Any, argument: str) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{argument} must hold whole numbers, got {type(value).__name__}")
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{argument} must hold numbers of 64 bits, got {value}")
        return int(value)

    def _index(self, tokens: list[int]) -> None:
        array = np.array(tokens, np.int64)
        self._order = np.argsort(array)
        self._sorted = array[self._order]

    def _tokens_in(self, array: npt.NDArray[Any], name: str, first: int = 0) -> Indices:
        if array.dtype.kind == "O":
            array = self._of_objects(array, name)
        if array.dtype.kind == "f":
            whole = np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2**63)
            if not whole.all():
                row, column = np.argwhere(~whole)[0]
                value = array[row, column]
                hint = ": fill it first, as with fillna(-1)" if np.isnan(value) else ""
                raise ValueError(
                    f"{name} must hold whole numbers for {self._called}, but row {first + row} holds {value:g}{hint}"
                )
        elif array.dtype.kind not in "iub":
            hint = "; for text there is StringLookup" if array.dtype.kind in "OUST" else ""
            raise TypeError(f"{name} must hold whole numbers for {self._called}, got dtype {array.dtype}{hint}")
        elif array.dtype == np.uint64 and array.size and array.max() >= 2**63:
            raise ValueError(f"{name} must hold numbers of 64 bits with a sign, got {array.max()}")
        return array.ravel().astype(np.int64)

    def _of_objects(self, array: npt.NDArray[Any], name: str) -> Indices:
        """Python's integers, exactly as they are."""
        objects = array.ravel().tolist()
        for at, value in enumerate(objects):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not -(2**63) <= value < 2**63:
                hint = "; for text there is StringLookup" if isinstance(value, (str, bytes)) else ""
                hint = ": fill it first, as with fillna(-1)" if is_null(value) else hint
                raise TypeError(
                    f"{name} must hold whole numbers of 64 bits for {self._called}, but row {at // array.shape[1]} "
                    f"holds {value!r}{hint}"
                )
        return np.array(objects, np.int64).reshape(array.shape)

    def _find(self, tokens: Indices) -> Indices:
        at = np.minimum(np.searchsorted(self._sorted, tokens), len(self._sorted) - 1)
        spread = max(self.num_oov_indices, 1)
        return np.where(self._sorted[at] == tokens, self._order[at], -1 - tokens % spread)
