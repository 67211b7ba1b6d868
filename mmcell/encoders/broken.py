"""`Broken`: an encoder that could not be made. It keeps its rows in every table, and the others go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from mmcell.embedding import ModelCard
from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(eq=False)
class Broken:
    """Stands for an encoder that could not be made, or that cannot read the data.

    Attributes
    ----------
    card
        Its name.
    reason
        Why, with the cure.
    """

    card: ModelCard
    reason: str

    @classmethod
    def of(cls, name: str, error: BaseException | str) -> Broken:
        """Make it from what was raised, or from the reason itself."""
        if isinstance(error, str):
            reason = error
        elif isinstance(error, MmcellError):
            reason = str(error)
        elif isinstance(error, ImportError):
            package = (error.name or str(error)).partition(".")[0]
            reason = f"encoder {name!r}: needs the package {package!r}: python -m pip install {package}"
        else:
            text = " ".join(str(error).split()) or "no message"
            reason = f"encoder {name!r}: cannot be made ({type(error).__name__}: {text}); mend it, or leave it out"
        return cls(ModelCard(name=name), reason)

    def encode(self, data: AnnData) -> NoReturn:  # noqa: ARG002
        """Raise the reason."""
        raise MmcellError(self.reason)
