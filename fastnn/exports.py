"""A model's way to other programs: the methods of :class:`fastnn.Sequential` that write formats of others."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnn._settings import flag
from fastnn.data import sparse
from fastnn.layers._preparation import raw_reader
from fastnn.stepping import Stepper


class Exports(Stepper):
    """A model that writes itself in formats of others; :mod:`fastnn.exchange` has the formats."""

    def export_c(
        self,
        filepath: str | os.PathLike[str],
        weights: str | None = None,
        gradient: bool = False,
        rows: Any = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Write the network as plain C: one file of C99 and a header, which need ``<math.h>`` and nothing else.

        The C has a function ``NAME_predict`` for one row, which allocates nothing and writes no globals: its workspace
        is an argument. It compiles without warnings as C99 and as C++, for microcontrollers too. The header says what
        the functions take.

        Parameters
        ----------
        filepath : path-like
            The path of the C file, ``*.c``. The header, ``*.h``, lies beside it. Files that exist are replaced.
        weights : {"float32", "float64", "bfloat16", "int8"}, optional
            How matrices are stored. By default as the model has them. ``"bfloat16"`` needs half the memory of
            ``"float32"``, and ``"int8"``, with a scale for each column, a quarter; both are computed with as float32.
        gradient : bool, default False
            Whether there is a function ``NAME_gradient`` as well, for the gradient by the row of one output, or of a
            weighted sum of the outputs.
        rows : array-like, shape (rows, features), optional
            Rows for which the report says how far `weights` changes the outputs.
        name : str, optional
            What names in the C begin with. By default the file's name without its suffix.

        Returns
        -------
        dict
            The report: ``name``; ``numbers``, ``"float"`` or ``"double"``; ``parameters``, their number;
            ``constant_bytes``; ``workspace_bytes`` and ``gradient_workspace_bytes``; ``largest_change`` and
            ``mean_change`` of outputs for the `rows`, or None.

        Raises
        ------
        ValueError
            When the model is not built, or a layer reads raw data such as text, which stays in Python; when the file's
            name, `name` or `weights` cannot be used.
        OSError
            When a file cannot be written.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(3, activation="tanh")])
        >>> model.export_c("net.c", weights="int8")["constant_bytes"]
        24
        """
        from fastnn.exchange import _to_c

        raw = raw_reader(self._layers)
        if raw is not None:
            raise ValueError(
                f"layer {raw.name!r} reads raw data, which is prepared in Python, and C has numbers alone: export a "
                f"model of the layers behind it"
            )
        with self._home.lock:
            engine = self._need_engine("export_c")
            self._heed_changes()
            plan, parameters = engine.plan, np.array(engine.parameters)
        given = None
        if rows is not None:
            if sparse.is_sparse(rows):
                raise TypeError(
                    "rows is sparse, and export_c needs dense rows: a few hundred, as rows[:500].toarray() gives"
                )
            given = np.asarray(self._checked(self._inputs(rows, plan.dtype, check_finite=True, name="rows")[0], "rows"))
        inputs, outputs = (
            {name: shape[1] for name, shape in shapes.items()} if isinstance(shapes, dict) else {"": width}
            for shapes, width in ((self.input_shape, plan.inputs), (self.output_shape, plan.outputs))
        )
        source = _to_c.Source(plan, parameters, str(self.name), inputs, outputs, self.feature_names, given)
        return _to_c.write(filepath, source, weights, gradient, name)

    def export_onnx(self, filepath: str | os.PathLike[str], opset: int = 18) -> None:
        """Write the model as ONNX: one graph that holds its weights and its preprocessing, for any runtime.

        Parameters
        ----------
        filepath : path-like
            ``*.onnx``. A file that exists is replaced only once the new one is whole and on the disk.
        opset : int, default 18
            The version of ONNX's operators, from 13 to 28. ONNX Runtime has those of the default since version 1.14.

        Raises
        ------
        ValueError
            When the model is not built, has 2 GiB of weights or more, or reads columns as ONNX cannot, which the
            message names; no file is written then.
        ImportError
            When onnx is missing: ``pip install 'fastnn-cpu[onnx]'``.
        OSError
            When the file cannot be written; an existing one is as it was.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
        >>> model.export_onnx("model.onnx")
        """
        from fastnn.exchange import _to_onnx

        _to_onnx.save(self, filepath, opset)

    def export_keras(self, filepath: str | os.PathLike[str], training: bool = True) -> None:
        """Write the model as a ``.keras`` file, which ``keras.models.load_model`` of Keras 3 reads without fastnn.

        Keras's model gives the same outputs. A compiled one is compiled there too, and its next step of training is the
        same. Branches, heads and residual blocks become a functional graph, whose inputs and outputs have their names.

        Parameters
        ----------
        filepath : path-like
            ``*.keras``. A file that exists is replaced only once the new one is whole and on the disk.
        training : bool, default True
            Whether to write what :meth:`fastnn.Sequential.compile` was told, and the state of the optimizer.

        Raises
        ------
        ValueError
            When the model is not built, or has something that Keras lacks, which the message names; no file is written
            then.
        ImportError
            When h5py is missing: ``pip install 'fastnn-cpu[keras]'``.
        OSError
            When the file cannot be written; an existing one is as it was.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
        >>> model.export_keras("model.keras")
        """
        from fastnn.exchange import _to_keras

        _to_keras.save(self, filepath, flag("training", training))

    def export_torch(self, filepath: str | os.PathLike[str]) -> str:
        """Write the weights for PyTorch, and return the Python that makes its modules.

        Parameters
        ----------
        filepath : path-like
            ``*.safetensors``, the ``state_dict`` of the modules. A file that exists is replaced only once the new one
            is whole and on the disk.

        Returns
        -------
        str
            Python that imports torch alone and makes ``model``: an ``nn.Sequential`` of PyTorch's modules, and small
            classes of its own where PyTorch has no module, such as residual blocks. Its ``load_state_dict`` takes what
            ``safetensors.torch.load_file`` reads from the file; then it gives the same outputs, and may be trained.

        Raises
        ------
        ValueError
            When the model is not built, or has a layer that no module of PyTorch does, such as one that reads text; no
            file is written then.
        OSError
            When the file cannot be written; an existing one is as it was.

        Notes
        -----
        A model with branches takes one tensor with the columns of all branches side by side, and one with heads returns
        a dict. Rates that follow a schedule are those of the beginning. What the model was compiled with stays here.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(3, activation="tanh")])
        >>> print(model.export_torch("net.safetensors"))
        # The network 'sequential' of fastnn, for PyTorch. Its weights:
        #     from safetensors.torch import load_file
        #     model.load_state_dict(load_file('net.safetensors'))
        <BLANKLINE>
        import torch
        from torch import nn
        <BLANKLINE>
        model = nn.Sequential(
            nn.Linear(4, 3),
            nn.Tanh(),
        )
        model.to(torch.float32).eval()
        """
        from fastnn.exchange import _to_torch

        raw = raw_reader(self._layers)
        if raw is not None:
            raise ValueError(
                f"layer {raw.name!r} reads raw data, which is prepared in Python, and PyTorch has numbers alone: "
                f"export a model of the layers behind it"
            )
        with self._home.lock:
            plan = self._need_engine("export_torch").plan
            self._heed_changes()
            return _to_torch.export(filepath, str(self.name), self._layers, plan.inputs, plan.dtype)
