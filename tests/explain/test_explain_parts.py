"""Parts of an explanation that can be checked by themselves."""

from __future__ import annotations

import re

import numpy as np
import torch

from likewise.explain.matrix import matrix
from likewise.explain.page import _ROOM, Section, Strip, _fit, marked, strip
from likewise.modalities.table import Table, TableSettings
from likewise.sampling.interpolation import slerp


def test_slerp_keeps_to_the_sphere():
    a, b = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 3.0, 0.0]])
    way = slerp(a, b, torch.linspace(0, 1, 5))
    torch.testing.assert_close(way[[0, 4]], torch.cat((a, b)))
    torch.testing.assert_close(way.norm(dim=1), torch.full((5,), 3.0))
    torch.testing.assert_close(way[2], torch.tensor([1.0, 1.0, 0.0]) * 3 / 2**0.5)
    torch.testing.assert_close(slerp(a, 2 * a, torch.tensor([0.5]))[0], 1.5 * a[0])
    assert slerp(a, -a, torch.tensor([0.5])).isfinite().all()


def test_slerp_of_pictures_has_their_shape():
    a, b = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(1, 3, 4, 4)
    way = slerp(a, b, torch.tensor([0.0, 0.25, 1.0]))
    assert way.shape == (3, 3, 4, 4)
    torch.testing.assert_close(way[[0, 2]], torch.cat((a, b)), atol=1e-5, rtol=1e-5)


def test_changed_words_are_marked_and_escaped():
    assert marked("a big <cat>", "a big <cat>") == "<p>a big &lt;cat&gt;</p>"
    assert marked("a big cat", "a small cat & co") == "<p>a <mark>small</mark> cat<mark> &amp; co</mark></p>"


def test_rows_show_what_differs_and_name_what_does_not():
    rows = [{"age": i, "sex": "fm"[i % 2]} for i in range(40)]
    found = strip(Table.fit(rows, TableSettings()), "t", [rows[1], {**rows[1], "age": 7}], ["a", "b"])
    assert found.cells == [("age", [("1", False), ("7", True)])]
    assert found.same == "sex m"


def test_what_has_no_room_is_left_out_and_counted():
    big = Strip("t", "figures", ["x" * (_ROOM // 2)], [""])
    section = Section("s", "S", "how", "limits", strips=[big] * 5)
    _fit(section)
    assert (len(section.strips), section.left_out) == (2, 3)
    alone = Section("s", "S", "how", "limits", strips=[Strip("t", "figures", ["x" * 2 * _ROOM], [""])])
    _fit(alone)
    assert (len(alone.strips), alone.left_out) == (1, 0)


def test_a_matrix_scales_each_line_and_has_no_cells_without_weight():
    drawn = matrix('a "title"', np.array([[0.5, 0.0], [0.1, 0.2]]), ["<x>", " "], ["start", "y" * 40])
    assert re.findall(r'opacity="([\d.]+)"', drawn) == ["1.00", "0.50", "1.00"]
    assert "&lt;x&gt;" in drawn
    assert "␣" in drawn
    assert "y" * 12 not in drawn
    assert 'aria-label="a &#34;title&#34;"' in drawn
