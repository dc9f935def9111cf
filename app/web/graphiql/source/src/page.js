// What the gateway wrote into the page: {auth, tokens, graphiql, explain, introspection}.
export const page = JSON.parse(document.getElementById("data").textContent);

export const isDemo = page.auth === "demo";

// The endpoint is where the page is.
export const endpoint = location.pathname;

const KEPT = "It counts in every tab until this page is left, and is never stored.";

export const defaultHeaders =
  page.auth === "passthrough"
    ? `{\n  // LangSmith's API key. ${KEPT}\n  "X-API-Key": ""\n}`
    : page.tokens
      ? `{\n  // A token of this gateway. ${KEPT}\n  "Authorization": "Bearer "\n}`
      : undefined;
