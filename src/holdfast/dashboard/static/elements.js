// Making and changing elements. Text is always text: there is no way here to make markup of it.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `h("a.link", { href }, "text", child)`. Functions are listeners, `null` is left out. */
export function h(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElement(tag || "div"), classes, rest);
}

/** The same for the elements of a picture. */
export function s(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElementNS(SVG, tag), classes, rest);
}

function filled(element, classes, rest) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  const given = rest[0];
  const hasAttributes = given !== null && typeof given === "object" && !Array.isArray(given) && !(given instanceof Node);
  if (hasAttributes) {
    for (const [key, value] of Object.entries(given)) {
      if (typeof value === "function") element.addEventListener(key, value);
      else if (value !== null && value !== undefined && value !== false)
        element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...children(hasAttributes ? rest.slice(1) : rest));
  return element;
}

function children(list) {
  return list.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/**
 * Let an element hold these children; those that are the same already stay, so that nothing flickers and no
 * selection is lost. For what has no listeners: an equal element keeps those of the old one.
 */
export function fill(element, ...list) {
  const wanted = children(list).map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  wanted.forEach((child, index) => {
    const old = element.childNodes[index];
    if (old === undefined) element.append(child);
    else if (!old.isEqualNode(child)) old.replaceWith(child);
  });
  while (element.childNodes.length > wanted.length) element.lastChild.remove();
}

/**
 * Keep a list of elements in step with data: one element for each item, known by its key and kept as long as
 * the item is there. `make(item)` gives `{ element, update(item) }`.
 */
export function keyed(parent, key, make) {
  const known = new Map();
  return (items) => {
    const ids = new Set(items.map(key));
    // First, so that nothing else has to move: what is moved loses the focus.
    for (const [id, entry] of known) {
      if (ids.has(id)) continue;
      entry.element.remove();
      known.delete(id);
    }
    let place = parent.firstChild;
    for (const item of items) {
      const id = key(item);
      const isNew = !known.has(id);
      if (isNew) known.set(id, make(item));
      const { element, update } = known.get(id);
      update(item);
      if (element === place) place = place.nextSibling;
      else parent.insertBefore(element, place);
      if (isNew) labelCells(element);
    }
  };
}

// On a phone rows are cards without a head above them: each cell says what it is.
function labelCells(row) {
  const heads = row.closest("table")?.tHead?.rows[0].cells ?? [];
  [...row.children].forEach((cell, index) => {
    const isPlain = index > 0 && !cell.matches(".whole") && !cell.querySelector(".status, button");
    if (isPlain && heads[index] && !heads[index].querySelector(".unseen")) cell.dataset.label = heads[index].textContent;
  });
}

/** Change a text only if it is another. */
export function setText(element, text) {
  const wanted = text ?? "";
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Say something for a while, to those who listen too. */
export function notice(text, kind = "plain") {
  const box = h(`div.notice.${kind}`, text);
  const notices = document.getElementById("notices");
  notices.append(box);
  while (notices.childNodes.length > 3) notices.firstChild.remove();
  setTimeout(() => box.remove(), kind === "bad" ? 8000 : 4000);
}

/** Ask before something that cannot be taken back; resolves to whether it was confirmed. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const box = h(
      "dialog",
      { "aria-labelledby": "dialog-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("p", text),
        h(
          ".buttons",
          h("button", { value: "", autofocus: true }, "Leave it"),
          h("button.danger", { value: "yes" }, action),
        ),
      ),
    );
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue === "yes");
    });
    document.body.append(box);
    box.showModal();
  });
}

/** Put a text onto the clipboard, and say so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    notice(`Copied ${what}.`);
  } catch {
    // Without HTTPS there is no clipboard for scripts: let people copy it themselves.
    const area = h("textarea", { readonly: true, rows: "8", "aria-label": what });
    area.value = text;
    const box = h(
      "dialog",
      { "aria-label": what },
      h("form", { method: "dialog" }, area, h(".buttons", h("button", "Close"))),
    );
    box.addEventListener("close", () => box.remove());
    document.body.append(box);
    box.showModal();
    area.select();
  }
}
