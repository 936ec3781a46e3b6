// What tests ask of the page, in its own language; they reach it as `probe`.

window.probe = {
  /** The processes as they are shown: the texts of each row's cells, by the heads of their columns. */
  processes() {
    const heads = [...document.querySelectorAll("#processes thead th")].map((head) => head.textContent);
    const texts = (row) =>
      Object.fromEntries([...row.cells].map((cell, place) => [heads[place], cell.textContent]));
    const rows = [...document.querySelectorAll("#processes tbody tr")];
    return Object.fromEntries(rows.map((row) => [row.cells[0].textContent, texts(row)]));
  },

  /** The texts of each row's cells. */
  texts(rows) {
    return [...document.querySelectorAll(rows)].map((row) => [...row.cells].map((cell) => cell.textContent));
  },

  /** Everything that the keyboard must reach now. */
  focusable() {
    const open = document.querySelector("dialog[open]");
    const kinds = "a[href], button, input, select, summary, textarea, [tabindex='0']";
    return [...(open ?? document).querySelectorAll(kinds)].filter(
      (each) =>
        each.checkVisibility({ visibilityProperty: true }) && !each.disabled && (open || !each.closest("dialog")),
    );
  },

  /** Whatever reaches beyond the window's right edge. */
  outside() {
    return [...document.querySelectorAll("body *")]
      .filter((each) => each.checkVisibility() && !each.closest(".unseen, .skip, thead, svg"))
      .filter((each) => each.getBoundingClientRect().right > window.innerWidth + 0.5)
      .map((each) => each.outerHTML.slice(0, 120));
  },

  /** Texts whose contrast with what is behind them is below 4.5, with the contrast. */
  faint() {
    const parse = (text) => {
      const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
      return [red, green, blue, alpha];
    };
    const over = (top, below) => below.map((each, place) => top[place] * top[3] + each * (1 - top[3]));
    const behind = (node) => {
      const layers = [];
      for (let each = node; each; each = each.parentElement) {
        layers.unshift(parse(getComputedStyle(each).backgroundColor));
      }
      return layers.reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
      const [red, green, blue] = colour.map((part) => linear(part / 255));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      const text = walker.currentNode.data.trim();
      if (!text || !node.checkVisibility() || node.closest(".unseen, :disabled")) continue;
      const style = getComputedStyle(node);
      const ground = behind(node);
      const ink = over(parse(node instanceof SVGElement ? style.fill : style.color), ground);
      const [low, high] = [light(ink), light(ground)].sort((one, other) => one - other);
      const contrast = (high + 0.05) / (low + 0.05);
      if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${text}`);
    }
    return found;
  },

  /** Count how often something is said aloud from now on, in `probe.said`. */
  listen() {
    window.probe.said = 0;
    const regions = document.querySelectorAll("[aria-live], [role='status'], [role='alert'], [role='log']");
    const observer = new MutationObserver(() => (window.probe.said += 1));
    for (const each of regions) observer.observe(each, { childList: true, characterData: true, subtree: true });
    return regions.length;
  },
};
