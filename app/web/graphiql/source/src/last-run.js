// The store of the last run, to which the Upstream panel subscribes.

let value = null;
const listeners = new Set();

export const lastRun = {
  get: () => value,
  set(run) {
    value = run;
    listeners.forEach((listener) => listener());
  },
  subscribe(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};
