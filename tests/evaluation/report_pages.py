"""Report pages as trees, and what their cells should hold."""

import base64
import re
from html.parser import HTMLParser
from xml.etree.ElementTree import TreeBuilder

import cv2
import numpy as np

from keras_salnet.evaluation import write_report
from keras_salnet.metrics.table import METRICS

FEW = ("CC", "NSS", "KL")
HALVES, BIAS, SHUFFLED = "split-half humans", "centre bias", "shuffled control"
WAY = "normalised score (0 % centre bias, 100 % split-half humans)"
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


# Pages as trees


class Page(HTMLParser):
    """Elements of a page; fails where tags are not balanced."""

    def __init__(self, path):
        super().__init__()
        self._tree, self._open = TreeBuilder(), []
        self.declarations = []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        assert not self._open
        self.root = self._tree.close()
        self.all = list(self.root.iter())

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), self.get_starttag_text()
        self._tree.start(tag, {name: value or "" for name, value in attributes})
        if tag in ("meta", "img"):
            self._tree.end(tag)
        else:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self._open, f"HTML ignores the slash of {self.get_starttag_text()}"
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag == self._open.pop(), self.getpos()
        self._tree.end(tag)

    def handle_data(self, data):
        self._tree.data(data)

    def handle_decl(self, declaration):
        self.declarations.append(declaration)

    def handle_pi(self, instruction):
        self.declarations.append(instruction)

    def find(self, **attributes):
        """The element with these attributes, of which there must be one."""
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        (found,) = (element for element in self.all if wanted.items() <= element.attrib.items())
        return found

    def texts(self, tag):
        return [text(element) for element in self.root.iter(tag)]

    def table(self, title):
        return grid(self.find(role="region", aria_label=title))

    def figures(self):
        """Metric → (what stands for the figure to those who do not see it, its SVG)."""
        found = {}
        for drawing in self.root.iterfind(".//div[@class='plots']/figure"):
            caption, picture = drawing
            found[text(caption).split()[0]] = picture.get("aria-label"), picture.find("svg")
        return found

    def examples(self):
        """Model → title → name of the image → (its scores, label → picture)."""
        found = {}
        for element in self.all:
            if element.tag == "h3":
                model = text(element).removeprefix("Examples: ")
            elif element.tag == "h4":
                group = found.setdefault(model, {}).setdefault(text(element), {})
            elif element.get("class") == "example":
                name, *scores = map(text, element.find("figcaption"))
                assert name not in group
                pictures = {
                    text(figure.find("figcaption")): decoded(figure.find("img"))
                    for figure in element.iterfind(".//figure")
                }
                group[name] = scores, pictures
        return found


def text(element):
    return " ".join("".join(element.itertext()).split())


def pieces(element):
    """The texts of a cell that stand apart."""
    return [text for text in map(str.strip, element.itertext()) if text]


def grid(region):
    """[(what stands before the row, {what stands above the column: texts of the cell})]."""
    heads = [
        [text(cell) for cell in row for _ in range(int(cell.get("colspan", 1)))]
        for row in region.iterfind(".//thead/tr")
    ]
    columns = [" ".join(filter(None, column)) for column in zip(*heads, strict=True)]
    rows = []
    for row in region.iterfind(".//tbody/tr"):
        first, *cells = row
        assert (first.tag, first.get("scope")) == ("th", "row")
        rows.append((text(first), dict(zip(columns[1:], map(pieces, cells), strict=True))))
    return rows


def decoded(image):
    """The (H, W, 3) RGB of an <img>."""
    start, data = image.get("src").split(",")
    assert start == "data:image/jpeg;base64"
    data = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    assert data[:3].tobytes() == b"\xff\xd8\xff"
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


# Evaluations, and what their cells should hold


def random_scores(rows, metrics, count=6, seed=0):
    """Of both signs and several magnitudes."""
    random = np.random.default_rng(seed)
    return {
        row: {metric: random.normal(0, 10.0 ** random.integers(-1, 2), count) for metric in metrics}
        for row in rows
    }


def written(path, evaluations, predict=lambda path: np.eye(8)):
    """The page of some evaluations, whose models all predict the same."""
    models = [model for evaluation in evaluations for model in evaluation.models]
    write_report(evaluations, dict.fromkeys(models, predict), path)
    return Page(path)


def signed(value, digits=3):
    return f"{value:z.{digits}f}".replace("-", "−").replace("inf", "∞")


def interval(estimate, digits=3, scale=1):
    low, high = scale * estimate["low"], scale * estimate["high"]
    return (" to " if low < 0 else "–").join((signed(low, digits), signed(high, digits)))


def arrow(metric):
    return f"{metric} {METRICS[metric].arrow}"


def score_cells(evaluation, row, metrics):
    """Column → texts of a row of scores, of which none is missing or the best."""
    summary = evaluation.summary[row]
    return {
        arrow(m): [signed(summary[m]["mean"]), interval(summary[m])] if m in summary else ["–"]
        for m in metrics
    }


def labels(drawing):
    return ["".join(element.itertext()) for element in drawing.iter("text")]


def boxes(drawing):
    """Of each row's box: (left, right), and whether it is a model's."""
    found = []
    for path in drawing.iter("path"):
        if kind := re.search(r"fill: (#5b94dd|#a3a9b2)", path.get("style", "")):
            x = [float(number) for number in re.findall(r"[ML] ([\d.]+)", path.get("d"))]
            found.append((min(x), max(x), kind[1] == "#5b94dd"))
    return found


def spot(size, x, y):
    """A map that is high about one place, in shares of its sides."""
    rows, columns = np.indices(size)
    distance = np.hypot((columns + 0.5) / size[1] - x, (rows + 0.5) / size[0] - y)
    return np.exp(-((distance / 0.05) ** 2) / 2)
