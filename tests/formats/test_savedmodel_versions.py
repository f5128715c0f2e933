"""Exports into a model's folder of numbered versions, as TensorFlow Serving watches it."""

import re
import shutil

import pytest

from keras_salnet.cli import main
from keras_salnet.formats import export_savedmodel, savedmodel
from keras_salnet.formats.savedmodel_versions import version_folder, versions
from keras_salnet.models import create, loading


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def written(monkeypatch):
    """Instead of any SavedModel, a file of its name; list of what lay beside it meanwhile."""
    beside = []

    def write_savedmodel(net, folder, resize, name):
        folder.mkdir()
        (folder / "saved_model.pb").write_text(str(net))
        beside.append(names(folder.parent))

    monkeypatch.setattr(savedmodel, "write", write_savedmodel)
    monkeypatch.setattr(loading, "fixed_input_size", lambda net: None)
    return beside


def test_each_export_is_the_next_version(written, tmp_path):
    base = tmp_path / "models" / "saliency"
    (base / "notes").mkdir(parents=True)
    (base / "9").write_text("a file is no version")
    for number in (1, 2):
        assert export_savedmodel(f"net {number}", base) == base / str(number)
    assert export_savedmodel("net 10", base / "10") == base / "10"
    assert export_savedmodel("net 11", base) == base / "11"
    assert (base / "2" / "saved_model.pb").read_text() == "net 2"
    assert [path.name for path in versions(base)] == ["11", "10", "2", "1"]
    assert names(base) == ["1", "10", "11", "2", "9", "notes"]


def test_a_version_appears_whole(written, tmp_path):
    for _ in range(2):
        export_savedmodel("net", tmp_path)
    first, second = written
    assert [name for name in first if name.isdigit()] == []
    assert [name for name in second if name.isdigit()] == ["1"]
    assert all(re.fullmatch(r"1|\.[12]-[0-9a-f]{8}", name) for name in first + second)


def test_a_named_version_is_replaced(written, tmp_path):
    export_savedmodel("old", tmp_path / "7")
    export_savedmodel("new", tmp_path / "7")
    assert names(tmp_path) == ["7"]
    assert (tmp_path / "7" / "saved_model.pb").read_text() == "new"


def test_a_version_of_another_export_is_not_overwritten(written, tmp_path, monkeypatch):
    write = savedmodel.write

    def write_late(net, folder, resize, name):
        write(net, folder, resize, name)
        monkeypatch.setattr(savedmodel, "write", write)
        if net == "slow":
            export_savedmodel("quick", tmp_path)

    monkeypatch.setattr(savedmodel, "write", write_late)
    with pytest.raises(OSError, match="1"):
        export_savedmodel("slow", tmp_path)
    assert names(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "quick"


def test_no_version_goes_into_a_model(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match=r"is itself a SavedModel, not a folder of"):
        version_folder(tmp_path)
    with pytest.raises(FileExistsError, match=r"file: is itself a file, not a folder of"):
        version_folder(tmp_path / "file")


def test_the_command_makes_versions(tmp_path, capsys, monkeypatch):
    net = create("vggrga", backbone_weights=None, input_shape=(32, 32, 3), num_rga=0, filters=8)
    net.save(tmp_path / "small.keras")
    base = tmp_path / "models" / "saliency"

    def export(out, *arguments):
        model = str(tmp_path / "small.keras")
        return main(["export", model, "--format", "savedmodel", "--out", str(out), *arguments])

    assert export(base) == 0
    assert f"Exported: {base / '1'}" in capsys.readouterr().out
    monkeypatch.setattr(  # once is enough
        savedmodel, "write", lambda net, out, *about: shutil.copytree(base / "1", out)
    )
    assert export(base) == 0
    assert export(base / "7") == 0
    assert names(base) == ["1", "2", "7"]
    capsys.readouterr()
    assert export(base / "2") == 1
    assert f"{base / '2'} already exists; give --force" in capsys.readouterr().err
    before = (base / "2").stat().st_ino
    assert export(base / "2", "--force") == 0
    assert (base / "2").stat().st_ino != before
    assert names(base) == ["1", "2", "7"]
