import type { GraphQLResponse, GraphQLSingularResponse, PayloadData, PayloadError } from 'relay-runtime';

type Path = (string | number)[];
type Place = { path: Path; label?: string };
type Entry = Partial<Place> & { id?: string; subPath?: Path; data: PayloadData; errors?: PayloadError[] };
export type Payload = {
  data?: PayloadData; errors?: PayloadError[]; hasNext?: boolean;
  pending?: (Place & { id: string })[]; incremental?: Entry[]; completed?: { id: string }[];
};

/** Reads the payloads of one answer, in both formats. Relay takes whole fragments, with error paths inside of them. */
export function createReader(): (payload: Payload) => GraphQLResponse {
  let whole: any;
  const places = new Map<string, Place>();
  const errorsOf = new Map<Place, PayloadError[]>();
  const at = (path: Path) => path.reduce((value, key) => value[key], whole);
  return ({ data, errors, pending = [], incremental, completed = [], hasNext = false }) => {
    for (const { id, ...place } of pending) places.set(id, place);
    if (!incremental) return { data: (whole = data), errors, extensions: { is_final: !hasNext } } as GraphQLSingularResponse;
    const delivered: Place[] = completed.map(({ id }) => places.get(id)!);
    for (const { id, path = [], label, subPath = [], data, errors = [] } of incremental) {
      const place = id === undefined ? { path, label } : places.get(id)!;
      if (id === undefined) delivered.push(place);
      merge(at([...place.path, ...subPath]), data);
      errorsOf.set(place, [...(errorsOf.get(place) ?? []), ...errors]);
    }
    return delivered.map((place, index) => {
      const errors = errorsOf.get(place)?.map((error) => ({ ...error, path: error.path?.slice(place.path.length) }));
      const extensions = { is_final: !hasNext && index === delivered.length - 1 };
      return { ...place, data: at(place.path), errors, extensions } as GraphQLSingularResponse;
    });
  };
}

function merge(target: any, source: any) {
  for (const key of Object.keys(source)) {
    const isMerged = target[key] && source[key] && typeof source[key] === 'object';
    if (isMerged) merge(target[key], source[key]);
    else target[key] = source[key];
  }
}
