// A model card: the little of Markdown that cards use, as elements.

import { el, table } from "./dom.js";

export function rendered(text) {
  const card = el("div", { class: "card" });
  const lines = hidden(text.replace(/\r/g, "")).split("\n");
  while (lines.length) {
    const block = take(lines);
    if (block) card.append(block);
  }
  return card;
}

function take(lines) {
  const line = lines.shift();
  if (!line.trim()) return null;
  const heading = /^(#{1,6}) +(.*)$/.exec(line);
  if (heading) return el(heading[1].length > 2 ? "h4" : "h3", {}, ...inline(heading[2]));
  if (line.startsWith("|")) {
    const rows = [line, ...while_(lines, (next) => next.startsWith("|"))].map(cells);
    const body = rows.slice(1).filter((row) => !row.every((cell) => /^:?-+:?$/.test(cell)));
    return table("Table of the card", rows[0].map(shown), body.map((row) => row.map((cell) => inline(cell))));
  }
  if (/^ *[-*] /.test(line)) {
    const items = [line, ...while_(lines, (next) => /^ *[-*] /.test(next) || /^ {2,}\S/.test(next))];
    const joined = [];
    for (const item of items) /^ *[-*] /.test(item) ? joined.push(item.replace(/^ *[-*] /, "")) : (joined[joined.length - 1] += ` ${item.trim()}`);
    return el("ul", {}, joined.map((item) => el("li", {}, ...inline(item))));
  }
  return el("p", {}, ...inline([line, ...while_(lines, (next) => next.trim() && !/^(#|\||[-*] )/.test(next))].join(" ")));
}

function while_(lines, test) {
  const found = [];
  while (lines.length && test(lines[0])) found.push(lines.shift());
  return found;
}

// A backslash keeps a character from being markup: such characters are put away, and brought back when the text is set.
const AWAY = 0xe000;
const hidden = (text) => text.replace(/\\([\\`*<|[\]&])/g, (_, sign) => String.fromCharCode(AWAY + sign.charCodeAt(0)));
const shown = (text) => text.replace(/[\ue000-\ue07f]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - AWAY));

const cells = (line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim());

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**")) return el("strong", {}, shown(part.slice(2, -2)));
    return part.startsWith("`") ? el("code", {}, shown(part.slice(1, -1))) : shown(part);
  });
}
