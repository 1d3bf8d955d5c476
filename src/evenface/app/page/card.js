// Render a model card: the subset of Markdown that cards use.

import { el, table } from "./dom.js";

export function renderCard(text) {
  const card = el("div", { class: "card" });
  const lines = escaped(text.replace(/\r/g, "")).split("\n");
  while (lines.length) {
    const block = nextBlock(lines);
    if (block) card.append(block);
  }
  return card;
}

function nextBlock(lines) {
  const line = lines.shift();
  if (!line.trim()) return null;
  const heading = /^(#{1,6}) +(.*)$/.exec(line);
  if (heading) return el(heading[1].length > 2 ? "h4" : "h3", {}, ...inline(heading[2]));
  if (line.startsWith("|")) {
    const rows = [line, ...takeWhile(lines, (next) => next.startsWith("|"))].map(cells);
    const body = rows.slice(1).filter((row) => !row.every((cell) => /^:?-+:?$/.test(cell)));
    return table("Table of the model card", rows[0].map(restored), body.map((row) => row.map((cell) => inline(cell))));
  }
  if (/^ *[-*] /.test(line)) {
    const items = [line, ...takeWhile(lines, (next) => /^ *[-*] /.test(next) || /^ {2,}\S/.test(next))];
    const joined = [];
    for (const item of items) /^ *[-*] /.test(item) ? joined.push(item.replace(/^ *[-*] /, "")) : (joined[joined.length - 1] += ` ${item.trim()}`);
    return el("ul", {}, joined.map((item) => el("li", {}, ...inline(item))));
  }
  return el("p", {}, ...inline([line, ...takeWhile(lines, (next) => next.trim() && !/^(#|\||[-*] )/.test(next))].join(" ")));
}

function takeWhile(lines, test) {
  const taken = [];
  while (lines.length && test(lines[0])) taken.push(lines.shift());
  return taken;
}

// Characters escaped by a backslash are moved to a private-use range, and restored when the text is set.
const PRIVATE_USE = 0xe000;
const escaped = (text) => text.replace(/\\([\\`*<|[\]&])/g, (_, sign) => String.fromCharCode(PRIVATE_USE + sign.charCodeAt(0)));
const restored = (text) => text.replace(/[\ue000-\ue07f]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - PRIVATE_USE));

const cells = (line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim());

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**")) return el("strong", {}, restored(part.slice(2, -2)));
    return part.startsWith("`") ? el("code", {}, restored(part.slice(1, -1))) : restored(part);
  });
}
