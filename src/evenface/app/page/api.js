// Asking the server. Every failure becomes an Error with a sentence that says what was wrong and what to do.

const ROOT = "/api/v1";

async function asked(path, options = {}) {
  let response;
  try {
    response = await fetch(ROOT + path, { ...options, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is evenface app still running?");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Error(body?.error ? sentence(body.error) : `The server answered with ${response.status}.`);
}

const sentence = ({ what, do: todo }) => `${what[0].toUpperCase()}${what.slice(1).replace(/\.$/, "")}. ${todo}`;

export const get = (path) => asked(path);

export const compare = (models, watch, signal) =>
  job("/comparisons", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ models }) }, watch, signal);

export function predict(file, name, model, settings, watch, signal) {
  const form = new FormData();
  form.append("file", file, name);
  form.append("model", model);
  for (const [key, value] of Object.entries(settings)) if (value !== "") form.append(key, value);
  return job("/predictions", { method: "POST", body: form }, watch, signal);
}

// Wait for a job, which is told to `watch` whenever something is known of it, and forget it on the server.
async function job(path, options, watch, signal) {
  let found = await asked(`${path}?wait=2`, { ...options, signal });
  const give_up = () => asked(`/jobs/${found.id}`, { method: "DELETE" }).catch(() => null);
  signal?.addEventListener("abort", give_up, { once: true });
  try {
    while (found.state === "waiting" || found.state === "running") {
      watch?.(found);
      found = await asked(`/jobs/${found.id}?wait=1`, { signal });
    }
  } finally {
    signal?.removeEventListener("abort", give_up);
  }
  if (!signal?.aborted) give_up();
  if (found.state === "failed") throw new Error(sentence(found.error));
  if (found.state === "cancelled") throw new DOMException("cancelled", "AbortError");
  return found.prediction ?? found.comparison;
}
