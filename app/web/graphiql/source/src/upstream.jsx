// The panel that shows the requests of the last run to LangSmith.

import { useSyncExternalStore } from "react";
import { lastRun } from "./last-run.js";

export const UPSTREAM = { title: "Upstream", icon: Icon, content: Upstream };

const MEANINGS = {
  HIT: "cached and fresh",
  STALE: "cached but stale; a refresh runs in the background",
  COALESCED: "shared a request that was already in flight",
  REFILL: "cached in part; the rest was fetched",
  MISS: "not cached; fetched",
};

function Upstream() {
  const run = useSyncExternalStore(lastRun.subscribe, lastRun.get);
  return (
    <section className="upstream" aria-labelledby="upstream-title">
      <h2 id="upstream-title" className="graphiql-doc-explorer-title">
        Upstream
        {run?.name && <small>{run.name}</small>}
      </h2>
      <div aria-live="polite">
        <Summary run={run} />
      </div>
      {Object.entries(run?.gateway?.fields ?? {}).map(([name, field]) => (
        <Field key={name} name={name} {...field} />
      ))}
    </section>
  );
}

function Summary({ run }) {
  if (!run) return <p>Run an operation (Ctrl-Enter) to see its requests to LangSmith.</p>;
  if (!run.gateway) return <p>The operation was refused before it ran. No requests to LangSmith.</p>;
  const requests = Object.values(run.gateway.fields).flatMap((field) => field.requests);
  return (
    <>
      <dl className="upstream-figures">
        <Figure name={requests.length === 1 ? "request" : "requests"} value={requests.length} />
        <Figure name="maximum cost" value={run.gateway.cost} />
        {(run.isPending || run.firstMs < run.ms) && <Figure name="ms, first part" value={milliseconds(run.firstMs)} />}
        {run.isPending || <Figure name="ms in total" value={milliseconds(run.ms)} />}
      </dl>
      {run.isPending && <p>The deferred parts of the answer follow.</p>}
      {requests.length === 0 && !run.isPending && <p>No requests to LangSmith.</p>}
      {run.errors > 0 && <p className="upstream-errors">{run.errors === 1 ? "1 error" : `${run.errors} errors`} in the answer.</p>}
    </>
  );
}

function Figure({ name, value }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Field({ name, cache, age, requests }) {
  return (
    <section>
      <h3>
        <code>{name}</code>
        {cache && <span className={`upstream-outcome upstream-${cache.toLowerCase()}`}>{cache}</span>}
      </h3>
      {cache && (
        <p>
          {MEANINGS[cache] ?? ""}
          {age > 0 && `; ${seconds(age)} old`}
        </p>
      )}
      {requests.map((request, index) => (
        <Request key={index} {...request} />
      ))}
    </section>
  );
}

function Request({ path, params, status, ms, attempts }) {
  const failed = status === null || status >= 400;
  return (
    <table>
      <caption>
        <div>
          <span>
            GET <code>{path}</code>
          </span>
          <span>
            <span className={failed ? "upstream-errors" : undefined}>{status ?? "no answer"}</span> · {ms} ms
            {attempts > 1 && ` · ${attempts} attempts`}
          </span>
        </div>
      </caption>
      <tbody>
        {Object.entries(params).map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>
              <Values name={name} values={[value].flat()} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Values({ name, values }) {
  const all = (
    <div>
      {values.map((each, index) => (
        <code key={index}>{each}</code>
      ))}
    </div>
  );
  if (name !== "id" || values.length <= MAX_SHOWN_IDS) return all;
  return (
    <details>
      <summary>{values.length} ids</summary>
      {all}
    </details>
  );
}

const MAX_SHOWN_IDS = 2;

const milliseconds = (ms) => ms.toFixed(ms < 10 ? 1 : 0);

const seconds = (age) => (age < 10 ? `${age.toFixed(1)} s` : `${Math.round(age)} s`);

function Icon(props) {
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" {...props}>
      <path d="M7 20V6m0 0L3 10m4-4 4 4M17 4v14m0 0 4-4m-4 4-4-4" strokeLinejoin="round" />
    </svg>
  );
}
