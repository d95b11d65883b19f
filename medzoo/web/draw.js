// A picture to draw on: the stroke is shown at once, and sent to the server when the pointer is lifted.
export default {
  template: `
    <div class="mz-draw">
      <img :src="source" alt="" draggable="false">
      <canvas ref="canvas" tabindex="0" role="application" :width="4 * width" :height="4 * height"
        aria-label="mask: drag to draw; arrow keys move the brush, space draws"
        @pointerdown="start" @pointermove="move" @pointerup="end" @pointercancel="end" @keydown="key"
        @blur="clear"></canvas>
    </div>`,
  props: { source: String, width: Number, height: Number, radius: Number },
  data() {
    return { points: null, cursor: [Math.round(this.width / 2), Math.round(this.height / 2)] };
  },
  watch: {
    source() { if (!this.points) this.clear(); },
  },
  methods: {
    at(event) {
      const box = this.$refs.canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * this.width - 0.5,
        ((event.clientY - box.top) / box.height) * this.height - 0.5,
      ];
    },
    start(event) {
      this.$refs.canvas.setPointerCapture(event.pointerId);
      this.points = [this.at(event)];
      this.draw();
    },
    move(event) {
      if (!this.points || this.points.length >= 10000) return;
      this.points.push(this.at(event));
      this.draw();
    },
    end() {
      if (!this.points) return;
      this.cursor = this.points[this.points.length - 1].map(Math.round);
      this.$emit("stroke", this.points);
      this.points = null;
    },
    key(event) {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const move = moves[event.key];
      if (move) {
        const step = event.shiftKey ? 8 : 1;
        this.cursor = [
          Math.min(Math.max(this.cursor[0] + step * move[0], 0), this.width - 1),
          Math.min(Math.max(this.cursor[1] + step * move[1], 0), this.height - 1),
        ];
        this.ring();
      } else if (event.key === " ") {
        this.$emit("stroke", [this.cursor]);
      } else return;
      event.preventDefault();
    },
    pen() {
      const pen = this.$refs.canvas.getContext("2d");
      pen.clearRect(0, 0, 4 * this.width, 4 * this.height);
      pen.strokeStyle = "#ffffffb0";
      pen.lineCap = pen.lineJoin = "round";
      return pen;
    },
    clear() { this.pen(); },
    draw() {
      const pen = this.pen();
      pen.lineWidth = 8 * Math.max(this.radius, 0.5);
      pen.beginPath();
      for (const [x, y] of [this.points[0], ...this.points]) pen.lineTo(4 * x + 2, 4 * y + 2);
      pen.stroke();
    },
    ring() {
      const pen = this.pen(), [x, y] = this.cursor;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(4 * x + 2, 4 * y + 2, 4 * Math.max(this.radius, 0.5), 0, 2 * Math.PI);
      pen.stroke();
    },
  },
};
