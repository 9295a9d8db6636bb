"""`python -m fastnn convert`: files from one format to another, as a stranger runs it."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn.__main__ import main
from fastnn._convert import ROWS, random_rows

pytestmark = pytest.mark.thread_unsafe(reason="captures what the process prints")
COMPILER = next(filter(shutil.which, ("cc", "gcc", "clang")), None)


def plain():
    return fastnn.Sequential([fastnn.Input((4,)), layers.Dense(8, "gelu"), layers.Dense(3, "softmax")])


def branched():
    """A model with branches, categories among them, and heads."""
    branches = {
        "numbers": [fastnn.Input((3,)), layers.Dense(4, "relu")],
        "kind": [fastnn.Input((2,)), layers.CategoryEncoding(3, "multi_hot")],
        "city": [fastnn.Input((1,)), layers.Embedding(5, 2), layers.Flatten()],
    }
    heads = {"price": [layers.Dense(1)], "sold": [layers.Dense(2, "softmax")]}
    return fastnn.Sequential([layers.Branches(branches), layers.Dense(6, "tanh"), layers.Heads(heads)])


def double():
    return fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(8, "tanh"), layers.Dense(2)])


BY = {".onnx": "ONNX Runtime", ".safetensors": "its weights, read again", ".c": f"{COMPILER}'s code"}
MODELS = {"plain": plain, "branched": branched, "double": double}


def told(capsys, *arguments):
    """Run the command; return the lines of its report by their first word."""
    main(["convert", *map(str, arguments)])
    _, *lines = capsys.readouterr().out.splitlines()
    return dict(re.findall(r"^(\w+) {2,}(.*)$", "\n".join(lines), re.MULTILINE))


@pytest.mark.parametrize("suffix", [".fastnn", ".keras", ".onnx", ".safetensors", ".c"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_goes_to_each_format(tmp_path, capsys, name, suffix):
    if suffix == ".c" and COMPILER is None:
        pytest.skip("no C compiler: neither cc nor gcc nor clang is on PATH")
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
    model, source, target = MODELS[name](), tmp_path / "model.fastnn", tmp_path / f"my-model{suffix}"
    model.compile("adam", "mse")
    model.save(source)
    report = told(capsys, source, target)
    assert report["parameters"] == f"{model.count_params():,}"
    largest = re.match(
        r"(\S+) at most on 1,000 random rows, whose outputs reach (\S+): model and (.+)$", report["difference"]
    )
    # 1e-5: sums of a few products in float32 in another order, and other formulas of exp and erf
    assert float(largest[1]) <= 1e-5 < float(largest[2])
    assert largest[3] == BY.get(suffix, "the file, read again")
    assert target.exists()
    assert (tmp_path / "my-model.h").exists() == (suffix == ".c")


def test_a_file_of_keras_comes_back(tmp_path, capsys):
    model = plain()
    model.compile("adam", "mse")
    model.export_keras(tmp_path / "model.keras")
    report = told(capsys, tmp_path / "model.keras", tmp_path / "model.fastnn")
    assert report["layers"] == "2: 2 Dense"
    assert float(report["difference"].split()[0]) == 0
    x = np.random.default_rng(0).normal(size=(9, 4))
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert type(loaded.optimizer) is type(model.optimizer)


@pytest.mark.skipif(COMPILER is None, reason="no C compiler: neither cc nor gcc nor clang is on PATH")
def test_the_difference_shows_what_int8_costs(tmp_path, capsys):
    plain().save(tmp_path / "model.fastnn")
    report = told(capsys, tmp_path / "model.fastnn", tmp_path / "net.c", "--weights", "int8")
    assert 1e-5 < float(report["difference"].split()[0]) < 0.1


def test_text_is_not_compared(tmp_path, capsys):
    lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    model = fastnn.Sequential([lookup, layers.Dense(1)])
    model.build((None, 1))
    model.save(tmp_path / "model.fastnn")
    report = told(capsys, tmp_path / "model.fastnn", tmp_path / "again.fastnn")
    assert report["difference"].startswith(f"not compared: layer {lookup.name!r} reads raw data")


def test_a_network_that_refuses_random_rows_is_written(tmp_path, capsys):
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Rescaling(1.0), layers.CategoryEncoding(3), layers.Dense(1)])
    model.save(tmp_path / "model.fastnn")
    report = told(capsys, tmp_path / "model.fastnn", tmp_path / "again.fastnn")
    assert report["difference"] == "not compared: the network has no answer to random rows"
    assert (tmp_path / "again.fastnn").exists()


def test_weights_alone_need_their_activation(tmp_path, capsys):
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Dense(8, "relu"), layers.Dense(3)])
    text = model.export_torch(tmp_path / "net.safetensors")
    main(["convert", str(tmp_path / "net.safetensors"), str(tmp_path / "a.fastnn"), "--activation", "relu"])
    x = np.random.default_rng(0).normal(size=(9, 4))
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "a.fastnn").predict(x), model.predict(x))
    with pytest.raises(SystemExit, match=r"does not say what lies between them: load_torch.path, activation"):
        main(["convert", str(tmp_path / "net.safetensors"), str(tmp_path / "b.fastnn")])
    capsys.readouterr()
    main(["convert", str(tmp_path / "a.fastnn"), str(tmp_path / "b.safetensors")])
    assert text.splitlines()[-1] in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"activation is for files of weights alone, and .*says which ones"):
        main(["convert", str(tmp_path / "a.fastnn"), str(tmp_path / "c.fastnn"), "--activation", "relu"])


def with_gradient(y, p):
    return ((y - p) ** 2).mean(axis=1), 2 * (p - y) / y.shape[1]


def test_a_loss_in_python_stays_behind_and_the_report_says_so(tmp_path, capsys):
    model = plain()
    model.compile("adam", with_gradient)
    model.save(tmp_path / "model.fastnn")
    report = told(capsys, tmp_path / "model.fastnn", tmp_path / "again.fastnn")
    assert report["training"].startswith("not taken along: ")


@pytest.mark.parametrize("scheduled", [False, True])
def test_training_that_keras_lacks_stays_behind_and_the_report_says_so(tmp_path, capsys, scheduled):
    model = plain()
    if scheduled:
        model.add(layers.Dropout(fastnn.optimizers.schedules.FlatCosine(0.5)))
    model.compile("adam" if scheduled else "lbfgs", "mse")
    model.save(tmp_path / "model.fastnn")
    report = told(capsys, tmp_path / "model.fastnn", tmp_path / "net.keras")
    assert report["training"].startswith("not taken along: export_keras cannot write the ")
    assert float(report["difference"].split()[0]) == 0
    assert fastnn.load_model(tmp_path / "net.keras").optimizer is None


@pytest.mark.skipif(COMPILER is None, reason="no C compiler: neither cc nor gcc nor clang is on PATH")
@pytest.mark.parametrize(("file", "name"), [("new.c", "net_new"), ("3.c", "net_3"), ("a-b.c", "a_b")])
def test_any_file_of_c_has_a_name_that_c_takes(tmp_path, capsys, file, name):
    plain().save(tmp_path / "model.fastnn")
    assert float(told(capsys, tmp_path / "model.fastnn", tmp_path / file)["difference"].split()[0]) < 1e-5  # as above
    assert f"void {name}_predict(" in (tmp_path / file).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.fastnn", "out.c"], r"No such file or directory: '.*missing\.fastnn'$"),
        (["text.txt", "out.c"], r"text\.txt is no whole model of fastnn: "),
        (["model.fastnn", "model.fastnn"], r"model\.fastnn are the same file$"),
        (["model.fastnn", "no/out.onnx"], r"out\.onnx cannot be written: there is no folder .*no$"),
        (["unbuilt.fastnn", "out.fastnn"], r"count_params needs a built model: "),
    ],
)
def test_errors_are_one_line(tmp_path, arguments, message):
    plain().save(tmp_path / "model.fastnn")
    fastnn.Sequential([layers.Dense(2)]).save(tmp_path / "unbuilt.fastnn")
    (tmp_path / "text.txt").write_text("no model\n" * 9)
    with pytest.raises(SystemExit) as ended:
        main(["convert", *(str(tmp_path / argument) for argument in arguments)])
    assert re.match("python -m fastnn convert: .*" + message, str(ended.value.code))
    assert "\n" not in ended.value.code
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.fastnn", "out.txt"], "OUT must end in .fastnn, .keras, .onnx"),
        (["model.fastnn", "out.onnx", "--weights", "int8"], "--weights is for C"),
        (["model.fastnn"], "the following arguments are required: OUT"),
    ],
)
def test_wrong_usage_is_2(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_process_ends_with_1(tmp_path):
    command = [sys.executable, "-m", "fastnn", "convert", "missing.keras", "out.c"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1


def test_random_rows_are_categories_where_a_network_reads_such():
    x = random_rows(branched()._engine.plan)
    assert x.shape == (ROWS, 6)
    assert set(x[:, 3]) == set(x[:, 4]) == {0, 1, 2}
    assert set(x[:, 5]) == {0, 1, 2, 3, 4}
    assert not np.array_equal(x[:, 0], np.round(x[:, 0]))
