import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from radmae_jax.cli import main
from radmae_jax.convert.exported import write_weights
from radmae_jax.evaluate.report.page import SECTIONS, make_page

_INLINE = {"span", "b", "a", "code", "strong", "sup"}
_VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture(scope="session")
def mae_at(make_weights, small_model, tmp_path_factory) -> Path:
    """A directory of a random MAE in our own format."""
    folder = tmp_path_factory.mktemp("weights") / "own"
    write_weights(make_weights("mae", small_model), folder, "radmae")
    return folder


@pytest.fixture(scope="session")
def command():
    """command(*arguments): runs `radmae`, and gives its exit code."""
    return lambda *arguments: main([str(argument) for argument in arguments])


class PageReader(HTMLParser):
    """Tags, ids, addresses and the text of a page; raises where tags do not nest."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.headings: list[int] = []
        self._parts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"left open: {self.open}"
        self.text = " ".join("".join(self._parts).split())

    def handle_starttag(self, tag, attrs):
        self._parts.append("" if tag in _INLINE else " ")
        self.tags.add(tag)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.addresses += [str(v) for name, v in attrs if name in ("src", "href", "xlink:href", "action", "srcset")]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()
        self._parts.append("" if tag in _INLINE else " ")

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self._parts.append(data)


@pytest.fixture(scope="session")
def read_page():
    """read_page(workdir, *forbidden, images=True): its page after what holds of each; it has no `forbidden` text."""

    def read(workdir: Path, *forbidden: str, images: bool = True) -> PageReader:
        """The page of a work directory, after what holds of every page."""
        html = make_page(workdir, images).html
        page = PageReader(html)
        assert "script" not in page.tags and "://" not in html and "url(" not in html and "@import" not in html
        assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
        targets = {address[1:] for address in page.addresses if address.startswith("#")}
        assert targets <= set(page.ids) and {name for name, _ in SECTIONS} <= targets
        assert len(set(page.ids)) == len(page.ids)
        assert page.headings[0] == 1 and all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
        for text in (str(workdir), str(workdir.resolve()), str(workdir.parent), *forbidden):
            assert text not in html, f"the page names {text}"
        return page

    return read
