"""Appends nodes and constants to the graph of a converted model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    import onnx
    from numpy.typing import ArrayLike

    from pipeline.shared.interface import Interface

_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


class Graph:
    """A graph that grows at its end."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def constant(self, values: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """A constant; returns its name."""
        name = f"constant_{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node; returns the name of what it gives."""
        name = output or f"appended_{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def promise(self, interface: Interface) -> None:
        """Declare the inputs and outputs of an interface, whatever was declared before."""
        del self._graph.input[:], self._graph.output[:]
        for values, tensors in (
            (self._graph.input, interface.inputs),
            (self._graph.output, interface.outputs),
        ):
            values.extend(helper.make_tensor_value_info(one.name, _TYPES[one.type], one.shape) for one in tensors)
