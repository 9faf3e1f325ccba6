"""How Sphinx builds the guide: `python -m sphinx -W -b html docs docs/_build/html`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # public_names, api_pages

import api_pages
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import fastreg

project = "fastreg"
author = "the fastreg developers"
copyright = author
version = release = fastreg.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
default_role = "py:obj"  # single backticks in docstrings

myst_heading_anchors = 3  # links such as data.md#scaling-of-targets
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_math_renderer = (
    "mathml"  # browsers draw it by themselves: pages need no script and no network
)

suppress_warnings = [
    "ref.python"
]  # a word such as `outputs` may be the name of several things

autosummary_generate = False  # api_pages writes the pages
autodoc_typehints = "none"  # the docstrings say what arguments are, in words
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"  # beside a page: fit, not Trainer.fit
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [  # several names may share a line
    ("Attributes", "params_style"),
    ("Parameters", "params_style"),
]
napoleon_attr_annotations = False

html_theme = "pydata_sphinx_theme"
html_title = f"fastreg {release}"
html_static_path = ["_static"]
html_css_files = ["fastreg.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastreg"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {name: [] for name in ("index", "install", "tutorial", "faq")}
copybutton_exclude = ".linenos, .gp, .go"


def math(translator, node):
    """A formula as MathML."""
    translator.body.append(
        tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
    )
    raise nodes.SkipNode


def setup(app):
    """Pages of the API, links to them, and formulas."""
    api_pages.setup(app)
    app.add_html_math_renderer("mathml", (math, None), (math, None))
