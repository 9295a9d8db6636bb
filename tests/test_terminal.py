"""What is printed: on standard outputs of few characters, on none, and from names that a stranger's file holds."""

import io
import sys

import pytest

import fastnn
from fastnn import layers
from fastnn._terminal import encodable, printable
from fastnn.callbacks.reporter import format_logs


def small(**names):
    return fastnn.Sequential([layers.Flatten(input_shape=(2, 2)), layers.Dense(3, name=names.get("layer"))],
                             name=names.get("model"))  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_a_summary_is_printed_on_every_standard_output(encoding, monkeypatch):
    memory = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(memory, encoding=encoding))
    small(layer="größe").summary()
    sys.stdout.flush()
    rule = "─" if encoding == "utf-8" else "-"
    name = {"ascii": r"gr\xf6\xdfe"}.get(encoding, "größe")
    assert memory.getvalue().decode(encoding).count(3 * rule) > 3
    assert name in memory.getvalue().decode(encoding)


def test_without_a_standard_output_nothing_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    small().summary()


def test_names_are_no_commands_to_a_terminal(capsys):
    small(layer="a\x1b[2Jb", model="c\r\nd\x9b").summary()
    printed = capsys.readouterr().out
    assert r"a\x1b[2Jb (Dense)" in printed
    assert r"Model: c\r\nd\x9b" in printed
    assert all(character.isprintable() or character == "\n" for character in printed)
    assert format_logs({"\x1b[2J": 0.5}) == r"\x1b[2J: 0.5000"


def test_a_summary_shows_the_axes_of_rows_as_far_as_they_are_known():
    model, lines = fastnn.Sequential([fastnn.Input((2, 2)), layers.Rescaling(0.5)]), []
    model.summary(print_fn=lines.append)
    assert ["(None, 2, 2)" in line for line in lines[4:6]] == [True, True]
    assert lines[-1] == "Not built yet"


def test_text_that_fits_stays_as_it_is():
    assert encodable("─ µ", "utf-8") == "─ µ"
    assert encodable("─ µ €", "ascii") == r"- u \u20ac"
    assert encodable("─", None) == "─"  # a stream in memory has no encoding
    assert printable("größe ─") == "größe ─"
