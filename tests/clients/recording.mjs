/** A fetch that records requests and responses, and the list that it records them in. */
export function recording() {
  const exchanges = [];
  const recordingFetch = async (url, init) => {
    const response = await fetch(url, init);
    exchanges.push({
      method: init.method ?? 'GET',
      accept: new Headers(init.headers).get('accept'),
      type: response.headers.get('content-type'),
      status: response.status,
    });
    return response;
  };
  return { exchanges, fetch: recordingFetch };
}

/** Resolves as soon as the condition is true. */
export async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
