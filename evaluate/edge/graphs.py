"""Networks as ONNX: written by torch's exporter, and again with weights of eight bits."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from recipes.schema import UserError

Axes = Mapping[str, Mapping[int, str]]  # input → axis → name of its length; axes of one name are of one length
Example = Sequence[torch.Tensor | list[torch.Tensor]]
_MOST_BYTES = 2**31 - 2**24  # of a protobuf, less what is no weight
_OPSET = 20  # known to onnxruntime since 1.17


def write(
    path: Path,
    network: torch.nn.Module,
    example: Example,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Axes,
) -> None:
    """One network as ONNX, its weights in the file. `example`: what it is called with; `inputs` names each tensor.

    Raises UserError where onnxscript is not installed, and for a network that one file does not hold.
    """
    weights = sum(one.numel() * one.element_size() for one in network.parameters())
    if weights > _MOST_BYTES:
        raise UserError(
            f"{path.name} would have {weights / 2**30:.1f} GiB; an ONNX file holds 2: take a smaller base"
        )
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("torch writes ONNX by means of onnxscript; run: pip install 'onnxscript>=0.7'") from None
    names, lengths = iter(inputs), dict[str, Any]()

    def varying() -> dict[int, Any]:
        found = axes.get(next(names), {})
        return {axis: lengths.setdefault(name, torch.export.Dim(name)) for axis, name in found.items()}

    shapes = tuple([varying() for _ in one] if isinstance(one, list) else varying() for one in example)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            tuple(example),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)


def quantise(source: Path, target: Path, kinds: Sequence[str], apart: Sequence[str] = ()) -> None:
    """The same network with the weights of some kinds of nodes (MatMul, Conv) in eight bits; sums are exact.

    What flows between nodes gets its eight bits anew for each input. `apart`: layers that are left as they are.
    Source: Jacob et al., CVPR 2018; onnxruntime's dynamic quantisation.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    left = [n.name for n in onnx.load(source).graph.node if any(f"'{layer}'" in _layers(n) for layer in apart)]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        made = source
        # A scale for each output, and signed, where onnxruntime has that: its convolutions know neither.
        for kind, signed in (("MatMul", True), ("Conv", False)):
            if kind in kinds:
                given, made = made, Path(folder, f"{kind}.onnx")
                quantize_dynamic(
                    given,
                    made,
                    op_types_to_quantize=[kind],
                    nodes_to_exclude=left,
                    per_channel=signed,
                    weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                    extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
                )
        small = onnx.load(made)
    _share_tables(small)
    onnx.save(small, target)


def _layers(node: Any) -> str:
    """Where in the model a node comes from, as torch's exporter notes it."""
    return next((one.value for one in node.metadata_props if one.key.endswith("name_scopes")), "")


def _share_tables(model: Any) -> None:
    """Rows of a table that is also an output layer come from its eight bits: the table in floats is let go."""
    from onnx import TensorProto, helper

    graph = model.graph
    held = {one.name for one in graph.initializer}
    for node in [one for one in graph.node if one.op_type == "Gather"]:
        table = node.input[0]
        if table not in held or f"{table}_quantized" not in held:
            continue
        ids, out = node.input[1], node.output[0]
        parts = [
            helper.make_node("Gather", [f"{table}_quantized", ids], [f"{out}_small"], axis=1),
            helper.make_node("Cast", [f"{out}_small"], [f"{out}_wide"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{table}_scale", ids], [f"{out}_scale"], axis=0),
            helper.make_node("Mul", [f"{out}_wide", f"{out}_scale"], [out]),
        ]
        at = list(graph.node).index(node)
        graph.node.remove(node)
        for number, part in enumerate(parts):
            graph.node.insert(at + number, part)
        for one in [one for one in graph.initializer if one.name == table]:
            graph.initializer.remove(one)


def mark(path: Path, about: Mapping[str, str]) -> None:
    """Write what a network is into its file, and take out where on this machine it was made."""
    import onnx

    model = onnx.load(path)
    for part in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph]:
        part.ClearField("metadata_props")
    onnx.helper.set_model_props(model, dict(about))
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """What exporter and quantiser advise their developers is no news to the user."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
