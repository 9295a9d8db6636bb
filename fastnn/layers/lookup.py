"""Layers that turn tokens (text or codes in raw columns) into whole numbers before the engine runs."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._settings import count, flag, listed
from fastnn.data.feeds import gathered
from fastnn.data.frames import as_array, column_names, columns, is_frame, is_null, row_pieces
from fastnn.layers.base import Layer, NotYetError, Shared, check_width
from fastnn.layers.categories import ENCODINGS, LARGEST, check_output_mode, encode_op, encoded_width

if TYPE_CHECKING:
    from typing_extensions import Unpack


Indices = npt.NDArray[np.int64]
MASKED = -1  # an index that sets no column, where indices become columns


def as_columns(values: Any, name: str) -> npt.NDArray[Any]:
    """Return an array of rows and columns; values of shape (rows,) become one column."""
    array = as_array(values, name)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (rows,) or (rows, columns), got {array.shape}")
    return array if array.ndim == 2 else array[:, None]


class Lookup(Layer):
    """The base of :class:`StringLookup` and :class:`IntegerLookup`: a vocabulary whose first entries are special.

    With ``output_mode="int"`` the indices count the mask token, where there is one; then `num_oov_indices` indices for
    tokens out of the vocabulary; then the tokens of the vocabulary. In the other modes a masked token has no column.
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
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
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

    # ---- what each kind of tokens implements ----

    def _token(self, value: Any, argument: str) -> Any:
        """Return a token as Python holds it; raise an error that names the argument where `value` is none."""
        raise NotImplementedError

    def _index(self, tokens: list[Any]) -> None:
        """Build the index that :meth:`_find` uses to look these tokens up."""
        raise NotImplementedError

    def _tokens_in(self, array: npt.NDArray[Any], name: str, first: int = 0) -> Any:
        """Return the tokens of an array of two axes, row by row: a list of text, or an array of numbers.

        `first` is the number of the array's first row in error messages.
        """
        raise NotImplementedError

    def _find(self, tokens: Any) -> Indices:
        """Return each token's place in the vocabulary; -1 - k for one outside that gets out-of-vocabulary index k."""
        raise NotImplementedError

    def _flat(self, values: Any, name: str) -> tuple[Any, tuple[int, int]]:
        """Return the tokens of `values`, one after the other, and how many rows and columns they make."""
        if not is_frame(values) or not column_names(values):
            array = as_columns(values, name)
            return self._tokens_in(array, name), array.shape
        each = []
        # one column at a time: NumPy may change values on their way into one array, such as dates
        for it, column in columns(values, name):
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
        """The mask token in a list, empty where it has no index."""
        return [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []

    @property
    def _specials(self) -> int:
        """Return how many indices come before the vocabulary's; their tokens are not listed, as there may be many."""
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
        """Use these tokens as the vocabulary, in their order.

        Parameters
        ----------
        vocabulary : sequence of tokens
            At least one token, each of them once. The special tokens may stand first, as :meth:`get_vocabulary` gives
            them.

        Raises
        ------
        ValueError, TypeError
            When a token cannot be used, in one sentence; the layer is as it was then.
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
        """Return the tokens in the order of their indices.

        Parameters
        ----------
        include_special_tokens : bool, default True
            Whether the tokens for masked and for unknown values, which have the first indices, are included.
        """
        special = [*self._masks, *([self.oov_token] * self.num_oov_indices)] if include_special_tokens else []
        return [*special, *self._tokens()]

    def vocabulary_size(self) -> int:
        """Return the number of indices, with those of the special tokens."""
        return self._specials + len(self._tokens())

    def adapt(self, data: Any) -> None:
        """Make a vocabulary of the tokens of `data`, the most frequent ones first.

        Parameters
        ----------
        data : array-like, shape (rows,) or (rows, columns), or iterable of such batches
            At least one token. Of tokens that are equally frequent, the one with the larger value comes first, as in
            Keras. An array is read some rows at a time, so that it may be a file that is larger than memory
            (numpy.memmap); the batches of a generator are held in memory together.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence; the layer is as it was then.
        """
        if self._given:
            raise ValueError(f"{self._called} was given its vocabulary: adapt() would have no effect")
        self._may_change("adapt")
        data = gathered(data, "data")
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
        """Return the index of each token, as the next layer gets it.

        Parameters
        ----------
        values : array-like, shape (rows,) or (rows, columns)
        name : str
            What error messages call `values`.

        Returns
        -------
        ndarray of int64, shape (rows, columns)
            The index is -1 for a masked token where indices become columns.
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
        """Return the output for these tokens, without a model; with ``invert`` the tokens that indices stand for.

        Parameters
        ----------
        values : array-like
            Tokens, shape (rows,) or (rows, columns); with ``invert`` whole numbers, of any shape.

        Returns
        -------
        ndarray
            Indices in the shape of `values`, or columns of shape (rows, outputs); with ``invert`` tokens in the shape
            of `values`.
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
        """Whether the layer only prepares indices; in other output modes an op turns them into columns."""
        return self.output_mode == "int"

    def _depth(self) -> int:
        """Return the number of columns of one encoded token."""
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens is not None else self.vocabulary_size()

    def build(self, inputs: int) -> int:
        """Return the number of outputs: one index for each input, or the columns of the vocabulary."""
        if self.invert:
            raise ValueError(f"{self._called} gives tokens (invert=True), which no layer can read: call it alone")
        self._features = inputs
        return encoded_width(self.output_mode, inputs, self._depth())

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return no op for indices, which x holds already; else the op that turns them into columns."""
        if self.output_mode not in ENCODINGS:
            return []
        return [encode_op(self.output_mode, self._features, self._depth(), skips=True)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the vocabulary in use."""
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
    """Return text as bytes, by whose order Keras sorts tokens."""
    return token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token


def _instead_of_text(token: Any) -> str:
    """Return the end of a sentence about a value that is no text: what to do with it."""
    if is_null(token) or (isinstance(token, float) and math.isnan(token)):
        return ': fill it first, as with fillna("")'
    return ": for whole numbers there is IntegerLookup" if isinstance(token, (int, np.integer)) else ""


class StringLookup(Lookup):
    """Turns text into whole numbers: the index of each token in a vocabulary.

    The layer must be the first of a model or of a branch, and runs once on the data, before the engine.

    Parameters
    ----------
    max_tokens : int, optional
        The most entries that :meth:`adapt` makes, with the special ones; default: no limit.
    num_oov_indices : int, default 1
        The number of indices for tokens that the vocabulary does not hold; with 0 such a token is an error. Among
        several indices the token's checksum chooses, which is another function than Keras's hash.
    mask_token : str, optional
        The token that has index 0, and in the other output modes no column.
    oov_token : str, default "[UNK]"
        The token that `invert` gives for an index out of the vocabulary.
    vocabulary : sequence of str, optional
        The tokens in the order of their indices, instead of :meth:`adapt`.
    invert : bool, default False
        Whether the layer turns indices into text; such a layer is called alone, on predicted classes for example.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Whether the output is an index, or columns as those of :class:`CategoryEncoding`.
    pad_to_max_tokens : bool, default False
        Whether there are `max_tokens` columns even where the vocabulary is smaller.
    encoding : str, default "utf-8"
        The encoding of tokens that are bytes.
    **shared
        See :class:`Layer`.

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
        **shared: Unpack[Shared],
    ) -> None:
        if not isinstance(encoding, str):
            raise TypeError(f"encoding must be a string such as 'utf-8', got {type(encoding).__name__}")
        try:
            "a".encode(encoding)
        except (LookupError, ValueError):  # an unknown codec, or one that does not decode bytes to text, such as hex
            raise ValueError(f"encoding must be that of a text, such as 'utf-8', got {encoding!r}") from None
        self.encoding = encoding
        self._places: dict[str, int] = {}
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, invert, output_mode, pad_to_max_tokens,
            **shared,
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
        """Return the constructor's arguments, with the vocabulary in use."""
        return super().get_config() | {"encoding": self.encoding}


class IntegerLookup(Lookup):
    """Turns whole numbers of any size into indices: the place of each number in a vocabulary.

    The layer must be the first of a model or of a branch, and runs once on the data, before the engine.

    Parameters
    ----------
    max_tokens : int, optional
        The most entries that :meth:`adapt` makes, with the special ones; default: no limit.
    num_oov_indices : int, default 1
        The number of indices for numbers that the vocabulary does not hold; with 0 such a number is an error. With n
        indices, number x gets index x mod n of them.
    mask_token : int, optional
        The number that has index 0, and in the other output modes no column.
    oov_token : int, default -1
        The number that `invert` gives for an index out of the vocabulary.
    vocabulary : sequence of int, optional
        The numbers in the order of their indices, instead of :meth:`adapt`.
    invert : bool, default False
        Whether the layer turns indices into numbers; such a layer is called alone.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Whether the output is an index, or columns as those of :class:`CategoryEncoding`.
    pad_to_max_tokens : bool, default False
        Whether there are `max_tokens` columns even where the vocabulary is smaller.
    **shared
        See :class:`Layer`.

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
        **shared: Unpack[Shared],
    ) -> None:
        self._sorted = self._order = np.zeros(0, np.int64)
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, invert, output_mode, pad_to_max_tokens,
            **shared,
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
        """Return an array of Python's integers, exactly as they are."""
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
