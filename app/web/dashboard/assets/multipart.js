/** Reads a body of media type `multipart/mixed` part by part, while it arrives. */

const HEADERS_END = "\r\n\r\n";

/** The boundary in the value of a `Content-Type` header; null if the media type is not `multipart/mixed`. */
export function boundaryOf(contentType) {
  if (!/^multipart\/mixed\s*(;|$)/i.test(contentType)) return null;
  const [, quoted, token] = /;\s*boundary=(?:"([^"]+)"|([^\s;"]+))/i.exec(contentType) ?? [];
  return quoted ?? token ?? "-";
}

/**
 * Yields the text of each part, without its headers, as soon as the boundary after it has arrived. A boundary may be
 * split over chunks.
 *
 * @param {ReadableStream<Uint8Array>} body  @returns {AsyncGenerator<string>}
 * @throws {IncompleteBodyError} if the body ends before the last boundary
 */
export async function* readParts(body, boundary) {
  const delimiter = `\r\n--${boundary}`;
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "\r\n"; // text after the last delimiter; the first delimiter may lack the line break before it
  let isBeforeParts = true;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new IncompleteBodyError();
      const pieces = (rest + decoder.decode(value, { stream: true })).split(delimiter);
      rest = pieces.pop();
      for (const piece of pieces) {
        if (!isBeforeParts) yield piece.slice(piece.indexOf(HEADERS_END) + HEADERS_END.length);
        isBeforeParts = false;
      }
      if (rest.startsWith("--")) return; // the last boundary
    }
  } finally {
    reader.cancel().catch(() => {}); // it has failed already if the connection broke
  }
}

export class IncompleteBodyError extends Error {
  name = "IncompleteBodyError";
}
