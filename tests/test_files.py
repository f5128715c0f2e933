"""`atomic`: all of a file or folder, or none of it."""

import pytest

from keras_salnet.files import atomic, remove_drafts


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(path, write, error):
    """A block that writes its draft by this function and then fails."""
    with atomic(path) as draft:
        write(draft)
        raise error


def write_folder(draft):
    draft.mkdir()
    (draft / "graph").write_text("new")


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "history.csv"
    with atomic(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        assert draft.parent == path.parent, "renaming needs one file system"
        draft.write_text("whole")
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["history.csv"]


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("old")
    with atomic(str(path)) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["config.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("write", [lambda draft: draft.write_text("half"), lambda draft: None])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, error, write):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(error):
        fail(path, write, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["model.keras"]


def test_a_failure_without_an_old_file_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path / "a" / "map.png", lambda draft: draft.touch(), ValueError("stop"))
    assert names(tmp_path / "a") == []


@pytest.mark.parametrize(
    "name", ["model.keras", "best.weights.h5", "map.PNG", "saved_model", ".hidden", "a b.é.png"]
)
def test_the_draft_ends_as_the_file_does(tmp_path, name):
    # Keras and OpenCV choose the format by the ending.
    with atomic(tmp_path / name) as draft:
        assert draft.name.endswith(name[name.index(".") :] if "." in name else "")
        assert draft.name.startswith("."), "listings of the folder pass over it"
        assert not draft.exists()
        draft.write_text("")
    assert names(tmp_path) == [name]


def test_two_drafts_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "config.json"
    with atomic(path) as first, atomic(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "the last to finish"
    assert names(tmp_path) == ["config.json"]


def test_missing_folders_are_made(tmp_path):
    path = tmp_path / "runs" / "one" / "config.json"
    with atomic(path) as draft:
        draft.write_text("{}")
    assert path.read_text() == "{}"


def test_a_folder_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "saved_model" / "1"
    with atomic(path) as draft:
        write_folder(draft)
        assert not path.exists()
    assert names(path) == ["graph"]
    assert names(path.parent) == ["1"]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    (path / "left over").write_text("old")
    with atomic(path) as draft:
        write_folder(draft)
        assert names(path) == ["left over"]
    assert names(path) == ["graph"]
    assert names(tmp_path) == ["1"]


def test_a_failure_keeps_the_old_folder(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    (path / "graph").write_text("old")
    with pytest.raises(ValueError, match="stop"):
        fail(path, write_folder, ValueError("stop"))
    assert (path / "graph").read_text() == "old"
    assert names(tmp_path) == ["1"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError, match=r"config.*json"), atomic(path):
        pass
    assert path.read_text() == "old"


def test_a_file_does_not_replace_a_folder(tmp_path):
    path = tmp_path / "1"
    write_folder(path)
    with pytest.raises(OSError, match="1"), atomic(path) as draft:
        draft.write_text("new")
    assert names(tmp_path) == ["1"]
    assert names(path) == ["graph"]


def test_a_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "1"
    path.write_text("old")
    with pytest.raises(OSError, match="1"), atomic(path) as draft:
        write_folder(draft)
    assert names(tmp_path) == ["1"]
    assert path.read_text() == "old"


def test_drafts_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    kept = {".hidden", ".cache-notes.txt", "history.csv", "image-0123abcd.png", ".a-0123abcde.csv"}
    for name in kept:
        (tmp_path / name).touch()
    for name in ("model.keras", "best.weights.h5", ".hidden", "1", "saved_model/1"):
        with atomic(tmp_path / "killed" / name) as draft:
            draft.touch()
        draft.touch()  # as if it had been killed in the block
    write_folder(draft.with_name(f"{draft.name}-old"))
    remove_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "killed"}
    left = {path.name for path in (tmp_path / "killed").rglob("*")}
    assert left == {"model.keras", "best.weights.h5", ".hidden", "1", "saved_model"}
