/** The visible part of the photograph and its scale. Lengths are in CSS pixels of the stage or pixels of the photograph. */

const CLOSEST = 64;

export class Viewport {
  /** CSS pixels per pixel of the photograph. */
  scale = 1;
  /** Position of the photograph's upper left corner on the stage. */
  left = 0;
  top = 0;
  private fitted = true;

  constructor(
    private width = 1,
    private height = 1,
    private imageWidth = 1,
    private imageHeight = 1,
  ) {}

  /** Sets the sizes of the stage and the photograph; fits the photograph if it was fitted or its size has changed. */
  resize(width: number, height: number, imageWidth: number, imageHeight: number): void {
    const isOther = imageWidth !== this.imageWidth || imageHeight !== this.imageHeight;
    [this.width, this.height, this.imageWidth, this.imageHeight] = [width, height, imageWidth, imageHeight];
    if (isOther || this.fitted) this.fit();
    else this.clamp();
  }

  fit(): void {
    this.scale = this.fitScale();
    this.fitted = true;
    this.clamp();
  }

  /** Multiplies the scale; the point at (x, y) stays in place. */
  zoom(factor: number, x = this.width / 2, y = this.height / 2): void {
    const scale = Math.min(Math.max(this.scale * factor, this.fitScale()), Math.max(CLOSEST, this.fitScale()));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = scale <= this.fitScale();
    this.clamp();
  }

  pan(dx: number, dy: number): void {
    this.left += dx;
    this.top += dy;
    this.clamp();
  }

  /** Moves the photograph as little as needed to bring a position onto the stage. */
  reveal(x: number, y: number): void {
    const [px, py] = [x * this.scale + this.left, y * this.scale + this.top];
    this.pan(Math.max(0, -px) + Math.min(0, this.width - px), Math.max(0, -py) + Math.min(0, this.height - py));
  }

  /** Returns the pixel at a position of the stage, or undefined outside the photograph. */
  pixel(x: number, y: number): { x: number; y: number } | undefined {
    const [column, row] = [Math.floor((x - this.left) / this.scale), Math.floor((y - this.top) / this.scale)];
    return column >= 0 && row >= 0 && column < this.imageWidth && row < this.imageHeight ? { x: column, y: row } : undefined;
  }

  private fitScale(): number {
    return Math.min(this.width / this.imageWidth, this.height / this.imageHeight);
  }

  private clamp(): void {
    this.left = clampEdge(this.left, this.width, this.imageWidth * this.scale);
    this.top = clampEdge(this.top, this.height, this.imageHeight * this.scale);
  }
}

/** Centres a photograph smaller than the stage; keeps a larger one from leaving a gap. */
function clampEdge(position: number, room: number, length: number): number {
  return length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, position));
}
