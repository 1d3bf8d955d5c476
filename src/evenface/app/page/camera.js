// The camera: frames are judged one after the other, or some seconds are filmed for models of clips.

import { el } from "./dom.js";
import { predict } from "./api.js";
import { Stage, draw } from "./result.js";

const WIDEST = 640;
const SECONDS = 4;
const PAUSE = 60;

export class Camera {
  constructor(place, model, settings, limits) {
    Object.assign(this, { place, model, settings, limits });
    this.abort = new AbortController();
  }

  // Runs until it is stopped; of models of clips it gives what was filmed.
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("The browser gives the camera to pages of this machine only. Open the page on the machine itself, at 127.0.0.1.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDEST } }, audio: false });
    } catch (error) {
      throw new Error(error.name === "NotAllowedError" ? "The browser was not allowed to use the camera. Allow it beside the address." : "No camera was found. Plug one in.");
    }
    if (this.abort.signal.aborted) return this.stop();
    this.video = el("video", { playsinline: true, "aria-label": "What the camera sees" });
    this.video.muted = true;
    this.video.srcObject = this.stream;
    await this.video.play();
    const { videoWidth: width, videoHeight: height } = this.video;
    this.stage = new Stage(width, height);
    this.stage.node.append(this.video, this.stage.marks);
    this.faces = el("div", {});
    this.place.replaceChildren(el("h2", {}, "What the camera sees"), el("div", { class: "found" }, this.stage.node, this.faces));
    return this.model.takes.includes("picture") ? this.judge(width, height) : this.film();
  }

  stop() {
    this.abort.abort();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    return null;
  }

  async judge(width, height) {
    const scale = Math.min(1, WIDEST / width);
    const canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.stage.size = [canvas.width, canvas.height];
    this.stage.marks.setAttribute("viewBox", `0 0 ${canvas.width} ${canvas.height}`);
    const { signal } = this.abort;
    while (!signal.aborted) {
      canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
      const picture = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
      const { frame_stride, ...chosen } = this.settings();
      try {
        const found = await predict(picture, "camera.jpg", this.model.id, chosen, null, signal);
        if (!signal.aborted) draw(this.stage, this.faces, found, found.rows);
      } catch (error) {
        if (error.name !== "AbortError") throw error;
      }
      await new Promise((done) => setTimeout(done, PAUSE));
    }
    return null;
  }

  async film() {
    const kind = ["video/mp4", "video/webm"].find((one) => MediaRecorder.isTypeSupported(one));
    const recorder = new MediaRecorder(this.stream, { mimeType: kind });
    const pieces = [];
    recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    const ended = new Promise((done) => recorder.addEventListener("stop", done));
    this.faces.replaceChildren(el("p", {}, `Filming ${SECONDS} seconds, which are judged then.`));
    recorder.start();
    await new Promise((done) => {
      const timer = setTimeout(done, SECONDS * 1000);
      this.abort.signal.addEventListener("abort", () => done(clearTimeout(timer)), { once: true });
    });
    recorder.stop();
    await ended;
    return this.abort.signal.aborted ? null : new File(pieces, `camera.${kind.slice(6)}`, { type: kind });
  }
}
