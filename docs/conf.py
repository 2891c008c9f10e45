"""How Sphinx makes the pages of this folder; `docs/build` runs it."""

from __future__ import annotations

project = "helioimages"
author = "The helioimages developers"
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["requirements.lock"]
# Links such as `trust.md#advisories` lead to headings, here as on GitHub.
myst_heading_anchors = 4
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = "helioimages"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False
# All pages are in the bar at the top; a page's own headings are on the right.
html_sidebars = {"**": []}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "back_to_top_button": False,
}
copyright = "The helioimages developers, BSD-3-Clause"
