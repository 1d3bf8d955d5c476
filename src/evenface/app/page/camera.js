// The camera: frames are predicted one after the other; for clip models, some seconds are recorded.

import { el } from "./dom.js";
import { predict } from "./api.js";
import { Stage, draw } from "./result.js";

const MAX_WIDTH = 640;
const SECONDS = 4;
const PAUSE_MS = 60;

export class Camera {
  constructor(container, model, settings) {
    Object.assign(this, { container, model, settings });
    this.abort = new AbortController();
  }

  // Runs until it is stopped; for clip models, resolves to the recorded file.
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("The browser allows camera access only on this machine. Open the page on the machine itself, at 127.0.0.1.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: MAX_WIDTH } }, audio: false });
    } catch (error) {
      throw new Error(error.name === "NotAllowedError" ? "The browser has no permission to use the camera. Allow it in the address bar." : "No camera was found. Connect one.");
    }
    if (this.abort.signal.aborted) return this.stop();
    this.video = el("video", { playsinline: true, "aria-label": "Camera image" });
    this.video.muted = true;
    this.video.srcObject = this.stream;
    await this.video.play();
    const { videoWidth: width, videoHeight: height } = this.video;
    this.stage = new Stage(width, height);
    this.stage.node.append(this.video, this.stage.marks);
    this.faces = el("div", {});
    this.container.replaceChildren(el("h2", {}, "Camera"), el("div", { class: "found" }, this.stage.node, this.faces));
    return this.model.takes.includes("image") ? this.predictFrames(width, height) : this.record();
  }

  stop() {
    this.abort.abort();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    return null;
  }

  async predictFrames(width, height) {
    const scale = Math.min(1, MAX_WIDTH / width);
    const canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.stage.size = [canvas.width, canvas.height];
    this.stage.marks.setAttribute("viewBox", `0 0 ${canvas.width} ${canvas.height}`);
    const { signal } = this.abort;
    while (!signal.aborted) {
      canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
      const image = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
      const { frame_stride, ...settings } = this.settings();
      try {
        const prediction = await predict(image, "camera.jpg", this.model.id, settings, null, signal);
        if (!signal.aborted) draw(this.stage, this.faces, prediction, prediction.rows);
      } catch (error) {
        if (!signal.aborted) throw error; // whatever fails once it is stopped failed because it was
      }
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
    return null;
  }

  async record() {
    const mimeType = ["video/mp4", "video/webm"].find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(this.stream, { mimeType });
    const chunks = [];
    recorder.addEventListener("dataavailable", ({ data }) => chunks.push(data));
    const ended = new Promise((done) => recorder.addEventListener("stop", done));
    this.faces.replaceChildren(el("p", {}, `Recording ${SECONDS} seconds for the prediction.`));
    recorder.start();
    await new Promise((done) => {
      const timer = setTimeout(done, SECONDS * 1000);
      this.abort.signal.addEventListener("abort", () => done(clearTimeout(timer)), { once: true });
    });
    recorder.stop();
    await ended;
    return this.abort.signal.aborted ? null : new File(chunks, `camera.${mimeType.slice(6)}`, { type: mimeType });
  }
}
