"""Exported files: one contract for all, the maps that Keras predicts, and what they say of it.

The harness tests the float32 TFLite file of every model.
"""

import json
import shutil
import sys

import cv2
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_salnet import Predictor, metrics, models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, popout
from keras_salnet.formats import (
    export_onnx,
    export_openvino,
    export_savedmodel,
    export_tflite,
    tflite,
)
from keras_salnet.formats.description import describe
from keras_salnet.formats.tflite import representative_images
from keras_salnet.prediction.check import check_export

FRAME = (64, 96)
SIZES = {"none": 1, "fp16": 2, "dynamic": 4, "int8": 4}


def textures(height, width):
    """A few images with something to see, from coarse to fine."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(3, height, width, 3))
    images = [cv2.GaussianBlur(x, (0, 0), sigma) for x, sigma in zip(noise, (2, 4, 8), strict=True)]
    return [np.clip(128 + 60 * x / x.std(), 0, 255).astype("float32") for x in images]


def small(**arguments):
    keras.utils.set_random_seed(0)
    options = {"input_shape": (*FRAME, 3), "num_rga": 0, "filters": 16, **arguments}
    return models.create("vggrga", backbone_weights=None, **options)


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 12, "test": 3})
    return folder


@pytest.fixture(scope="module")
def net(displays):
    """A model whose maps peak low, as those of a trained one may."""
    net = small()
    images = np.stack(representative_images(load_dataset(displays), FRAME))
    last = net.get_layer("saliency")
    logits = keras.Model(net.inputs, last.input).predict(images, verbose=0) @ last.kernel[0, 0]
    scale = 1 / logits.numpy().std()
    last.kernel.assign(scale * last.kernel)
    last.bias.assign([-1 - scale * logits.numpy().max()])
    assert 0.2 < net.predict(images, verbose=0).max() < 0.3
    return net


@pytest.fixture(scope="module")
def files(net, displays, tmp_path_factory):
    """Each quantization's file."""
    folder = tmp_path_factory.mktemp("files")
    images = representative_images(load_dataset(displays), FRAME)
    for quantize in SIZES:
        export_tflite(net, folder / f"{quantize}.tflite", quantize, images, "pad", "low")
    return {quantize: folder / f"{quantize}.tflite" for quantize in SIZES}


@pytest.mark.parametrize("quantize", SIZES)
def test_tflite_is_small_and_predicts_the_same(files, net, displays, quantize):
    weights = 4 * net.count_params() / SIZES[quantize]
    assert weights < files[quantize].stat().st_size < 1.25 * weights + 20_000
    run = Interpreter(str(files[quantize])).get_signature_runner("serving_default")
    for image in representative_images(load_dataset(displays), FRAME, count=3, seed=1):
        ours = run(image=image[None])["saliency"]
        assert ours.dtype == "float32"
        assert ours.shape == (1, *FRAME, 1)
        wanted = net(image[None], training=False).numpy()
        least = 0.99 if quantize in ("dynamic", "int8") else 0.999
        assert metrics.correlation_coefficient(ours[0, ..., 0], wanted[0, ..., 0]) > least
        assert ours.max() < 0.4
        assert len(np.unique(ours)) >= 200


def test_int8_computes_in_it_between_its_ends(files):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(files["int8"].read_bytes()))
    (graph,) = model.subgraphs
    codes = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    types = [graph.tensors[operator.outputs[0]].type for operator in graph.operators]
    assert not any(code.customCode for code in model.operatorCodes)
    convolutions = [
        kind == schema.TensorType.INT8
        for code, kind in zip(codes, types, strict=True)
        if code == schema.BuiltinOperator.CONV_2D
    ]
    assert len(convolutions) > 20
    assert convolutions == [True] * (len(convolutions) - 1) + [False]
    begin, end = (
        codes.index(code)
        for code in (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE)
    )
    assert set(types[begin:end]) == {schema.TensorType.INT8}


@pytest.mark.parametrize("quantize", SIZES)
def test_tflite_says_what_it_is(files, net, quantize):
    said = tflite.load(files[quantize]).description
    assert said == json.loads(describe(net, "pad", "low", quantize, batch=1))
    assert said["input"]["shape"] == [1, *FRAME, 3]
    predictor = Predictor.load(files[quantize])
    assert (predictor.name, predictor.resize, predictor.input_size) == ("low", "pad", FRAME)


def test_a_tflite_file_of_a_run_is_fitted_as_the_run(files, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.tflite").write_bytes(files["none"].read_bytes())
    (run / "config.json").write_text(json.dumps({"recipe": {"resize": "stretch"}}))
    predictor = Predictor.load(run / "model.tflite")
    assert (predictor.name, predictor.resize) == ("run/model.tflite", "stretch")


def test_a_tflite_file_of_others_is_named_as_it_is(files, tmp_path):
    path = tmp_path / "other.tflite"
    path.write_bytes(files["none"].read_bytes().replace(b"keras_salnet\0", b"other_salnet\0"))
    assert tflite.load(path).description == {}
    predictor = Predictor.load(path)
    assert (predictor.name, predictor.resize) == ("other.tflite", "stretch")


def test_damaged_metadata_is_told(files, tmp_path):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(files["none"].read_bytes().replace(b'{"name"', b'{"name?'))
    with pytest.raises(ValueError, match=r"damaged\.tflite"):
        Predictor.load(path)


def test_a_tflite_file_needs_no_framework(files, run_python):
    run_python(
        "import sys; from keras_salnet import Predictor; Predictor.load(sys.argv[1]);"
        "assert not {'keras', 'tensorflow'} & set(sys.modules), 'imported'",
        files["int8"],
    )


@pytest.mark.slow
def test_int8_of_attention_predicts_the_same(displays, tmp_path):
    net = small(input_shape=(128, 128, 3), num_rga=1)
    images = representative_images(load_dataset(displays), (128, 128))
    export_tflite(net, tmp_path / "model.tflite", "int8", images)
    check_export(tmp_path / "model.tflite", net, images, minimum=0.99)


@pytest.mark.slow
def test_dynamic_of_a_deep_model_predicts_the_same(tmp_path):
    net = small(input_shape=(112, 128, 3), num_rga=3)
    export_tflite(net, tmp_path / "model.tflite", "dynamic")
    check_export(tmp_path / "model.tflite", net, textures(112, 128), minimum=0.99)


def test_mixed_precision_is_exported_as_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = small(input_shape=(32, 32, 3), filters=8)
    finally:
        keras.config.set_dtype_policy("float32")
    export_tflite(net, tmp_path / "model.tflite")
    check_export(tmp_path / "model.tflite", net, textures(32, 32), minimum=0.98)


def test_a_model_of_any_size_is_refused(tmp_path):
    net = small(input_shape=(None, None, 3), filters=8)
    pytest.importorskip("tf2onnx")
    for export in (export_tflite, export_savedmodel, export_onnx):
        with pytest.raises(ValueError, match=r"vggrga takes images of any size, .* must be known"):
            export(net, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantize", ["int4", "float16", None])
def test_other_quantizations_are_refused(tmp_path, quantize):
    with pytest.raises(ValueError, match="quantize must be one of none, fp16, dynamic, int8, not"):
        export_tflite(None, tmp_path / "model.tflite", quantize)
    with pytest.raises(ValueError, match="give some as representative"):
        export_tflite(None, tmp_path / "model.tflite", "int8")
    assert not list(tmp_path.iterdir())


# ONNX and OpenVINO


@pytest.mark.parametrize(
    ("export", "name", "package"),
    [(export_onnx, "model.onnx", "onnxruntime"), (export_openvino, "model", "openvino")],
)
def test_other_runtimes_predict_the_same(net, displays, tmp_path, export, name, package):
    pytest.importorskip(package)
    pytest.importorskip("tf2onnx")
    path = tmp_path / name
    export(net, path, "pad", "low")
    predictor = Predictor.load(path)
    assert (predictor.name, predictor.resize, predictor.input_size) == ("low", "pad", FRAME)
    images = [sample.read_image() for sample in load_dataset(displays)["test"]]
    wanted = Predictor(net.predict_on_batch, FRAME, "pad").batch(images)
    for ours, theirs in zip(predictor.batch(images), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("format", "package", "extra"),
    [("onnx", "tf2onnx", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_what_is_not_installed_is_told(
    saved, tmp_path, monkeypatch, capsys, format, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "model.onnx"
    assert main(["export", str(saved), "--format", format, "--out", str(out)]) == 1
    assert f"package {package}, which is not installed: pip install 'keras-salnet[{extra}]'" in (
        capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "package"), [("model.onnx", "onnxruntime"), ("model/model.xml", "openvino")]
)
def test_a_runtime_that_is_not_installed_is_told(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    model = path if path.suffix == ".onnx" else path.parent
    with pytest.raises(ModuleNotFoundError, match=rf"needs the package {package}, .*pip install"):
        Predictor.load(model)


# The check


def test_another_model_does_not_pass(files, net):
    images = textures(*FRAME)
    assert min(check_export(files["none"], net, images, "pad")) > 0.99999
    other = small(filters=8)
    with pytest.raises(
        ValueError, match=r"predicts other maps than Keras.* must be at least 0\.999"
    ):
        check_export(files["none"], other, images, "pad")


def test_maps_that_are_all_the_same_pass(tmp_path):
    net = small(input_shape=(32, 32, 3), filters=8)
    net.get_layer("saliency").kernel.assign(0 * net.get_layer("saliency").kernel)
    net.save(tmp_path / "model.keras")
    assert check_export(tmp_path / "model.keras", net, textures(32, 32)) == [1, 1, 1]


# The command


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "low.keras"
    net.save(path)
    return path


def export(saved, out, *arguments):
    return main(["export", str(saved), "--out", str(out), *map(str, arguments)])


def test_int8_takes_its_images_from_the_data(saved, displays, tmp_path, capsys):
    out = tmp_path / "small.tflite"
    assert export(saved, out, "--quantize", "int8") == 1
    assert "--data" in capsys.readouterr().err
    assert export(saved, out, "--quantize", "int8", "--data", tmp_path / "nowhere") == 1
    assert "nowhere" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert export(saved, out, "--quantize", "int8", "--data", displays) == 0
    captured = capsys.readouterr()
    assert "on 3 images of displays" in captured.out
    assert captured.err == ""
    assert tflite.load(out).description["quantization"] == "int8"
    assert Predictor.load(out).name == "low"


@pytest.fixture
def converted(files, monkeypatch):
    """Instead of any conversion, the float32 file of `net`: list of what was asked for."""
    calls = []

    def write(net, path, resize, name, quantize, representative=None):
        calls.append((quantize, representative, resize, name))
        shutil.copy(files["none"], path)

    monkeypatch.setattr(tflite, "write", write)
    return calls


def test_int8_takes_its_images_from_the_run(saved, displays, converted, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(saved.read_bytes())
    config = {"recipe": {"resize": "pad"}, "data": str(displays)}
    (run / "config.json").write_text(json.dumps(config))
    out = tmp_path / "small.tflite"
    assert export(run, out, "--quantize", "int8", "--seed", "3") == 0
    assert "on 3 images of displays" in capsys.readouterr().out
    quantize, images, *about = converted.pop()
    assert (quantize, *about) == ("int8", "pad", "run")
    wanted = representative_images(load_dataset(displays), FRAME, "pad", seed=3)
    assert len(wanted) == 12
    np.testing.assert_array_equal(images, wanted)

    (run / "config.json").write_text(json.dumps({**config, "data": str(tmp_path / "gone")}))
    assert export(run, out, "--quantize", "int8", "--force") == 1
    assert "name a dataset with --data" in capsys.readouterr().err
    assert not converted
    for data in (str(tmp_path / "gone"), None):  # as of a dataset that was made in Python
        (run / "config.json").write_text(json.dumps({**config, "data": data}))
        assert export(run, out, "--force") == 0
        assert "on 8 images of popout" in capsys.readouterr().out


def test_a_file_that_predicts_otherwise_is_not_left(converted, tmp_path, capsys):
    small(filters=8).save(tmp_path / "other.keras")
    out = tmp_path / "model.tflite"
    assert export(tmp_path / "other.keras", out) == 1
    assert "predicts other maps than Keras" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["other.keras"]


def test_the_mirrored_image_is_seen_too(saved, net, tmp_path, capsys):
    images = np.stack(textures(*FRAME)).astype("float32")
    maps, of_mirrored = (net.predict_on_batch(seen) for seen in (images, images[:, :, ::-1]))
    wanted = (maps + of_mirrored[:, :, ::-1]) / 2
    assert np.abs(wanted - maps).max() > 0.01
    for name in ("model.tflite", "model.keras"):
        assert export(saved, tmp_path / name, "--mirrored", "--format", name[6:]) == 0
        found = Predictor.load(tmp_path / name).infer(images)
        np.testing.assert_allclose(np.asarray(found).reshape(wanted.shape), wanted, atol=1e-4)
    assert (tmp_path / "model.tflite").stat().st_size < 1.5 * net.count_params() * 4
    assert export(saved, tmp_path / "m.weights.h5", "--mirrored", "--format", "weights") == 1
    assert "changes no weights" in capsys.readouterr().err


def test_keras_s_own_formats(saved, net, tmp_path):
    assert export(saved, tmp_path / "new" / "low.keras", "--format", "keras") == 0
    assert export(saved, tmp_path / "low.weights.h5", "--format", "weights") == 0
    again = models.load_model(tmp_path / "new" / "low.keras")
    filled = small()
    filled.load_weights(tmp_path / "low.weights.h5")
    for ours, theirs, wanted in zip(again.weights, filled.weights, net.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), wanted.numpy())
        np.testing.assert_array_equal(theirs.numpy(), wanted.numpy())


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("model", [], "ends in .tflite"),
        ("model.keras", ["--format", "weights"], "ends in .weights.h5"),
        ("model.onnx", ["--format", "onnx", "--quantize", "int8"], "--quantize is for"),
        ("model.tflite", [], "already exists"),
        ("folder", ["--format", "openvino", "--force"], "folder with other contents"),
    ],
)
def test_bad_targets_are_refused(saved, tmp_path, capsys, name, arguments, told):
    (tmp_path / "model.tflite").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "saved_model.pb").touch()  # of another format
    assert export(saved, tmp_path / name, *arguments) == 1
    assert told in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2
