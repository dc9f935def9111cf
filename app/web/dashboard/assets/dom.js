/** Creates and updates elements. Data of LangSmith becomes text or the value of an attribute here, never markup. */

export const $ = (id) => document.getElementById(id);

export const element = (name, attributes, ...children) =>
  withContent(document.createElement(name), attributes, children);

export const svgElement = (name, attributes, ...children) =>
  withContent(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

/** Sets the text only if it changes, because every change would disturb selections and screen readers. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute only if it changes; null removes it. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Makes these the children, in this order. Children that are in their place already are not moved. */
export function setChildren(parent, children) {
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

function withContent(node, attributes = {}, children = []) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
