"""Compares screenshots with committed ones, by the browser's own eyes: it decodes and shrinks them on a canvas.

What is compared is a fourth of the size, so that how a line's edge or a letter's stem is drawn matters little, and where things
stand, their size and their colours matter. Both are in one font, DejaVu Sans; where that is missing there is no comparison.
"""

import base64

FONT = "DejaVu Sans"
SHRINK = 4
# A pixel differs when one of its channels does by more than this (of 255).
CHANNEL = 40
# Of a picture's pixels, by the version of the browser that made the committed ones, and by any other, which draws letters a little
# differently: the first sees a missing cross on a mark, the second a missing line of text.
SAME_VERSION, OTHER_VERSION = 0.0002, 0.004
MADE_BY = "made-by.txt"

ONE_FONT = f"""(() => {{
  const style = document.createElement("style");
  style.textContent = '* {{ font-family: "{FONT}" !important; }}';
  document.head.append(style);
}})()"""

HAS_FONT = f"""(() => {{
  const context = document.createElement("canvas").getContext("2d");
  const width = (font) => {{ context.font = "40px " + font; return context.measureText("Which engine for what, mmiill").width; }};
  const [a, b] = ["monospace", "serif"].map((other) => width('"{FONT}", ' + other));
  return a === b && a !== width("monospace");
}})()"""

TOOLS = f"""
window.shrunk = async (png) => {{
  const image = await createImageBitmap(await (await fetch("data:image/png;base64," + png)).blob());
  const canvas = new OffscreenCanvas(Math.round(image.width / {SHRINK}), Math.round(image.height / {SHRINK}));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}};
window.asPng = async (png) => {{
  const bytes = new Uint8Array(await (await (await window.shrunk(png)).convertToBlob()).arrayBuffer());
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
}};
window.differing = async (png, reference) => {{
  const mine = await window.shrunk(png);
  const other = await createImageBitmap(await (await fetch("data:image/png;base64," + reference)).blob());
  if (mine.width !== other.width || mine.height !== other.height)
    return `${{mine.width}} × ${{mine.height}} pixels, expected ${{other.width}} × ${{other.height}}`;
  const canvas = new OffscreenCanvas(other.width, other.height);
  canvas.getContext("2d").drawImage(other, 0, 0);
  const [a, b] = [mine, canvas].map((c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data);
  let count = 0;
  for (let i = 0; i < a.length; i += 4)
    if (Math.max(Math.abs(a[i] - b[i]), Math.abs(a[i + 1] - b[i + 1]), Math.abs(a[i + 2] - b[i + 2])) > {CHANNEL}) count++;
  return count / (a.length / 4);
}};
"""


class Pictures:
    """Compares on a page of its own, whose policy allows it."""

    def __init__(self, page, folder, version):
        self.page, self.made_by, self.version = page, folder / MADE_BY, version.split("/")[-1]
        page.js(TOOLS)
        known = self.made_by.read_text().strip() if self.made_by.is_file() else ""
        self.limit = SAME_VERSION if known == self.version else OTHER_VERSION

    def accept(self):
        """Notes which version makes the pictures."""
        self.made_by.parent.mkdir(parents=True, exist_ok=True)
        self.made_by.write_text(self.version + "\n")

    def shrunk(self, png):
        return base64.b64decode(self.page.js(f"asPng('{base64.b64encode(png).decode()}')"))

    def differing(self, png, reference):
        """The share of pixels that differ, or a sentence where the sizes do."""
        mine, other = (base64.b64encode(data).decode() for data in (png, reference))
        return self.page.js(f"differing('{mine}', '{other}')")
