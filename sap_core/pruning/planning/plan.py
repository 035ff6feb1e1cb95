"""The plan of a pruning, matrix by matrix, made in milliseconds before any weight is read. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput
from ...models.resizing.units import (
    Shape,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PlannedMatrix:
    """One weight matrix of ``rows`` outputs and ``cols`` inputs, of which ``zeros`` weights are removed."""

    name: str
    layer: int
    rows: int
    cols: int
    sparsity: float
    zeros: int


@dataclass(frozen=True)
class PruningPlan:
    """What a pruning removes.

    Attributes:
        pending: What is decided only when the pruning starts; empty when nothing is open.
        measured: The value of each layer that the allocation followed (higher: keep more), if it is a measured one.
        shape: Layers, heads, kv_heads and ffn that are left where whole units are removed, else None; of the widest
            layer where ``layer_shapes``, the (kv_heads, ffn) of every layer, says that they differ.
        loads: What an export of it needs to be loaded.
        taken: What a search removed: (unit, fraction), in this order.
    """

    method: str
    pattern: str
    sparsity: float
    compare: str
    matrices: tuple[PlannedMatrix, ...]
    heads: tuple[tuple[int, int], ...] = ()
    parameters: int = 0
    pending: str = ""
    allocation: str = "uniform"
    measured: tuple[float, ...] = ()
    shape: dict[str, int] | None = None
    loads: str = ""
    layer_shapes: tuple[tuple[int, int], ...] = ()
    taken: tuple[tuple[str, float], ...] = ()

    def left(self) -> Shape | None:
        """Return the shape that is left where whole units are removed, else None."""
        return None if self.shape is None else Shape(**self.shape, per_layer=self.layer_shapes)

    def totals(self) -> dict[str, float]:
        """Return weights considered, weights removed, their fraction, and the fraction of all the parameters."""
        weights = sum(m.rows * m.cols for m in self.matrices)
        zeros = sum(m.zeros for m in self.matrices)
        return {
            "weights": weights,
            "zeros": zeros,
            "sparsity": zeros / weights if weights else 0.0,
            "of_all_parameters": zeros / self.parameters if self.parameters else 0.0,
            "heads": len(self.heads),
        }

    def per_layer(self) -> pd.DataFrame:
        """Return one row per layer: layer, weights, zeros, sparsity, heads (heads removed)."""
        import pandas as pd

        rows: dict[int, dict[str, float]] = {}
        for m in self.matrices:
            row = rows.setdefault(m.layer, {"layer": m.layer, "weights": 0, "zeros": 0})
            row["weights"] += m.rows * m.cols
            row["zeros"] += m.zeros
        for layer, row in rows.items():
            row["sparsity"] = row["zeros"] / row["weights"]
            row["heads"] = sum(1 for where, _ in self.heads if where == layer)
        return pd.DataFrame(list(rows.values()), columns=["layer", "weights", "zeros", "sparsity", "heads"])

    def by_kind(self) -> tuple[list[str], list[list[float]]]:
        """Return short matrix names and, per name, the fraction removed in every layer (NaN if a layer lacks it)."""
        import pandas as pd

        rows = [(m.name.rsplit(".", 1)[-1], m.layer, m.sparsity) for m in self.matrices]
        table = pd.DataFrame(rows, columns=["kind", "layer", "share"])
        wide = table.pivot_table(index="kind", columns="layer", values="share", sort=False)
        return wide.index.tolist(), wide.to_numpy().tolist()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able document that `from_dict` reads."""
        return asdict(self) | {"heads": [list(head) for head in self.heads], "totals": self.totals()}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> PruningPlan:
        """Return the plan of a document that `to_dict` wrote.

        Raises:
            InvalidInput: something is missing or unknown.
        """
        fields = {key: value for key, value in document.items() if key != "totals"}
        try:
            fields["matrices"] = tuple(PlannedMatrix(**m) for m in fields["matrices"])
            fields["heads"] = tuple((int(layer), int(head)) for layer, head in fields.get("heads", ()))
            fields["measured"] = tuple(fields.get("measured", ()))
            fields["layer_shapes"] = tuple((int(kv), int(ffn)) for kv, ffn in fields.get("layer_shapes", ()))
            fields["taken"] = tuple((str(unit), float(fraction)) for unit, fraction in fields.get("taken", ()))
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a pruning plan ({error}); expected what PruningPlan.to_dict() writes.") from None
