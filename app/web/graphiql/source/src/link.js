// A link /graphql#query=…&variables=… opens a tab with an operation. The part after # is never sent to the server.

export function operationIn(hash) {
  const params = new URLSearchParams(hash.slice(1).replaceAll("+", "%2B"));
  const query = params.get("query");
  return query === null ? null : { query, variables: indented(params.get("variables") ?? "") };
}

export function linkTo({ query, variables }) {
  const parts = [`query=${encodeURIComponent(query)}`];
  if (variables.trim()) parts.push(`variables=${encodeURIComponent(variables)}`);
  return `${location.origin}${location.pathname}#${parts.join("&")}`;
}

// Returns the operation of the URL, and removes it there, so that a reload shows the tab as it was edited.
export function takeLinkedOperation() {
  const operation = operationIn(location.hash);
  if (operation) history.replaceState(null, "", location.pathname);
  return operation;
}

function indented(variables) {
  try {
    return variables && JSON.stringify(JSON.parse(variables), null, 2);
  } catch {
    return variables;
  }
}
