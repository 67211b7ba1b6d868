"""A BERT in a local folder, as ``transformers`` writes it: its first layers, with its own weights or random ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcell.digest import stream
from mmcell.encoders.network import need_torch
from mmcell.errors import MissingExtraError, MmcellError

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"


def part(folder: Path, name: str) -> Path:
    """Return a file of the folder of a model; nothing is ever downloaded.

    Raises
    ------
    MmcellError
        There is no such folder, or it does not hold the file.
    """
    if not folder.is_dir():
        raise MmcellError(
            f"{str(folder)!r} is no folder here, and nothing is downloaded; fetch the model and give the folder that "
            f"holds config.json and {WEIGHTS}"
        )
    if not (folder / name).is_file():
        raise MmcellError(f"{folder}: there is no {name}; the folder of a model holds config.json and {WEIGHTS}")
    return folder / name


def config_of(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a BERT.

    Raises
    ------
    MmcellError
        No such folder or file, or another architecture.
    """
    path = part(folder, "config.json")
    found = read_json(path)
    wanted = ("num_hidden_layers", "max_position_embeddings", "vocab_size", "hidden_size")
    if found.get("model_type") != "bert" or any(not isinstance(found.get(k), int) for k in wanted):
        raise MmcellError(f"{path}: the model is {found.get('model_type')!r}; give the folder of a BERT")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds; raises when it holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise MmcellError(f"{path}: cannot be read as JSON ({error}); write it with json.dump") from error
    if not isinstance(found, dict):
        raise MmcellError(f"{path}: it holds a {type(found).__name__}; a mapping is needed")
    return found


@lru_cache(maxsize=1)
def pretrained(folder: str, sha256: str, depth: int) -> torch.nn.Module:  # noqa: ARG001
    """Return the first layers of a checkpoint.

    Parameters
    ----------
    folder
        Holds ``config.json`` and ``model.safetensors``, of a BERT with any head or none.
    sha256
        Of the weights: other weights in the same folder are loaded anew.
    depth
        How many layers; their output is the hidden state number `depth` of the whole model.

    Raises
    ------
    MissingExtraError
        transformers or torch are not installed.
    MmcellError
        The file cannot be read, or lacks weights.
    """
    transformers = _transformers()
    from safetensors import SafetensorError

    path = part(Path(folder), WEIGHTS)
    made = transformers.BertConfig(**{**config_of(Path(folder)), "num_hidden_layers": depth})
    try:
        with _quiet(transformers):
            model, report = transformers.BertModel.from_pretrained(
                folder, config=made, add_pooling_layer=False, local_files_only=True, use_safetensors=True,
                output_loading_info=True,
            )  # fmt: skip
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise MmcellError(f"{path}: cannot be read ({' '.join(str(error).split())}); fetch the file again") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise MmcellError(
            f"{path}: {len(missing)} weights of the architecture are not in it (first: {missing[0]}), and random ones "
            "would stand in for them; give the folder of a whole model"
        )
    return model.float().eval()  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def untrained(config: str, seed: int, depth: int) -> torch.nn.Module:
    """Return layers with random weights; the session's own generator stays as it was.

    Parameters
    ----------
    config
        What `config_of` returned, as JSON.
    seed
        Of the weights.
    depth
        How many layers.
    """
    transformers = _transformers()
    torch = need_torch("a BERT")
    made = transformers.BertConfig(**{**json.loads(config), "num_hidden_layers": depth})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(seed, "untrained-bert").integers(2**63)))
        return transformers.BertModel(made, add_pooling_layer=False).float().eval()  # type: ignore[no-any-return]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("a BERT", "transformers", "transformers") from error
    need_torch("a BERT")
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from listing the layers and heads that are left out on purpose, and from drawing bars."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
