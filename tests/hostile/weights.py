"""Files of weights: read as tensors, never as programs."""

import json
import os
import struct

import numpy as np

from tests.hostile.case import collector

CASES, case = collector()


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def read(path):
    from mmcell.encoders.weights import tensors_of

    return lambda: tensors_of(path, "encoder 'timm:toy'")


def saved(what):
    """Return what writes an object with torch, made when it is written."""

    def write(path):
        import torch

        torch.save(what() if callable(what) else what, path)

    return write


def module():
    import torch

    return torch.nn.Linear(2, 2)


def short(path):
    import torch

    torch.save({"a": torch.ones(999)}, path)
    path.write_bytes(path.read_bytes()[:700])


def given(
    name, content, file="x.pth", says=r"x\.{} cannot be read as weights; give a \.safetensors or \.pth of tensors"
):
    def make(folder):
        path = folder / file
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)
        return read(path)

    case(name, says.format(file.rpartition(".")[2]))(make)


def header(about):
    text = about if isinstance(about, bytes) else json.dumps(about).encode()
    return struct.pack("<Q", len(text)) + text


given("0 bytes as .pth", b"")
given("random bytes as .pth", np.random.default_rng(0).bytes(4096))
given("a bare pickle as .pth", b"cos\nsystem\n(S'touch harmed'\ntR.")
given("a pickle in a torch file", saved({"a": Harm()}))
given("a whole module", saved(module))
given(
    "a torch file cut short",
    short,
)
given(
    "a torch file of text",
    saved("os.system"),
    says=r"x\.pth holds no tensors by name; give the model's state_dict",
)
given(
    "a torch file of numbers",
    saved({"a": 1}),
    says=r"x\.pth holds no tensors by name; give the model's state_dict",
)
given(
    "no tensor at all",
    saved({}),
    says=r"x\.pth holds no tensors by name; give the model's state_dict",
)
given("0 bytes as .safetensors", b"", "x.safetensors")
given("a header of 2^60 bytes", struct.pack("<Q", 1 << 60) + b"{}", "x.safetensors")
given("a header that is no JSON", header(b"{" * 100), "x.safetensors")
given(
    "a header beyond the file",
    header({"a": {"dtype": "F32", "shape": [10**6], "data_offsets": [0, 4 * 10**6]}}) + bytes(16),
    "x.safetensors",
)
given(
    "a shape that its bytes do not hold",
    header({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 16]}}) + bytes(16),
    "x.safetensors",
)
given(
    "tensors that overlap",
    header({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}) + bytes(16),
    "x.safetensors",
)
given(
    "offsets upside down",
    header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}) + bytes(16),
    "x.safetensors",
)
given(
    "a type of nobody",
    header({"a": {"dtype": "PICKLE", "shape": [4], "data_offsets": [0, 16]}}) + bytes(16),
    "x.safetensors",
)
given("a pickle as .safetensors", b"cos\nsystem\n(S'touch harmed'\ntR.", "x.safetensors")


def chosen(name, model, says, **more):
    @case(name, says)
    def _(folder):
        from mmcell.encoders.base import make_encoder

        return lambda: make_encoder(f"timm:{model}", more)


for label, model in {
    "an address": "https://evil.example/m", "a repository": "hf-hub:evil/model",
    "another repository": "hf_hub:evil/model", "a folder": "local-dir:/tmp/evil",
    "a path": "../../evil", "nothing": "", "NUL": "a\0b", "a module": "os:system",
}.items():  # fmt: skip
    chosen(f"a model that is {label}", model, r"timm has no such model; |is not of the form|timm")
chosen(
    "weights that are an address",
    "resnet18",
    r"weights 'https://evil\.example/w\.pth' is no file",
    weights="https://evil.example/w.pth",
)
chosen("weights that are a device", "resnet18", r"weights '/dev/zero' is no file", weights="/dev/zero")
