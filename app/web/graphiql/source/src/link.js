// /graphql#query=…&variables=… opens a tab with that operation; what is after # never reaches the server.

export function operationIn(hash) {
  const read = new URLSearchParams(hash.slice(1).replaceAll("+", "%2B"));
  const query = read.get("query");
  return query === null ? null : { query, variables: pretty(read.get("variables") ?? "") };
}

export function linkTo({ query, variables }) {
  const parts = [`query=${encodeURIComponent(query)}`];
  if (variables.trim()) parts.push(`variables=${encodeURIComponent(variables)}`);
  return `${location.origin}${location.pathname}#${parts.join("&")}`;
}

// The operation of the address, which is then taken out of it: a reload shows what the tab has become.
export function takeLinked() {
  const operation = operationIn(location.hash);
  if (operation) history.replaceState(null, "", location.pathname);
  return operation;
}

function pretty(variables) {
  try {
    return variables && JSON.stringify(JSON.parse(variables), null, 2);
  } catch {
    return variables;
  }
}
