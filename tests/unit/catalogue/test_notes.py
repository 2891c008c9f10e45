"""What people say of a build is Markdown, wrapped as their editor wraps it: pages show it so, and run none of it."""

from __future__ import annotations

from catalogue_support import catalogue, entry, page, tag_of

from helioimages.catalogue import site as catalogue_site

NOTE = "All of `sunpy` that\nworks.\n\n* one that\n  goes on\n* <script>x()</script> [link](javascript:x())\n"


def test_notes_are_markdown_in_which_nothing_runs(tmp_path):
    made = catalogue(page("helio", entry(day=1)))
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(made, notes={"helio": {tag_of(1): NOTE}})
    for path in ("images/helio.html", f"tags/{made.entries[0].id}.html"):
        text = (tmp_path / "site" / path).read_text("utf-8")
        said = text.partition('<div class="note">')[2].partition("</div>")[0]
        assert "<p>All of <code>sunpy</code> that\nworks.</p>" in said and said.count("<li>") == 2
        assert "&lt;script&gt;" in said and "<script" not in said and "<a " not in said
