// What a page does wrong: text with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3), and controls without a name (4.1.2).
() => {
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) =>
    0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const found = parse(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const faults = new Set();
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!text || !one.checkVisibility({ opacityProperty: true })) continue;
    const shades = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
    const contrast = (shades[0] + 0.05) / (shades[1] + 0.05);
    if (contrast < 4.5) faults.add(`${one.tagName}.${one.className} ${contrast.toFixed(1)} ${one.textContent.trim()}`);
  }
  for (const one of document.querySelectorAll("a, button, input, select, img, table, [role=region], [role=img]")) {
    const name = one.getAttribute("aria-label") || one.textContent.trim() || one.alt || one.caption || one.querySelector("img")?.alt;
    if (!name && !one.labels?.length) faults.add(`no name: ${one.outerHTML.slice(0, 80)}`);
  }
  return [...faults];
}
