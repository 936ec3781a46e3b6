"""Makes a picture of a page small: 256 colours are enough for text and lines. Chromium itself reads the old PNG."""

from __future__ import annotations

import base64
import json
import struct
import zlib

from tests.chromium import Browser

__all__ = ["with_few_colours"]

_REDUCE = """async (picture) => {
  const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const frequent = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
  const palette = frequent.slice(0, 128);
  const coarse = (colour) => colour & 0xf0f0f0;
  const rare = new Map(frequent.toReversed().map((colour) => [coarse(colour), colour]));
  for (const colour of palette) rare.delete(coarse(colour));
  palette.push(...[...rare.values()].reverse().slice(0, 128));
  const parts = (colour) => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  const known = palette.map(parts);
  const nearest = new Map(palette.map((colour, place) => [colour, place]));
  for (const colour of counts.keys()) {
    if (nearest.has(colour)) continue;
    const wanted = parts(colour);
    const far = (other) => other.reduce((sum, part, channel) => sum + (part - wanted[channel]) ** 2, 0);
    const distances = known.map(far);
    nearest.set(colour, distances.indexOf(Math.min(...distances)));
  }
  let text = "";
  for (const pixel of pixels) text += String.fromCharCode(nearest.get(pixel));
  return { width, height, palette: known.flat(), pixels: btoa(text) };
}"""


def with_few_colours(browser: Browser, picture: bytes) -> bytes:
    """The same picture as a PNG with 256 of its colours, and the nearest of them for every other.

    They are the 128 most frequent ones, and then those that are like none of these.

    Args:
        browser: Has a tab of it for the work.
        picture: PNG.
    """
    tab = browser.open()
    try:
        found = tab.evaluate(f"({_REDUCE})({json.dumps(base64.b64encode(picture).decode())})")
    finally:
        tab.close()
    width, height = found["width"], found["height"]
    pixels = base64.b64decode(found["pixels"])
    lines = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(found["palette"])),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
