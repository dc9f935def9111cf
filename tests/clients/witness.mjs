/** A fetch that notes what was accepted, and what came. */
export function witness() {
  const seen = [];
  const witnessed = async (url, init) => {
    const response = await fetch(url, init);
    seen.push({
      method: init.method ?? 'GET',
      accept: new Headers(init.headers).get('accept'),
      type: response.headers.get('content-type'),
      status: response.status,
    });
    return response;
  };
  return { seen, fetch: witnessed };
}

/** Resolves once the condition holds. */
export async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
