// Settings that the gateway writes into the page: {auth, tokens, graphiql, explain, introspection}.
export const page = JSON.parse(document.getElementById("data").textContent);

export const isDemo = page.auth === "demo";

// The GraphQL endpoint has the same path as this page.
export const endpoint = location.pathname;

const LIFETIME = "All tabs use it until you leave this page. It is never stored.";

export const defaultHeaders =
  page.auth === "passthrough"
    ? `{\n  // LangSmith API key. ${LIFETIME}\n  "X-API-Key": ""\n}`
    : page.tokens
      ? `{\n  // Token of this gateway. ${LIFETIME}\n  "Authorization": "Bearer "\n}`
      : undefined;
