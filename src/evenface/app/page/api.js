// Requests to the server. Every failure becomes an Error whose message states the problem and what to do.

const ROOT = "/api/v1";

async function request(address, options = {}) {
  let response;
  try {
    response = await fetch(address, { ...options, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not respond. Is evenface app still running?");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Error(body?.error ? sentence(body.error) : `The server responded with status ${response.status}.`);
}

const sentence = ({ what, do: todo }) => `${what[0].toUpperCase()}${what.slice(1).replace(/\.$/, "")}. ${todo}`;

export const get = (path) => request(ROOT + path);

// The fields of the prediction form, by name: JSON Schema with description, default and bounds.
export async function predictionFields() {
  const { paths, components } = await request("/openapi.json");
  const body = paths[`${ROOT}/predictions`].post.requestBody.content["multipart/form-data"].schema;
  return components.schemas[body.$ref.split("/").pop()].properties;
}

export const compare = (models, onProgress, signal) =>
  job("/comparisons", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ models }) }, onProgress, signal);

export function predict(file, name, model, settings, onProgress, signal) {
  const form = new FormData();
  form.append("file", file, name);
  form.append("model", model);
  for (const [key, value] of Object.entries(settings)) if (value !== "") form.append(key, value);
  return job("/predictions", { method: "POST", body: form }, onProgress, signal);
}

// Wait for a job, report its progress, and delete it on the server.
async function job(path, options, onProgress, signal) {
  let current = await request(`${ROOT}${path}?wait=2`, { ...options, signal });
  const address = `${ROOT}/jobs/${current.id}`;
  const remove = () => request(address, { method: "DELETE" }).catch(() => null);
  signal?.addEventListener("abort", remove, { once: true });
  try {
    while (current.state === "waiting" || current.state === "running") {
      onProgress?.(current);
      current = await request(`${address}?wait=1`, { signal });
    }
  } finally {
    signal?.removeEventListener("abort", remove);
  }
  if (!signal?.aborted) remove();
  if (current.state === "failed") throw new Error(sentence(current.error));
  if (current.state === "cancelled") throw new DOMException("cancelled", "AbortError");
  return current.prediction ?? current.comparison;
}
