"""Pages as the tests of this folder read them."""

from html.parser import HTMLParser


class Strict(HTMLParser):
    """Collects tags and texts; a tag that is closed but not open fails."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> Strict:
    """Parses a page; refuses one that needs anything else or runs anything."""
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    names = {tag for tag, _ in parser.tags}
    assert not names & {"script", "iframe", "object", "link", "base", "form"}
    for _, attributes in parser.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/png;base64,"))
    return parser
