/**
 * Merges the payloads of one GraphQL operation with `@defer`, in the format of `incrementalSpec=v0.2`. An answer
 * without `@defer` is one payload, which is the last.
 *
 *     pending      fragments that follow: {id, path, label}
 *     incremental  fields of a pending fragment: {id, subPath, data, errors}; they belong at its path and then `subPath`
 *     completed    fragments of which everything has come: {id, errors}; with `errors`, their fields do not follow
 *     hasNext      whether another payload follows
 */
export class IncrementalResult {
  /** What has come so far. `isComplete`: whether the last payload has come. */
  data = null;
  errors = [];
  extensions = {};
  isComplete = false;
  #pathById = new Map();

  add({ data, errors = [], extensions = {}, pending = [], incremental = [], completed = [], hasNext = false }) {
    this.data = data ?? this.data; // only the first payload has it
    this.errors.push(...errors);
    Object.assign(this.extensions, extensions); // the extensions of each payload include those of the payload before
    for (const { id, path } of pending) this.#pathById.set(id, path);
    for (const entry of incremental) this.#insert(entry);
    for (const { id, errors: itsErrors = [] } of completed) {
      this.errors.push(...itsErrors);
      this.#pathById.delete(id);
    }
    this.isComplete = !hasNext;
  }

  #insert({ id, subPath = [], data, errors = [] }) {
    const path = [...this.#pathById.get(id), ...subPath];
    merge(path.reduce((parent, key) => parent[key], this.data), data);
    this.errors.push(...errors);
  }
}

/** Adds the fields to the object. An object that is there already gets the fields of the added one. */
function merge(object, added) {
  for (const [name, value] of Object.entries(added)) {
    if (isObject(value) && isObject(object[name])) merge(object[name], value);
    else object[name] = value;
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
